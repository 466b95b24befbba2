"""The event loop of one simulated process: asyncio's promises, on virtual time.

Each process has a loop of its own, as in reality, and this is where the freedom of a
schedule lies. Within one loop callbacks run in the order in which they were given, as
asyncio promises; what it leaves open the seed chooses: which of the connections that
have something is read first, whether timers or connections are looked at first, which
of two timers of the same time fires first, and how long everything takes, and with that
how the turns of several processes interleave.

A turn is as in asyncio: connections that have something and timers that are due become
ready, then all that is ready now runs, and what that makes ready waits for the next
turn. Each callback takes a little virtual time, so that a loop which is never idle does
not stop the time of the others. Timers fire only when it is their time, and time passes
by nothing but what happens.

A loop that is killed runs nothing any more, and says nothing about it: what it held is
as gone as the memory of a process, and is kept until the simulation is over only so
that none of it can run its `finally`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import random
from asyncio import _set_running_loop as set_running_loop
from collections import deque
from contextvars import Context, copy_context
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from actors.virtual_loop import VirtualLoop
from irismq_runtime.simulation.calls import LoopCall, LoopTimer, SimulatedTask
from irismq_runtime.simulation.conditions import draws
from irismq_runtime.simulation.errors import NotSimulated
from irismq_runtime.simulation.isolation import RefusedCalls
from irismq_runtime.simulation.networking import NetworkCalls
from irismq_runtime.simulation.threads import ThreadCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from actors.clock import Clock
    from actors.virtual_loop import DatabaseFiles
    from irismq_runtime.simulation.context import SimulationContext
    from irismq_runtime.simulation.network import Access
    from irismq_runtime.simulation.transport import SimulatedTransport

__all__ = ["SimulatedLoop"]

T = TypeVar("T")

_log = logging.getLogger("irismq.simulation")
#: Cancelled timers beyond which they are looked for and dropped.
_CANCELLED = 256


#: To a checker anything: the abstract class has each method in forms that are refused here.
_AbstractEventLoop: Any = asyncio.AbstractEventLoop


class SimulatedLoop(
    NetworkCalls,
    ThreadCalls,
    RefusedCalls,
    VirtualLoop,
    _AbstractEventLoop,  # type: ignore[misc]  # see there
):
    """One process's loop, made by its host. All of it on the simulation's thread.

    Attributes:
        name: Of the host, for texts.
        number: Which loop of the simulation it is, for the digest.
        offset: What its `time` is ahead of the simulation's, in seconds.
        access: The network as this process reaches it.
        clock: The clock of the process, for code that takes that of its loop.
        databases: The SQLite files of the host, for code that takes those of its loop.
        transports: Its connections that are not lost.
        slowness: What everything takes longer by than on a machine that is not busy.
    """

    def __init__(
        self,
        context: SimulationContext,
        access: Access,
        *,
        name: str,
        offset: float,
        chance: random.Random,
        clock: Callable[[SimulatedLoop], Clock],
        databases: DatabaseFiles,
    ) -> None:
        self.name = name
        self.number = context.next_number()
        self.offset = offset
        self.access = access
        self.digest = context.digest
        self.clock = clock(self)
        self.databases = databases
        self.slowness = 1.0
        self._context = context
        self._events = context.events
        self._chance = chance
        self._ready: deque[LoopCall] = deque()
        #: The readers of connections that have something.
        self._readable: list[LoopCall] = []
        self._timers: list[tuple[float, float, int, LoopTimer]] = []
        self._timer_order = count().__next__
        self._cancelled_timers = 0
        self._task_number = count(1).__next__
        self._cost = draws(chance, context.conditions.step)
        self._thread_cost = draws(chance, context.conditions.thread)
        self._wake_cost = draws(chance, context.conditions.wake)
        #: When the next turn is ordered; infinity: it is not.
        self._turn_due = math.inf
        #: When somebody rings for a timer; infinity: nobody does.
        self._alarm = math.inf
        #: The process's own time: during a turn it is ahead of the simulation's.
        self._now = context.events.now
        self._in_turn = False
        self._paused = False
        #: What its threads were about to do when it was paused.
        self._held: list[Callable[[], object]] = []
        self._dead = False
        #: What runs now is a step of one of its threads, which is not to take itself for it.
        self._in_thread = False
        self._closed = self._debug = False
        self._exception_handler: Callable[[Any, dict[str, Any]], object] | None = None
        self._task_factory: Callable[..., Any] | None = None
        self.transports: dict[SimulatedTransport, None] = {}
        #: The tasks that were pending when it was killed.
        self._grave: list[asyncio.Task[Any]] = []

    # -- time -------------------------------------------------------------------

    @property
    def at(self) -> float:
        """The simulation's time as this process has it: in a turn it moves with each callback."""
        now, simulated = self._now, self._events.now
        return now if now > simulated else simulated  # noqa: FURB136  # asked at each step

    def time(self) -> float:
        """Return the monotonic time of this process, in seconds."""
        now, simulated = self._now, self._events.now
        at = now if now > simulated else simulated  # noqa: FURB136  # as above
        return at + self.offset

    # -- what is to be called -----------------------------------------------------

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call it in the next turn, after all that were given before."""
        call = LoopCall(callback, args, self, copy_context() if context is None else context)
        if self._closed:
            self._check_open()
        self._ready.append(call)
        if not self._in_turn:
            self._wake()
        return call

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`; who calls from another thread is not in the simulation.

        Raises:
            NotSimulated: It is called from another thread.
        """
        if get_ident() != self._context.thread:
            raise NotSimulated("a call from a real thread", "have it made in `run_in_executor`")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it in `delay` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it at `when`, on this loop's `time`."""
        given = copy_context() if context is None else context
        timer = LoopTimer(when, callback, args, self, given)
        self._check_open()
        # Of two of the same time the seed chooses.
        heapq.heappush(self._timers, (when, self._chance.random(), self._timer_order(), timer))
        if not self._in_turn and self._timers[0][3] is timer:
            self._sleep()
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        del handle
        self._cancelled_timers += 1
        if self._cancelled_timers > max(_CANCELLED, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if not entry[3].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def notice(self, callback: Callable[..., object], *args: Any) -> None:
        """Something has come from outside: `callback` runs in the next turn, among the readers."""
        self.readable(LoopCall(callback, args, self, Context()))

    def readable(self, reader: LoopCall) -> None:
        """A connection has something: its reader runs in the next turn."""
        self._readable.append(reader)
        if not self._in_turn:
            self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")

    # -- turns ----------------------------------------------------------------------

    def _wake(self) -> None:
        """Something is ready: see that there is a turn soon."""
        now, simulated = self._now, self._events.now
        at = now if now > simulated else simulated  # noqa: FURB136  # as above
        if self._turn_due > at:
            self._order_turn(at + self._wake_cost())

    def _order_turn(self, when: float) -> None:
        if when < self._turn_due and not (self._paused or self._dead):
            self._turn_due = when
            self._events.at(when, self._turn, when)

    def _sleep(self) -> None:
        """Nothing is ready: see that somebody rings when the first timer is due."""
        due = self._timers[0][0] - self.offset
        # One that rings too early is kept, and looks again then: cheaper than one more.
        if due < self._alarm and (due := max(self.at, due)) < self._alarm:
            self._alarm = due
            self._events.at(due + self._wake_cost(), self._ring, due)

    def _ring(self, due: float) -> None:
        if due != self._alarm:
            return  # an earlier one came in between
        self._alarm = math.inf
        if self._timers and self._turn_due == math.inf and not (self._paused or self._dead):
            if self._timers[0][0] <= self.time():
                self._turn_due = due
                self._turn(due)
            else:
                self._sleep()

    def _turn(self, due: float) -> None:
        """Take a turn, and the next ones as long as nothing else happens before them."""
        if due != self._turn_due:
            return  # an earlier one came in between, or nothing runs here now
        self._turn_due = math.inf
        events = self._events
        self._now = max(self._now, events.now)
        if self._context.running is not self:
            self._enter()
        while True:
            if self._readable or (self._timers and self._timers[0][0] <= self._now + self.offset):
                self._gather()
            self._run_ready()
            if self._dead or self._paused:
                return
            if not (self._ready or self._readable):
                break
            if events.next_due() <= self._now:
                self._order_turn(self._now)
                return
            events.now = self._now
        if self._timers:
            self._sleep()

    def _enter(self) -> None:
        """The code that runs next is of this process."""
        self._context.running = self
        set_running_loop(self)

    def _run_ready(self) -> None:
        """Run what is ready now, each at the same cost."""
        ready, cost = self._ready, self._cost() * self.slowness
        amount = len(ready)
        self._context.steps += amount
        self.digest.add((self.number, self._now, amount))
        self._in_turn = True
        try:
            for _ in range(amount):
                call = ready.popleft()
                if not call._cancelled:  # noqa: SLF001  # in place of a call for each
                    try:
                        call._context.run(call._callback, *call._args)  # noqa: SLF001  # as above
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # its own, whatever it is
                        call.failed(error)
                self._now += cost
                if self._dead or self._paused:
                    return  # its own doing
        finally:
            self._in_turn = False

    def _gather(self) -> None:
        """Make ready what connections have and what is due, in an order of chance."""
        end, timers = self._now + self.offset, self._timers
        if not timers or timers[0][0] > end:
            self._take_readable()
            return
        if self._readable and self._chance.getrandbits(1):
            self._take_readable()
        while timers and timers[0][0] <= end:
            timer = heapq.heappop(timers)[3]
            timer.due()
            if timer.cancelled():
                self._cancelled_timers -= 1
            else:
                self._ready.append(timer)
        if self._readable:
            self._take_readable()

    def _take_readable(self) -> None:
        readable, self._readable = self._readable, []
        if len(readable) > 1:
            self._chance.shuffle(readable)
        self._ready.extend(readable)

    # -- what its host does to it -------------------------------------------------

    def pause(self) -> None:
        """Take no turn from now on; time goes on."""
        self._paused = True
        self._turn_due = math.inf

    def resume(self) -> None:
        """Go on, with all that has come meanwhile."""
        if self._paused:
            self._paused = False
            held, self._held = self._held, []
            for step in held:
                self.thread_step(step)
            if self._ready or self._readable:
                self._wake()
            elif self._timers:
                self._sleep()

    def kill(self) -> None:
        """Run nothing any more. What is pending stays so, until `bury`."""
        if not self._dead:
            self._dead = True
            self._turn_due = self._alarm = math.inf
            for task in asyncio.all_tasks(self):
                # asyncio's own switch against its warning: this one is meant to be pending.
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # as above
                self._grave.append(task)

    def bury(self) -> None:
        """Let go of what a killed loop held: nobody looks at it any more.

        Here, and only here, what is pending runs its `finally`; on a loop that takes
        nothing, and whatever it raises.
        """
        self.kill()
        self._closed = True
        for transport in self.transports:
            transport.abandon()
        self.transports.clear()
        set_running_loop(self)
        try:
            for task in self._grave:
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        finally:
            set_running_loop(None)
        self._grave.clear()
        self._ready.clear()
        self._readable.clear()
        self._timers.clear()
        self._held.clear()

    def thread_step(self, step: Callable[[], object]) -> None:
        """Call `step` as a thread of this process would: later, while no loop runs."""
        self._check_open()
        took = self._thread_cost() * self.slowness
        self._events.at(self.at + took, self._thread_step, step)

    def _thread_step(self, step: Callable[[], object]) -> None:
        if self._dead:
            return
        if self._paused:
            self._held.append(step)
            return
        self._context.steps += 1
        self._context.running = self
        set_running_loop(None)  # threads have none
        self._in_thread = True
        try:
            step()
        finally:
            self._in_thread = False
            self._context.running = None

    # -- tasks and futures --------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """Run a coroutine as a task. Its name does not tell how many there were elsewhere."""
        self._check_open()
        if self._task_factory is not None:
            task: asyncio.Task[T] = self._task_factory(self, coro, context=context, **options)
            if name is not None:
                task.set_name(name)
            return task
        number = self._task_number()
        called = f"Task-{number}" if name is None else str(name)
        return SimulatedTask(number, coro, loop=self, name=called, context=context, **options)

    def set_task_factory(self, factory: Callable[..., Any] | None) -> None:
        """Have tasks made by `factory`."""
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """Return what makes tasks."""
        return self._task_factory

    # -- errors that nobody caught ----------------------------------------------------

    def set_exception_handler(self, handler: Any) -> None:
        """Have errors that nobody caught told to `handler`."""
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        """Return who is told of errors that nobody caught."""
        return self._exception_handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log it, and keep it for the end of the run."""
        self._context.uncaught.append((self, context))
        error = context.get("exception")
        info = None if error is None else (type(error), error, error.__traceback__)
        _log.error("%s: %s", self.name, context.get("message"), exc_info=info)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nobody caught an error: tell who is to be told."""
        if self._dead:
            return
        if self._exception_handler is None:
            self.default_exception_handler(context)
            return
        try:
            self._exception_handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            _log.exception("%s: the exception handler of the loop failed", self.name)

    def generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An asynchronous generator of this process is not used any more: close it."""
        if not self._dead:
            self.call_soon(self.create_task, generator.aclose())

    def new_random(self) -> random.Random:
        """Return a new generator, for code that takes chance from its loop."""
        return random.Random(self._chance.getrandbits(128))

    # -- its state ------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether its process has not ended."""
        return not self._dead

    def is_running(self) -> bool:
        """Return whether it runs: while its process is alive, but not for its threads.

        All is one thread of the machine: who compares that alone would be misled.
        """
        return self.alive and not self._in_thread

    def is_closed(self) -> bool:
        """Return whether nothing can be given to it any more."""
        return self._closed

    def get_debug(self) -> bool:
        """Return whether debugging is on."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        """Turn debugging on or off."""
        self._debug = enabled

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: a generator that is dropped is closed at once."""
