"""What slots need of their system: its loop, its clock, its counts, its registry.

`System` is this and what its users call. The two are apart so that the slots import this
one alone: a slot starts no other actor and ends no system.

What a system tells of its actors goes to observers of events, to the log and into
counts. The log has what nobody else would hear of: a crash without a supervisor, a hook
that failed, something abandoned. The words are Pykka's where Pykka has some, for those
who look for them.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import itertools
import logging
import secrets
import weakref
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from actors._inline_budget import InlineBudget
from actors._run_queue import RunQueue
from actors._system_options import check_options
from actors.background import BackgroundLoop
from actors.clock import Clock, LoopClock, default_clock
from actors.counters import Counters, EndedCounters
from actors.dead_letters import DeadLetters
from actors.deadlines import Deadlines
from actors.errors import AlreadyRegistered, BlockingCall
from actors.events import Events
from actors.middleware import checked_middleware, within
from actors.ref import ActorRef
from actors.slow import SlowHandlers
from actors.texts import class_name, exc_info_of
from actors.watchdog import Watchdog

if TYPE_CHECKING:
    import contextvars
    import threading
    from collections.abc import Callable, Coroutine, Iterable

    from actors._slot import Slot
    from actors.exits import Exit
    from actors.handlers import Lookup
    from actors.middleware import Middleware

__all__ = ["ATTACHED", "Lifecycle", "SystemCore"]

T = TypeVar("T")

logger = logging.getLogger("actors")

#: Systems that have had a loop, for who has to know of all (a forked child).
ATTACHED: Final[weakref.WeakSet[SystemCore]] = weakref.WeakSet()


class Lifecycle(Protocol):
    """Hooks that are awaited at the turns of every actor's life, on the loop."""

    async def started(self, ref: ActorRef[Any], actor: Any) -> None:
        """After `on_start`, before the start is reported. An error fails the start.

        Args:
            ref: Who has started.
            actor: The instance.
        """
        ...

    async def restarting(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # OTP's word
        """An incarnation is over, the slot is not: its supervisor decides.

        Args:
            ref: Whose incarnation it was.
            exit: How it ended.
        """
        ...

    async def restarted(self, ref: ActorRef[Any], actor: Any) -> None:
        """As `started`, for a later incarnation.

        Args:
            ref: Who has started again.
            actor: The new instance.
        """
        ...

    async def ended(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # OTP's word
        """The slot has ended, for good.

        Args:
            ref: Who has ended.
            exit: How.
        """
        ...


class SystemCore:
    """The part of a system that its slots, its refs and its observers reach."""

    #: What looks whether the loop is blocked; `attach` makes it.
    _watchdog: Watchdog | None = None

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
        middleware: Iterable[Middleware] = (),
    ) -> None:
        check_options(name=name, inbox_limit=inbox_limit, ask_timeout=ask_timeout)
        check_options(dead_letter_limit=dead_letter_limit)
        check_options(blocked_after=blocked_after, slow_after=slow_after)
        self.name = name
        self.clock: Clock = clock if clock is not None else default_clock()
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
        #: What stands around the handlers of its actors; see middleware.py.
        self.middleware = checked_middleware(middleware)
        self.slow = SlowHandlers(self, slow_after)
        self.real_time = isinstance(self.clock, LoopClock)
        self.lifecycle: list[Lifecycle] = []
        #: The tasks in which async handlers run now, and whose they are.
        self.tasks: dict[asyncio.Task[Any], Slot] = {}
        #: The slot whose plain handlers run now, and how many such turns there were.
        self.busy: Slot | None = None
        self.turns = self.thread_id = 0
        self.inline = InlineBudget()
        self.run_queue = RunQueue(self)
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set by attach(), before anything uses it
        #: The slots that have a thread now (an ordered set).
        self.threads: dict[Slot, None] = {}
        #: Abandoned threads, for as long as they hang.
        self.stuck_threads: list[threading.Thread] = []
        self._slots: dict[int, Slot] = {}
        self._registered: dict[str, Slot] = {}
        self.next_serial: Callable[[], int] = itertools.count(1).__next__
        self._id = secrets.token_hex(8)
        self._loop_factory = loop_factory
        self._background: BackgroundLoop | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._blocked_after = blocked_after

    def handlers(self, lookup: Lookup) -> Lookup:
        """The handlers of an actor as this system calls them: within its middleware."""
        return within(self.middleware, lookup) if self.middleware else lookup

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
        # The watchdog measures the machine's time, and needs a loop that does.
        if self._blocked_after is not None and self.real_time:
            self._watchdog = Watchdog(self, self._blocked_after)
            self._watchdog.start()

    def call_on_loop(self, callback: Callable[..., Any], *args: Any) -> bool:
        """Call `callback(*args)` now where the loop runs; from elsewhere, soon. Any thread.

        A loop that stands still takes it up when it runs again.

        Args:
            callback: What is called.
            args: What it is given.

        Returns:
            False when the loop is closed: then nothing is called.
        """
        # Its own word: `get_running_loop` asks the kernel for the process each time.
        if get_ident() == self.thread_id and self.loop.is_running():
            callback(*args)
            return True
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            logger.debug("The loop of system %r is closed: %r is not called", self.name, callback)
            return False
        return True

    def run_on_loop(self, callback: Callable[..., T], *args: Any) -> T:
        """Call `callback(*args)` on the loop thread, now, and wait for it.

        Any thread but one that runs another loop.

        Args:
            callback: What is called.
            args: What it is given.

        Returns:
            What it returned. What it raised is raised here.
        """
        if get_ident() == self.thread_id:
            return callback(*args)
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(callback(*args))
            except BaseException as error:
                # It belongs to the thread that waits.
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result()

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine as a task that is kept until it is done; an error is logged. Loop thread.

        Args:
            coroutine: What runs.
            context: The `contextvars` context it runs in; None: a copy of this one.

        Returns:
            The task.

        Raises:
            RuntimeError: The loop is closed; the coroutine is, too.
        """
        task = self.new_task(coroutine, context)
        self._spawned.add(task)
        task.add_done_callback(self._spawn_done)
        return task

    def new_task(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context | None
    ) -> asyncio.Task[Any]:
        """Make a task that its caller keeps, as `spawn` makes its own. Loop thread.

        Args:
            coroutine: What runs.
            context: As of `spawn`.

        Returns:
            The task.

        Raises:
            RuntimeError: As of `spawn`.
        """
        try:
            return self.loop.create_task(coroutine, context=context)
        except BaseException:
            coroutine.close()  # nobody will await it: that is known, and no warning's business
            raise

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

    def loop_closed(self) -> bool:
        """True when the loop can run nothing any more."""
        return bool(self.thread_id) and self.loop.is_closed()

    async def shutdown(self, timeout: float | None = 5.0) -> None:
        """See `System.shutdown`."""
        raise NotImplementedError

    def close(self, timeout: float | None = 5.0) -> None:
        """`shutdown` from a thread, for a system with a background loop. Idempotent.

        Args:
            timeout: Seconds for each actor; None: for ever.

        Raises:
            BlockingCall: on the thread of that loop.
        """
        if get_ident() == self.thread_id:
            raise BlockingCall("a loop cannot wait for its own end; await shutdown() instead")
        if self._background is not None and not self.loop_closed():
            self._background.run(self.shutdown(timeout))
            self._background.stop()

    # -- the registry

    def urn_of(self, serial: int) -> str:
        """The urn of a slot: unique among all systems."""
        return f"urn:actor:{self._id}:{serial}"

    def register(self, slot: Slot) -> None:
        """Know the slot, and the name of its class. Any thread. Raises `AlreadyRegistered`."""
        name = getattr(slot.actor_class, "registered_name", None)
        if name is not None:
            holder = self._registered.setdefault(name, slot)
            if holder is not slot:
                raise AlreadyRegistered(name, holder.ref)
        self._slots[slot.serial] = slot

    def unregister(self, slot: Slot) -> None:
        """The slot has ended."""
        self._slots.pop(slot.serial, None)
        name = getattr(slot.actor_class, "registered_name", None)
        if name is not None and self._registered.get(name) is slot:
            del self._registered[name]
        if slot.handled or slot.incarnation > 1:
            past = self.past_of(slot.actor_class)
            past.handled += slot.handled
            if slot.incarnation > 1:
                past.restarts += slot.restarts

    def slots(self) -> list[Slot]:
        """The slots that have not ended, oldest first. Any thread."""
        return list(self._slots.values())

    # -- what it counts and tells

    def past_of(self, actor_class: type) -> EndedCounters:
        """The sums of one class; made on demand."""
        past = self.past.get(actor_class)
        if past is None:
            past = self.past[actor_class] = EndedCounters()
        return past

    def bury(
        self,
        message: Any,
        ref: ActorRef[Any],
        reason: str,
        exit: Exit | None = None,  # noqa: A002  # OTP's word
    ) -> None:
        """Make a dead letter of a message that nobody will handle. Any thread."""
        self.dead_letters.record(message, ref, reason, exit)

    def late_answer(self, ref: object, message: object) -> None:
        """`ref` has answered `message` after its caller had given up. Any thread."""
        self.counters.late_answers += 1
        if self.events.active:
            self.events.emit("ask.late_answer", ref=ref, message_type=class_name(message))

    def report_crash(self, slot: Slot, exit_: Exit) -> None:
        """A handler crashed; its supervisor reports, else the log has it here."""
        self.past_of(slot.actor_class).crashes += 1
        if self.events.active:
            self.events.emit("actor.crashed", ref=slot.ref, exit=exit_)
        if slot.on_down is None:
            self._log_error(slot, exit_.error, f"handling {exit_.message_type}")

    def attempt(self, slot: Slot, step: Callable[..., object], *args: Any) -> None:
        """Take one step of an end that the next ones do not depend on.

        What it raises is reported: an end is never left in its middle.
        """
        try:
            step(*args)
        except BaseException as error:
            self.report_hook_failure(slot, getattr(step, "__name__", "a step of its end"), error)

    def report_hook_failure(self, slot: Slot, hook: str, error: BaseException) -> None:
        """`on_stop`, `on_failure` or a lifecycle hook raised."""
        self._log_error(slot, error, hook)

    @staticmethod
    def _log_error(slot: Slot, error: BaseException | None, doing: str) -> None:
        # What Pykka's words do not say is in the record.
        extra = {"actor_urn": slot.urn, "actor_doing": doing}
        seen = None if error is None else exc_info_of(error)
        try:
            logger.error("Unhandled exception in %s:", slot.ref, exc_info=seen, extra=extra)
        except BaseException:
            # A filter or a handler of the program's logging: it has no part in an actor's end.
            return

    def report_start_failure(self, slot: Slot, error: BaseException) -> None:
        """An actor that nobody supervises did not start."""
        self._log_error(slot, error, "on_start")

    def report_unhandled(self, slot: Slot, message: Any) -> None:
        """No handler takes the message."""
        # Its type alone: what is in a message may be nobody's business but its actor's.
        logger.warning("Unexpected message received by %s: %s", slot.ref, class_name(message))

    def report_stuck(self, slot: Slot, what: str, running: str) -> None:
        """Something that does not end was abandoned: say its name and what it ran."""
        if self.events.active:
            self.events.emit("actor.stuck", ref=slot.ref, what=what, running=running)
        logger.error("%s did not end and was abandoned: %s ran\n%s", slot.ref, what, running)


def _close_at_exit(reference: weakref.ref[SystemCore]) -> None:
    system = reference()
    if system is not None:
        system.close(timeout=1.0)
