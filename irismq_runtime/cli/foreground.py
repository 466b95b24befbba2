"""Runs servers of ours in the foreground until a signal: `irismq dev`, `irismq relay`.

The first signal ends them in order with code 0, also while they start; a second
one ends the process at once. On a wide terminal a table shows what they do, once a
second; elsewhere a line says what changed, at most once a second, and nothing
when nothing did. systemd is told when they run and whether they are well, where it
asks for that.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from rich.live import Live

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import fail, remark
from irismq_runtime.cli.dashboard import change_line, rows_between, table
from irismq_runtime.cli.terminal import TABLE_WIDTH, out
from irismq_runtime.node.process.signals import Signals
from irismq_runtime.node.process.systemd import ServiceManager
from irismq_runtime.observe.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.cli.dashboard import Moment
    from irismq_runtime.node import Servers

__all__ = ["serve"]

#: Seconds between two looks at the servers.
_PERIOD: Final = 1.0


async def serve(
    servers: Servers, *, title: str, where: Callable[[], str], moment: Callable[[], Moment]
) -> None:
    """Run `servers` until a signal; returns when they have stopped.

    `where` says in a sentence where they listen, `moment` what they do; both are
    called once they run. Ends the command when a port is taken.
    """
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    systemd = ServiceManager.of_this_process(lambda: Health(tuple(servers.checks())))
    with Signals(loop, lambda _: over.set(), codes.FORCED), systemd:
        try:
            if await _started(servers, over):
                remark(f"{where()}. Ctrl-C stops.")
                systemd.ready()
                await _show(title, moment, over)
        finally:
            systemd.stopping("told to stop" if over.is_set() else "it failed")
            await servers.stop()


async def _started(servers: Servers, over: asyncio.Event) -> bool:
    """Start `servers`; False when it was over before they had started."""
    starting = asyncio.ensure_future(servers.start())
    ending = asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        await starting
    except OSError as error:
        fail(
            f"cannot listen: {error.strerror or error}; is another `irismq dev`, nsqd or iris "
            "running? give another port, see --help",
            codes.UNREACHABLE,
        )
    finally:
        ending.cancel()
        starting.cancel()
        await asyncio.wait({starting, ending})
        if not starting.cancelled():
            starting.exception()  # it is raised above, or came too late to matter
    return True


async def _show(title: str, moment: Callable[[], Moment], over: asyncio.Event) -> None:
    """Show what the servers do until `over` is set."""
    before = moment()
    shown = rows_between(before, before)
    live: Live | None = None
    if out.is_terminal and not out.is_dumb_terminal and out.width >= TABLE_WIDTH:
        live = Live(table(shown, title), console=out, auto_refresh=False)
    with live or nullcontext():
        while not await _passed(over):
            now = moment()
            rows = rows_between(before, now)
            if live is not None:
                live.update(table(rows, title), refresh=True)
            elif line := change_line(shown, rows):
                out.print(line, markup=False, highlight=False, soft_wrap=True)
            before, shown = now, rows


async def _passed(over: asyncio.Event) -> bool:
    """Whether it is over; waits a second for that."""
    try:
        await asyncio.wait_for(over.wait(), _PERIOD)
    except TimeoutError:
        return False
    return True
