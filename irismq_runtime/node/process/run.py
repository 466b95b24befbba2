"""Runs a node until it is to stop: signals, systemd, the exit code.

The first signal counts from the first moment on: one that comes while the servers
are being connected, or the tree starts, ends that in order with code 0. A second
one ends the process at once. Whoever cancels `run` ends the node in order too.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.node.process.signals import Signals
from irismq_runtime.node.process.systemd import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.node.node import Node
    from irismq_runtime.node.process.stop_reason import StopReason

__all__ = ["EXIT_FORCED", "EXIT_GAVE_UP", "run", "run_until_signal"]

_LOG = logging.getLogger("irismq.node")

#: Exit code of a process whose root supervisor gave up.
EXIT_GAVE_UP: Final = 4
#: Exit code of a process that was told twice to stop.
EXIT_FORCED: Final = 130


async def run_until_signal(node: Node, stop_reason: StopReason) -> int:
    """See `Node.run_until_signal`."""
    loop = asyncio.get_running_loop()
    with Signals(loop, stop_reason.decide, EXIT_FORCED), _service_manager(node) as manager:
        manager.ready()
        await stop_reason.decided()
        manager.stopping(stop_reason.reason)
        await node.stop()
    return _code(stop_reason)


async def run(
    node: Node, stop_reason: StopReason, tree: Any, on_phase: Callable[[Node, str], None]
) -> int:
    """See `Node.run`."""
    loop = asyncio.get_running_loop()

    def say(phase: str) -> None:
        manager.say(phase)
        on_phase(node, phase)

    with Signals(loop, stop_reason.decide, EXIT_FORCED), _service_manager(node) as manager:
        decided = loop.create_task(stop_reason.decided())
        starting = loop.create_task(_enter_and_start(node, tree, say))
        try:
            await asyncio.wait({starting, decided}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                manager.ready()
                on_phase(node, "runs")
                await decided
            on_phase(node, stop_reason.reason)
        finally:
            decided.cancel()
            manager.stopping(stop_reason.reason or "given up")
            await _given_up(starting)
            await node.stop()
    return _code(stop_reason)


async def _enter_and_start(node: Node, tree: Any, say: Callable[[str], None]) -> None:
    await node.__aenter__()
    say("connected")
    await node.start(tree)


async def _given_up(starting: asyncio.Task[None]) -> None:
    """Return when the start is over, undone if it was under way."""
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled() and (error := starting.exception()) is not None:
            _LOG.warning("the start was given up, and failed meanwhile: %s", error)


def _service_manager(node: Node) -> ServiceManager:
    return ServiceManager.of_this_process(lambda: node.health() if node.is_open else None)


def _code(stop_reason: StopReason) -> int:
    return 0 if stop_reason.gave_up is None else EXIT_GAVE_UP
