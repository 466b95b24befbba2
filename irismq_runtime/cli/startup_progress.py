"""What `irismq run` says while it waits for its servers, and when it need not wait.

Servers may start after the node (a compose file starts all at once), so a node
waits for those that do not answer yet; but a person must not wait to be told, and
where another server answers nothing will come of waiting. So half a second after
the start every server is looked at once: one line for each that is not there, or
the end (`NotConnected`) when for the broker, or for the relay, every address given
has something else. So a person reads within 3 s why it waits: half a second, and the
time that a look takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.cli.console import remark
from irismq_runtime.cli.probes import examine_all, targets_of
from irismq_runtime.cli.server_identification import ServerKind, judge, sentence
from irismq_runtime.errors import NotConnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from irismq_runtime.cli.probes import Target
    from irismq_runtime.cli.server_identification import Finding, ServerIdentity
    from irismq_runtime.node import Node

__all__ = ["run_with_progress", "unfillable_roles"]

#: Seconds after the start until the servers are looked at.
_PATIENCE: Final = 0.5
#: An end that comes so soon says all there is to say (seconds).
_SOON: Final = 3.0
#: What may become the right server when it has started.
_NOT_YET: Final = (ServerKind.NOTHING, ServerKind.SILENT)


def unfillable_roles(found: Iterable[tuple[Target, ServerIdentity]]) -> list[Finding]:
    """Return what is at each address of a role that no server will ever fill.

    A role with one address that is right, or silent, or has nothing yet, is not lost.
    """
    wrong: dict[ServerKind, list[Finding]] = {}
    open_roles: set[ServerKind] = set()
    for place, answer in found:
        if answer.kind is place.role or answer.kind in _NOT_YET:
            open_roles.add(place.role)
        else:
            said = judge(place.role, str(place.endpoint), answer)
            wrong.setdefault(place.role, []).append(said)
    return [one for role, said in wrong.items() if role not in open_roles for one in said]


async def run_with_progress(node: Node, running: Awaitable[int]) -> int:
    """Await `running`, the run of `node`, and look after its start meanwhile."""
    run = asyncio.ensure_future(running)
    looking = asyncio.create_task(_look(node))
    try:
        await asyncio.wait({run, looking}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done() and (verdict := looking.result()) and not node.is_open:
            raise NotConnected("", sentence(verdict))
        return await run
    finally:
        await _cancelled(looking)
        await _cancelled(run)


async def _look(node: Node) -> list[Finding]:
    """Say what is waited for; return why that is in vain, if it is."""
    await asyncio.sleep(_PATIENCE)
    found = [] if node.is_open else await examine_all(targets_of(node.dialled))
    if node.is_open:
        return []
    if verdict := unfillable_roles(found):
        return verdict
    if node.config.connect_timeout <= _SOON:
        return []
    patience = f"waiting for it, {node.config.connect_timeout:g} s in all"
    for place, answer in found:
        if answer.kind is not place.role:
            said = judge(place.role, str(place.endpoint), answer).text
            remark(f"{said}; {patience}")
    return []


async def _cancelled(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
