"""`System`: the actors of one loop, and what they share.

A system is bound to one loop: the one that runs where the first actor is
started, or, when none runs there, one on a background thread that is started on
demand. It owns the registry, the dead letters, the deadlines of asks, the
events and the clock. There is no global registry: two systems in one process
know nothing of each other.

Refs may be used from any thread; everything else here belongs to the loop
unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import itertools
import logging
import secrets
import weakref
from asyncio import _get_running_loop as running_loop
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, overload

from actors._current import current_slot, current_system
from actors._reports import Counters, Reports
from actors._slot import Slot
from actors._system_options import check_options
from actors.background import BackgroundLoop
from actors.clock import Clock, LoopClock
from actors.counters import ClassCounters, EndedCounters, counters_of
from actors.dead_letters import DeadLetters
from actors.deadlines import Deadlines
from actors.errors import BlockingCall
from actors.events import Events
from actors.exits import Exit
from actors.ref import ActorRef
from actors.slow import SlowHandler, SlowHandlers
from actors.texts import exc_info_of
from actors.watchdog import Watchdog

if TYPE_CHECKING:
    import contextvars
    import threading
    from collections.abc import Callable, Collection, Coroutine, Mapping

    from actors._ending import Ending
    from actors.delivery import Scope

__all__ = ["Counters", "Lifecycle", "Statistics", "System", "default_system"]

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("actors")


class Lifecycle(Protocol):
    """Hooks that are awaited at the turns of every actor's life, on the loop."""

    async def started(self, ref: ActorRef[Any], actor: Any) -> None:
        """After `on_start`, before the start is reported. An error fails the start."""
        ...

    async def restarting(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # OTP's word
        """An incarnation is over, the slot is not."""
        ...

    async def restarted(self, ref: ActorRef[Any], actor: Any) -> None:
        """As `started`, for a later incarnation."""
        ...

    async def ended(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # OTP's word
        """The slot has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """A system at one moment. `stuck_threads` and `slow_handlers` should be empty."""

    actors: int
    pending_asks: int
    async_handlers: int
    threads: int
    stuck_threads: tuple[str, ...]
    slow_handlers: tuple[SlowHandler, ...]
    dead_letters: Mapping[str, int]
    late_answers: int
    expired: int
    refused: int


class System(Reports):
    """A world of actors on one loop.

    `inbox_limit` is in messages, `ask_timeout` in seconds. `loop_factory` makes
    the loop of a background thread. A handler that blocks the loop for `blocked_after`
    seconds is reported (None: no watchdog), and so is one that runs for `slow_after`
    seconds without blocking it. Raises `ValueError` that names the option.
    """

    def __init__(
        self,
        name: str = "local",
        *,
        clock: Clock | None = None,
        events: Events | None = None,
        inbox_limit: int = 10_000,
        ask_timeout: float = 5.0,
        dead_letter_limit: int = 1000,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        blocked_after: float | None = 0.1,
        slow_after: float = 30.0,
    ) -> None:
        check_options(name=name, inbox_limit=inbox_limit, ask_timeout=ask_timeout)
        check_options(dead_letter_limit=dead_letter_limit)
        check_options(blocked_after=blocked_after, slow_after=slow_after)
        self.name = name
        self.clock: Clock = clock if clock is not None else LoopClock()
        self.now = self.clock.monotonic
        self.events = events if events is not None else Events(self.clock.monotonic)
        self.inbox_limit = inbox_limit
        self.ask_timeout = ask_timeout
        self.dead_letters = DeadLetters(dead_letter_limit, self.events, self.clock.monotonic)
        self.deadlines = Deadlines(self, self.ask_timeout)
        self.counters = Counters()
        self.past: dict[type, EndedCounters] = {}
        #: The class of the refs of actors that start from now on; see `propagate_context`.
        self.ref_class: type[ActorRef[Any]] = ActorRef
        self.slow = SlowHandlers(self, slow_after)
        self.real_time = isinstance(self.clock, LoopClock)
        self.lifecycle: list[Lifecycle] = []
        #: The tasks in which async handlers run now, and whose they are.
        self.tasks: dict[asyncio.Task[Any], Slot] = {}
        #: The slot whose plain handlers run now, and how many such turns there were.
        self.busy: Slot | None = None
        self.turns = 0
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set by attach(), before anything uses it
        self.thread_id = 0
        #: The slots that have a thread now (an ordered set).
        self.threads: dict[Slot, None] = {}
        #: Abandoned threads, for as long as they hang.
        self.stuck_threads: list[threading.Thread] = []
        self._slots: dict[int, Ending] = {}
        self._serials = itertools.count(1)
        self.next_serial: Callable[[], int] = self._serials.__next__
        self._id = secrets.token_hex(8)
        self._loop_factory = loop_factory
        self._background: BackgroundLoop | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._blocked_after = blocked_after
        self._watchdog: Watchdog | None = None

    # -- the loop

    def attach(self) -> None:
        """Bind the system to a loop if it has none yet: the running one, or a new thread's."""
        if self.thread_id:
            return
        ATTACHED.add(self)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._background = BackgroundLoop(self.name, self._loop_factory)
            self.loop = self._background.start()
            self.thread_id = self._background.thread_id
            atexit.register(_close_at_exit, weakref.ref(self))
        else:
            self.loop = loop
            self.thread_id = get_ident()
        if self._blocked_after is not None:
            self._watchdog = Watchdog(self, self._blocked_after)
            self._watchdog.start()

    def call_on_loop(self, callback: Callable[..., Any], *args: Any) -> bool:
        """Call it now where the loop runs; from elsewhere, soon. False: the loop is closed.

        A loop that stands still takes it up when it runs again.
        """
        if get_ident() == self.thread_id and running_loop() is not None:
            callback(*args)
            return True
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            logger.debug("The loop of system %r is closed: %r is not called", self.name, callback)
            return False
        return True

    def run_on_loop(self, callback: Callable[[], T]) -> T:
        """Call it on the loop thread, now, and give its result. Any thread but another loop's."""
        if get_ident() == self.thread_id:
            return callback()
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(callback())
            except BaseException as error:
                # It belongs to the thread that waits.
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result()

    def handler_began(self) -> float:
        """The time, for a handler that is not called in place; it is watched from now on."""
        return self.slow.began()

    def lost(self, slot: Ending) -> None:
        """The loop is closed: nothing will ever run there, so the slot has ended."""
        if not slot.ended:
            slot.finish(Exit("killed", time=self.now(), wall=self.clock.time()))

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        """Run `coroutine` as a task that is kept until done; an error is logged."""
        task = self.loop.create_task(coroutine, context=context)
        self._spawned.add(task)
        task.add_done_callback(self._spawn_done)
        return task

    def _spawn_done(self, task: asyncio.Task[Any]) -> None:
        self._spawned.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            seen = exc_info_of(error)
            logger.error("A background task of system %r failed", self.name, exc_info=seen)

    @staticmethod
    def task_is_cancelled() -> bool:
        """True when somebody cancelled the task that runs this."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    # -- the registry

    @overload
    def start(
        self, actor_class: type[A], /, *args: Any, name: str | None, **kwargs: Any
    ) -> ActorRef[A]: ...

    @overload
    def start(
        self, actor_class: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorRef[A]: ...

    def start(  # type: ignore[misc]  # a constructor's own `name` is not reached
        self, actor_class: Any, /, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Start an actor outside of any supervisor; returns its ref at once.

        The constructor runs here and now, and what it raises is raised;
        `on_start` runs soon (`await ref.started()`). When it crashes it has
        ended. Any thread.

        A supervisor that is started by an actor's own code belongs to that actor: it
        ends with its incarnation, and is seen below it.
        """
        self.attach()
        slot = Slot(self, actor_class, args, kwargs, name=name)
        owner = current_slot.get()
        if owner is not None and owner.system is self and getattr(actor_class, "__owned__", False):
            slot.parent = owner.ref
            self.call_on_loop(self._own, owner, owner.incarnation, slot)
        slot.construct()
        slot.launch()
        return slot.ref

    def _own(self, owner: Ending, incarnation: int, slot: Ending) -> None:
        """`slot` ends with that incarnation of `owner`."""
        if owner.ended or owner.incarnation != incarnation or owner.actor is None:
            self.spawn(self._end_owned(owner, slot))
            return
        owned = owner.attachments().owned
        owned[slot] = None
        if len(owned) == 1:
            owner.when_over(partial(self._end_all_owned, owner))

    def _end_all_owned(self, owner: Ending) -> None:
        attached = owner.attachments()
        owned, attached.owned = attached.owned, {}
        for slot in reversed(owned):
            self.spawn(self._end_owned(owner, slot))

    @staticmethod
    async def _end_owned(owner: Ending, slot: Ending) -> None:
        """In order with an owner that ends in order, else at once."""
        orderly = owner.exit is not None and not owner.exit.abnormal
        await slot.end(await slot.stop("shutdown", 5.0 if orderly else 0.0))

    def urn_of(self, serial: int) -> str:
        """The urn of a slot: unique among all systems."""
        return f"urn:actor:{self._id}:{serial}"

    def register(self, slot: Ending) -> None:
        """Know the slot. Any thread."""
        self._slots[slot.serial] = slot

    def unregister(self, slot: Ending) -> None:
        """The slot has ended."""
        self._slots.pop(slot.serial, None)
        if slot.handled or slot.incarnation > 1:
            past = self.past_of(slot.actor_class)
            past.handled += slot.handled
            past.restarts += slot.restarts

    def find(self, urn: str) -> ActorRef[Any] | None:
        """The ref of the slot with this urn, None when there is none now. Any thread."""
        prefix, _, serial = urn.rpartition(":")
        if prefix != f"urn:actor:{self._id}" or not serial.isascii() or not serial.isdigit():
            return None
        slot = self._slots.get(int(serial))
        return None if slot is None else slot.ref

    def actors(self) -> list[ActorRef[Any]]:
        """The refs of all slots that have not ended, oldest first. Any thread."""
        return [slot.ref for slot in self.slots()]

    def propagate_context(
        self, scope_here: Callable[[], Scope | None], in_force: Collection[object]
    ) -> None:
        """Let local messages take along what `scope_here()` gives where they are sent.

        It is in force while they are handled (None: nothing is). `in_force` is empty
        while nothing is in any handler. For the actors that start from now on.
        """
        from actors.scoped_ref import scoped_ref

        self.ref_class = scoped_ref(scope_here, in_force)

    def counters_by_class(self) -> dict[type, ClassCounters]:
        """What the actors of each class have done, and how many there are. Loop thread."""
        return counters_of(list(self._slots.values()), self.past)

    def slots(self) -> list[Ending]:
        """The slots that have not ended, oldest first. Any thread."""
        return list(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def __bool__(self) -> bool:
        return True

    # -- the end

    async def shutdown(self, timeout: float | None = 5.0) -> None:
        """End every actor, the latest started first. Loop thread.

        Each has `timeout` seconds; those that do not end are abandoned and
        reported. Actors under a supervisor are ended by it.
        """
        if not self.thread_id:
            return
        ending = [
            self.loop.create_task(self._end_root(slot, timeout))
            for slot in reversed(list(self._slots.values()))
            if slot.parent is None
        ]
        if ending:
            await asyncio.gather(*ending)
        rest = self._spawned - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=timeout)
        self.deadlines.close()
        if self._watchdog is not None:
            self._watchdog.stop()

    @staticmethod
    async def _end_root(slot: Ending, timeout: float | None) -> None:
        await slot.end(await slot.stop("shutdown", timeout))

    def loop_closed(self) -> bool:
        """True when the loop can run nothing any more."""
        return bool(self.thread_id) and self.loop.is_closed()

    def close(self, timeout: float | None = 5.0) -> None:
        """`shutdown` from a thread, for a system with a background loop. Idempotent.

        Raises `BlockingCall` on the thread of that loop.
        """
        if get_ident() == self.thread_id:
            raise BlockingCall("a loop cannot wait for its own end; await shutdown() instead")
        if self._background is not None and not self.loop_closed():
            self._background.run(self.shutdown(timeout))
            self._background.stop()

    def statistics(self) -> Statistics:
        """What the system holds now, as one value. Loop thread."""
        self.stuck_threads = [thread for thread in self.stuck_threads if thread.is_alive()]
        return Statistics(
            actors=len(self._slots),
            pending_asks=self.deadlines.pending(),
            async_handlers=len(self.tasks),
            threads=len(self.threads),
            stuck_threads=tuple(thread.name for thread in self.stuck_threads),
            slow_handlers=tuple(self.slow.now()),
            dead_letters=self.dead_letters.counts,
            late_answers=self.counters.late_answers,
            expired=self.counters.expired,
            refused=self.counters.refused,
        )


def _close_at_exit(reference: weakref.ref[System]) -> None:
    system = reference()
    if system is not None:
        system.close(timeout=1.0)


#: Systems that have had a loop, for who has to know of all (a forked child).
ATTACHED: Final[weakref.WeakSet[System]] = weakref.WeakSet()
_by_loop: weakref.WeakValueDictionary[int, System] = weakref.WeakValueDictionary()
_in_background: list[System] = []


def default_system() -> System:
    """The system in which `ActorClass.start()` starts.

    Inside an actor: the actor's. On a thread whose loop runs: that loop's.
    Elsewhere: one for the process, whose loop runs on a background thread.
    """
    system = current_system()
    if system is not None:
        return system
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        if not _in_background or _in_background[0].loop_closed():
            _in_background[:] = [System()]
        return _in_background[0]
    system = _by_loop.get(id(loop))
    if system is None or system.loop is not loop:
        system = System()
        system.attach()
        _by_loop[id(loop)] = system
    return system


def forget_defaults() -> None:
    """Make new default systems from now on."""
    _in_background.clear()
    _by_loop.clear()
