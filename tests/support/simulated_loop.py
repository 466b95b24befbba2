"""One simulated process as the loop of a test: for the suites that say what streams must do.

A test on it runs as on any loop, with its servers and clients at 127.0.0.1, over streams
that are slow, small and cut anywhere, on virtual time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from irismq_runtime.simulation.chance import Chance
from irismq_runtime.simulation.context import SimulationContext
from irismq_runtime.simulation.host import HostClock, SimulatedHost
from irismq_runtime.simulation.isolation import isolated
from irismq_runtime.simulation.loop import SimulatedLoop
from irismq_runtime.simulation.network import SimulatedNetwork

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["LoopOfTest", "simulated_loop"]


class LoopOfTest(SimulatedLoop):
    """Runs until something is done, and no longer."""

    host: SimulatedHost

    def run_until_complete(self, future: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> Any:
        if not isinstance(future, asyncio.Future):
            future = self.create_task(future)
        events, context = self._events, self._context
        future.add_done_callback(lambda _: events.stop())
        # A test is several runs, with its fixtures: each draws what the others did not.
        context.chance = Chance(context.chance.seed + 1)
        try:
            with isolated(context):
                while not future.done():
                    assert events, "nothing will ever happen again"
                    events.run(1_000_000)
        finally:
            asyncio._set_running_loop(None)
            context.running = None
        return future.result()

    def close(self) -> None:
        if not self.is_closed():
            self._events.clear()
            self.bury()
            self.host.disk.destroy()


def simulated_loop(seed: int = 1) -> LoopOfTest:
    """Return the loop of a process that is alone on its host."""
    context = SimulationContext(Chance(seed))
    access = SimulatedNetwork(context).join("host")
    host = SimulatedHost(context, access)
    loop = LoopOfTest(
        context,
        access,
        name="host",
        offset=1000.0,
        chance=context.chance.stream("loop"),
        clock=lambda loop: HostClock(host, loop),
        databases=host.disk.databases,
    )
    loop.host = host
    return loop
