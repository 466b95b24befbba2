"""`Simulation`: hosts, a network and a time of their own, all from one seed.

    simulation = Simulation(seed=0x8F31)
    a, b = simulation.host("a"), simulation.host("b")

    async def main() -> None:
        a.start(serve)
        b.start(ask)
        await asyncio.sleep(600)      # ten virtual minutes

    with simulation:
        simulation.run(main)
        simulation.digest()           # the same whenever this seed is run

`run` has a host of its own, "outside", for the code of a test: nothing that is done to
the others happens to it. When `main` is done, so is the simulation: every process that
still runs is killed. What they held is let go of by `close`, or at the end of `with`.
"""

from __future__ import annotations

import gc
import sys
import warnings
from asyncio import _get_running_loop as running_loop
from asyncio import _set_running_loop as set_running_loop
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from irismq_runtime.node.current import forget_closed
from irismq_runtime.simulation.chance import Chance
from irismq_runtime.simulation.conditions import Conditions
from irismq_runtime.simulation.context import SimulationContext
from irismq_runtime.simulation.errors import NotSimulated, SimulationStalled
from irismq_runtime.simulation.host import SimulatedHost
from irismq_runtime.simulation.isolation import isolated
from irismq_runtime.simulation.network import SimulatedNetwork

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    from irismq_runtime.simulation.host import Process
    from irismq_runtime.simulation.loop import SimulatedLoop

__all__ = ["OUTSIDE", "Simulation"]

T = TypeVar("T")

#: The host of the code that looks on.
OUTSIDE: Final = "outside"
#: Events between two rounds of the garbage collector, which at a time of its own would
#: end generators, and drop tasks, at a different step in each run.
_COLLECT: Final = 100_000
#: Events after which it is looked whether the run takes too long.
_AT_ONCE: Final = 1000


class Simulation:
    """One run. Made, run once, and done with.

    Args:
        seed: What all of it comes from.
        conditions: How fast machines and networks are.

    Attributes:
        network: To partition, to slow down, to cut.
        hosts: By name, in the order in which they were made.
        outside: The host of the code that looks on; it is not among them.
    """

    def __init__(self, seed: int, conditions: Conditions | None = None) -> None:
        gc.freeze()  # what exists now is no garbage of this run, and is not looked through
        self._context = SimulationContext(Chance(seed), conditions or Conditions())
        #: Returns `now`: for whoever asks at every event.
        self.time = self._context.events.time
        self.network = SimulatedNetwork(self._context)
        self.hosts: dict[str, SimulatedHost] = {}
        self.outside = SimulatedHost(self._context, self.network.join(OUTSIDE))
        self._ran = False
        self._closed = False
        self._collected = 0

    # -- what there is ---------------------------------------------------------------

    def host(self, name: str) -> SimulatedHost:
        """Return the host of that name, made and turned on if there is none."""
        if name not in self.hosts:
            self.hosts[name] = SimulatedHost(self._context, self.network.join(name))
        return self.hosts[name]

    def chance(self, name: str) -> random.Random:
        """Return a stream of chance for whatever has that name: a plan, a load."""
        return self._context.chance.stream(f"of/{name}")

    @property
    def seed(self) -> int:
        """What all of it comes from."""
        return self._context.chance.seed

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._context.events.now

    @property
    def steps(self) -> int:
        """What happened so far, one at a time: see `SimulationContext.steps`."""
        return self._context.steps

    @property
    def story(self) -> list[tuple[float, str]]:
        """What was done to hosts and network, with its time."""
        return list(self._context.story)

    @property
    def uncaught(self) -> list[tuple[str, dict[str, Any]]]:
        """Errors that nobody caught: the host, and what asyncio says of them."""
        return [(loop.name, dict(context)) for loop, context in self._context.uncaught]

    def note(self, text: str) -> None:
        """Put something into the story and the digest."""
        self._context.note(text)

    def digest(self) -> str:
        """Return the digest of all that happened so far."""
        return self._context.digest.hexdigest()

    # -- running --------------------------------------------------------------------

    def run(
        self,
        main: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        longest: float = 86_400.0,
        most_steps: int = 1_000_000_000,
    ) -> T:
        """Run `main(*args)` on a host of its own until it is done, then end all others.

        Args:
            main: What is run; it may start hosts, wait, and do things to them.
            args: What it is given.
            longest: Virtual seconds, at most.
            most_steps: Steps, at most.

        Returns:
            What it returned. What it raised is raised here.

        Raises:
            SimulationStalled: It is not done, and nothing will happen any more, or it
                took more than it may.
            NotSimulated: Another loop runs on this thread.
            RuntimeError: It was run before.
        """
        if self._ran:
            raise RuntimeError("a simulation is run once; make another one of the same seed")
        loop = running_loop()
        if loop is not None:
            what = f"a run inside a running {type(loop).__module__}.{type(loop).__name__}"
            raise NotSimulated(what, "call Simulation.run from a plain function")
        self._ran = True
        with _collected_by_hand(), isolated(self._context), _loops_of(self._context):
            process = self.outside.start(main, *args)
            try:
                self._go_on(process, longest, most_steps)
            finally:
                for host in self._all_hosts():
                    host.kill()
                self._context.events.clear()
        return process.task.result()

    def _go_on(self, process: Process[Any], longest: float, most_steps: int) -> None:
        context = self._context
        events = context.events
        process.when_over(events.stop)
        while not process.over:
            if not events:
                raise SimulationStalled(events.now, "nothing is left to happen")
            if events.now > longest:
                raise SimulationStalled(events.now, f"{longest:g} virtual seconds are over")
            if context.steps > most_steps:
                raise SimulationStalled(events.now, f"{most_steps} steps were taken")
            if events.past >= self._collected + _COLLECT:
                self._collected = events.past
                gc.collect()
            events.run(_AT_ONCE)
            context.digest.fold()

    def _all_hosts(self) -> tuple[SimulatedHost, ...]:
        return (self.outside, *self.hosts.values())

    # -- its end --------------------------------------------------------------------

    def close(self) -> None:
        """Let go of what its processes held, when its outcome has been looked at. Idempotent.

        What was pending in them ends only here.
        """
        with _collected_by_hand(), isolated(self._context), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of coroutines that will not be awaited
            for host in self._all_hosts():
                host.bury()
            forget_closed()
            # What has a finalizer is finalized in the first round, and gone in the second.
            while gc.collect():
                pass
        if not self._closed:
            self._closed = True
            gc.unfreeze()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _loops_of(context: SimulationContext) -> Iterator[None]:
    """Have generators closed by the loops that began them; afterwards no loop runs."""
    # By identity: a generator that is dropped has no weak references any more. One that
    # has ended leaves its entry to the next one that is in its place.
    owners: dict[int, SimulatedLoop] = {}

    def begun(generator: AsyncGenerator[Any, Any]) -> None:
        if context.running is not None:
            owners[id(generator)] = context.running

    def dropped(generator: AsyncGenerator[Any, Any]) -> None:
        if (loop := owners.pop(id(generator), None)) is not None:
            loop.generator_dropped(generator)

    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(begun, dropped)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        set_running_loop(None)


@contextmanager
def _collected_by_hand() -> Iterator[None]:
    """Leave no round to the garbage collector."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
