"""A simulated machine, and the processes that run on it one after the other.

A process is a loop and the program on it. `kill` is SIGKILL: its memory is gone and its
tasks never run again, no `finally` either, while its system still sends what it had
written and closes its connections; `power_off` takes the system along, and nobody is told.
What the host keeps beyond both is its name, its wall clock and its disk.

The code of a test is on a host, too (`Simulation.run` has one of its own), and does not
reach into another's loop: it starts programs, and has calls made by `SimulatedHost.call`.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from irismq_runtime.simulation.disk import SimulatedDisk
from irismq_runtime.simulation.errors import ProcessKilled
from irismq_runtime.simulation.isolation import EPOCH
from irismq_runtime.simulation.loop import SimulatedLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from actors.clock import Clock
    from irismq_runtime.simulation.context import SimulationContext
    from irismq_runtime.simulation.network import Access

__all__ = ["HostClock", "Process", "SimulatedHost"]

T = TypeVar("T")


class HostClock:
    """The clock of one process: `actors.Clock` on virtual time."""

    __slots__ = ("_host", "_loop", "monotonic")

    def __init__(self, host: SimulatedHost, loop: SimulatedLoop) -> None:
        self._host = host
        self._loop = loop
        self.monotonic = loop.time

    def time(self) -> float:
        """Return the wall clock of the host, in seconds since the epoch; it may jump."""
        return EPOCH + self._loop.at + self._host.wall_offset

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` in `delay` seconds, on the loop of the process."""
        return self._loop.call_later(delay, callback, *args)


class Process(Generic[T]):
    """One program on one host, from its start to its end.

    Attributes:
        host: Where it runs.
        loop: Its loop.
        task: The program.
        killed: Whether it was killed.
    """

    def __init__(
        self, host: SimulatedHost, loop: SimulatedLoop, program: Coroutine[Any, Any, T]
    ) -> None:
        self.host = host
        self.loop = loop
        self.killed = False
        self._waiters: list[Callable[[], object]] = []
        self._mourners: list[Callable[[], object]] = []
        self.task: asyncio.Task[T] = Context().run(loop.create_task, program)
        self.task.add_done_callback(lambda _: self._tell())

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.killed or self.task.done()

    def when_over(self, call: Callable[[], object]) -> None:
        """Call it once the process has ended; now, if it has."""
        if self.over:
            call()
        else:
            self._waiters.append(call)

    def when_killed(self, call: Callable[[], object]) -> None:
        """Call it once the process is killed; now, if it was."""
        if self.killed:
            call()
        else:
            self._mourners.append(call)

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        if not self.killed:
            self.killed = True
            self.loop.kill()
            mourners, self._mourners = self._mourners, []
            for call in mourners:
                call()
            self._tell()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for call in waiters:
            call()

    async def wait(self) -> T:
        """Wait, on any loop of the simulation, and return what the program returned.

        Raises:
            ProcessKilled: It was killed.
            Exception: What the program raised.
        """
        await _told(self.when_over)
        if self.killed:
            raise ProcessKilled(self.host.name)
        return self.task.result()


class SimulatedHost:
    """One machine. Made by `Simulation.host`.

    Attributes:
        name: By which others reach it.
        access: It on the network.
        process: What runs on it, or ran last; None before the first start.
        disk: What it keeps over the ends of its processes.
        wall_offset: What its wall clock is ahead of the simulation's, in seconds.
    """

    def __init__(self, context: SimulationContext, access: Access) -> None:
        self.name = access.name
        self.access = access
        self.process: Process[Any] | None = None
        self.disk = SimulatedDisk(context, self.name)
        self.wall_offset = 0.0
        self._slowness = 1.0
        self._context = context
        self._starts = 0
        self._chance = context.chance.stream(f"host/{self.name}")
        # Since the machine was turned on: no two hosts agree on it.
        self._uptime = self._chance.uniform(1.0, 1e6)
        #: Processes that have ended, whose tasks must not run again.
        self._past: list[Process[Any]] = []

    # -- its state -----------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a process is on it that was not killed."""
        return self.process is not None and not self.process.killed

    @property
    def clock(self) -> Clock:
        """The clock of its process. Raises `RuntimeError` when none runs."""
        return self._running().loop.clock

    def _running(self) -> Process[Any]:
        if self.process is None or self.process.killed:
            raise RuntimeError(f"nothing runs on {self.name}: start a program first")
        return self.process

    def outbox(self) -> Iterator[tuple[str, float]]:
        """Yield the envelope id of each message that its stores have to send, and when it is due.

        In how many seconds; 0: now.
        """
        for row, due in self.disk.databases.outbox():
            yield row.hex(), max(0.0, due - self.wall_time)

    @property
    def wall_time(self) -> float:
        """What its wall clock says to who looks on."""
        return EPOCH + self._context.events.now + self.wall_offset

    # -- what is done to it -----------------------------------------------------------

    def start(self, program: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> Process[T]:
        """Start a process that runs `program(*args)`. It stays up when that returns.

        Raises:
            RuntimeError: A process is running.
        """
        if self.running:
            raise RuntimeError(f"a process runs on {self.name} already: kill or stop it first")
        self.access.up = True
        self._starts += 1
        self._context.note(f"{self.name} starts")
        loop = SimulatedLoop(
            self._context,
            self.access,
            name=self.name,
            offset=self._uptime,
            chance=self._context.chance.stream(f"host/{self.name}/{self._starts}"),
            clock=lambda loop: HostClock(self, loop),
            databases=self.disk.databases,
        )
        loop.slowness = self._slowness
        self.process = process = Process(self, loop, program(*args))
        self._past.append(process)
        return process

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run `function(*args)` in the process, from the code of another host, and wait.

        Raises:
            ProcessKilled: The process was killed before it was done.
            RuntimeError: Nothing runs here.
            Exception: What it raised.
        """
        process = self._running()
        if asyncio.get_running_loop() is process.loop:
            return await function(*args)
        task = Context().run(process.loop.create_task, function(*args))
        await _told(
            lambda tell: task.add_done_callback(lambda _: tell()),
            process.when_killed,
        )
        if not task.done():
            raise ProcessKilled(self.name)
        return task.result()

    def kill(self) -> None:
        """SIGKILL: the process is gone at once; its system closes its connections."""
        if self.running:
            self._context.note(f"{self.name} is killed")
            self._running().kill()
            self.access.close_all(self._context.events.now)

    def power_off(self) -> None:
        """The power goes: as `kill`, nobody hears of it, and what was not synced may be lost."""
        if self.running:
            self._running().kill()
        self.access.lose_all()
        self.access.up = False
        lost = self.disk.lose(self._chance)
        self._context.note(f"{self.name} is without power, and loses {lost} transactions")

    def power_on(self) -> None:
        """Turn it on again; nothing runs on it until `start`, which does this as well."""
        self.access.up = True

    def pause(self) -> None:
        """SIGSTOP: its process stands still; its system goes on, and so does time."""
        self._context.note(f"{self.name} pauses")
        self._running().loop.pause()

    def resume(self) -> None:
        """SIGCONT: go on with all that has come meanwhile."""
        self._context.note(f"{self.name} goes on")
        if self.running:
            self._running().loop.resume()

    def slow(self, factor: float) -> None:
        """Have everything on it take so many times as long; 1 is as before."""
        self._context.note(f"{self.name} is slower by {factor:g}")
        self._slowness = factor
        if self.running:
            self._running().loop.slowness = factor

    def jump(self, seconds: float) -> None:
        """Set its wall clock forward, or back; its monotonic clock does not notice."""
        self._context.note(f"the clock of {self.name} jumps by {seconds:g} s")
        self.wall_offset += seconds

    def bury(self) -> None:
        """Let go of all that its processes held: the simulation is over."""
        if self.process is not None:
            self.process.kill()
        for process in self._past:
            process.loop.bury()
        self._past.clear()
        self.process = None
        self.disk.destroy()


async def _told(*registers: Callable[[Callable[[], object]], object]) -> None:
    """Wait until one of those calls what it was given; they may do so on any loop."""
    loop = cast("SimulatedLoop", asyncio.get_running_loop())
    waiting: asyncio.Future[None] = loop.create_future()

    def told() -> None:
        if not waiting.done():
            waiting.set_result(None)

    def tell() -> None:
        loop.notice(told)

    for register in registers:
        register(tell)
    await waiting
