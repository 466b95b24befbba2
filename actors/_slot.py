"""The slot of an actor: its inbox, its current incarnation, its state.

    NEW -> STARTING -> RUNNING -> STOPPING -> DOWN -> STARTING ... -> ENDED

A slot is what a ref points to. It outlives its incarnations: while it is DOWN the
messages wait, and ENDED is final. The state changes on the loop thread only, or on the
actor's own thread; other threads append to `inbox` and call `schedule`.

This class holds the state, and the verbs of the mailbox. What runs an incarnation is in
`LoopSlot` and `ThreadSlot`; how one starts, how one ends and what a handler may do with
its message are functions that take a slot: _starting.py, _stopping.py (with a table of
all the verbs for an end) and _current_message.py. runtime.py has what other packages use.

The mailbox has two lanes, is bounded, and never silent. User messages wait in `inbox`,
control messages in `control`, which goes first. The inbox is bounded by count; the
limit of an ended slot is -1, so that the sender's one comparison finds that too. What
the runtime itself has to say (`Terminated`, a retry) is let in even when the inbox is
full, because its number is bounded elsewhere. Senders on any thread append first and
look at `scheduled` afterwards; see ref.py for why no message is lost between an end and
an append.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from actors._attachments import Attachments
from actors._items import INTERRUPT, Again, Internal
from actors._stop_request import Stop, StopFuture
from actors.ask import Ask
from actors.context import EMPTY, Context
from actors.delivery import Delivery, InboxItem, Outcome, is_charged, reason_of
from actors.errors import ActorDeadError, AskCycle, MailboxFull, Restarting, StartFailed
from actors.exits import Exit
from actors.texts import class_name

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Callable, Mapping

    from actors._system_core import SystemCore
    from actors.exits import ExitReason
    from actors.handlers import Lookup
    from actors.hooks import Hooks
    from actors.ref import ActorRef

__all__ = ["Slot", "SlotState"]

_NOTHING: Final[Mapping[str, Any]] = {}
#: Held by a thread that makes the control lane of a slot, which happens once in a life.
_making_control: Final = threading.Lock()


class SlotState(enum.Enum):
    """Where a slot is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DOWN = "down"
    ENDED = "ended"


class _HotFields:
    """What every message looks at, side by side in memory: a crowd of slots fits no cache."""

    __slots__ = ("actor", "ctx", "current", "handled", "inbox", "limit", "lookup", "scheduled",
                 "state", "system", "taken", "task")  # fmt: skip


class Slot(_HotFields):
    """One slot. `new_slot` of runtime.py makes the kind that runs a class of actors."""

    __slots__ = (
        "_urn",
        "actor_class",
        "args",
        "attached",
        "began",
        "control",
        "delayed",
        "down",
        "ended",
        "exit",
        "hooking",
        "ignored",
        "incarnation",
        "killing",
        "kwargs",
        "name",
        "on_down",
        "parent",
        "ref",
        "retry_at",
        "serial",
        "start_waiters",
        "stop_waiters",
        "stopped",
    )

    actor_class: type[Any]
    ref: ActorRef[Any]
    #: The supervisor's ref; None for a root, which the system's shutdown ends.
    parent: ActorRef[Any] | None

    # The mailbox.
    inbox: deque[Any]
    limit: int
    control: deque[Any] | tuple[()]
    #: Retries that wait for their time.
    delayed: dict[Any, None] | None
    #: When the supervisor starts it again, on the monotonic clock; see `retry_after`.
    retry_at: float | None

    # The state, and how the last incarnation ended.
    state: SlotState
    exit: Exit | None
    #: Whether the last start raised `Ignore`.
    ignored: bool

    # The incarnation.
    actor: Any
    ctx: contextvars.Context | None
    #: The handlers of the class, or what `become` has put in their place.
    lookup: Lookup
    #: The message that is being handled, wrapped or not; None between messages.
    current: Any
    #: True once the handler of the current message has taken it over.
    taken: bool
    #: Messages that its handlers have taken, in all incarnations.
    handled: int
    attached: Attachments | None

    # Those who wait for a start or an end.
    #: Called on the loop when an incarnation ended on its own.
    on_down: Callable[[Any, Exit], None] | None
    #: Resolved with what `on_start` raised (or None) while it runs elsewhere.
    began: asyncio.Future[BaseException | None] | None
    start_waiters: list[asyncio.Future[None]] | None
    stop_waiters: list[asyncio.Future[Exit] | StopFuture] | None
    stopped: threading.Event | None
    #: The lifecycle hooks of the last end.
    hooking: asyncio.Task[None] | None

    def __init__(
        self,
        system: SystemCore,
        actor_class: type,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        *,
        name: str | None = None,
        parent: ActorRef[Any] | None = None,
    ) -> None:
        self.system = system
        self.actor_class = actor_class
        self.args = args
        self.kwargs = kwargs or _NOTHING
        self.name = name
        self.parent = parent
        self.serial = system.next_serial()
        self.ref = system.ref_class(self)
        self._urn: str | None = None
        self.inbox = deque()
        limit: int | None = getattr(actor_class, "inbox_limit", None)
        self.limit = system.inbox_limit if limit is None else limit
        self.control = ()
        self.delayed = self.retry_at = None
        self.state = SlotState.NEW
        self.exit = None
        self.down = True
        self.scheduled = self.ended = self.killing = self.ignored = False
        self.incarnation = self.handled = 0
        self.actor = self.ctx = self.current = self.attached = None
        self.taken = False
        self.on_down = self.began = self.start_waiters = self.stop_waiters = None
        self.stopped = self.hooking = None

    # -- what it is

    @property
    def urn(self) -> str:
        """The name of the slot; built when somebody asks for it."""
        if self._urn is None:
            self._urn = self.system.urn_of(self.serial)
        return self._urn

    @property
    def restarts(self) -> int:
        """How often the slot was started again."""
        return max(0, self.incarnation - 1)

    def make_exit(self, reason: ExitReason, error: BaseException | None = None) -> Exit:
        """Return an `Exit` of this slot at this moment."""
        clock = self.system.clock
        return Exit(
            reason,
            error=error,
            message_type=self.message_type() if reason in {"crash", "killed"} else None,
            time=clock.monotonic(),
            wall=clock.time(),
            restarts=self.incarnation - 1 if self.incarnation > 1 else 0,
            charged=reason == "crash" and is_charged(self.current),
        )

    # -- sending to it

    def refuse(self, message: Any) -> None:
        """A tell found no room: raise why. Any thread."""
        if self.ended:
            self.system.bury(message, self.ref, "dead", self.exit)
            raise ActorDeadError(self.ref, self.exit)
        self.system.counters.refused += 1
        raise MailboxFull(self.ref, self.limit)

    def put_ask(self, ask: Ask[Any]) -> None:
        """An ask that may meet a full, DOWN or ENDED slot. Any thread."""
        if self.ended:
            ask.give_up(ActorDeadError(self.ref, self.exit))
            return
        if len(self.inbox) >= self.limit:
            self.system.counters.refused += 1
            ask.give_up(MailboxFull(self.ref, self.limit))
            return
        if self.down:
            retry_after = self.retry_after
            if retry_after is not None and ask.deadline < self.system.now() + retry_after:
                ask.give_up(Restarting(self.ref, retry_after))
                return
        self.inbox.append(ask)
        if not self.scheduled:
            self.schedule()

    def put(self, delivery: Delivery, *, at_once: bool = False) -> None:
        """See `ActorRef.put` and `put_ask`."""
        if len(self.inbox) >= self.limit:
            if self.ended:
                raise ActorDeadError(self.ref, self.exit)
            self.system.counters.refused += 1
            raise MailboxFull(self.ref, self.limit)
        self.inbox.append(delivery)
        delivery.queued(self)
        if not self.scheduled:
            if at_once:
                self.run_now()
            else:
                self.schedule()

    def refuse_ask(self, chain: tuple[str, ...], deadline: float | None) -> None:
        """Raise why an ask with these has no answer coming, if it has none."""
        if self.ended:
            return  # `put` says so
        if chain and self.urn in chain:
            raise AskCycle(self.ref, chain)
        if self.down and deadline is not None:
            retry_after = self.retry_after
            if retry_after is not None and deadline < self.system.now() + retry_after:
                raise Restarting(self.ref, retry_after)

    def put_forwarded(self, item: Ask[Any] | Delivery) -> None:
        """Let in what another actor forwarded, or tell its asker why not. Any thread."""
        if self.ended:
            item.fail(Outcome("dead", exit=self.exit))
        elif len(self.inbox) >= self.limit:
            self.system.counters.refused += 1
            item.fail(Outcome("refused", error=MailboxFull(self.ref, self.limit)))
        else:
            item.forwarded(self)
            self.inbox.append(item)
            if not self.scheduled:
                self.schedule()

    def put_system(self, item: Any) -> None:
        """Let in what the runtime itself has to say, full or not. Loop thread."""
        if self.ended:
            self.undeliverable(item)
            return
        self.inbox.append(item)
        if not self.scheduled:
            self.schedule()

    def put_timed(self, item: InboxItem) -> bool:
        """Let in what a timer sends, if there is room; whether there was. Loop thread."""
        if len(self.inbox) < self.limit:
            self.put_system(item)
            return True
        reason = "dead" if self.ended else "mailbox full"
        self.system.bury(item.message, self.ref, reason, self.exit)
        return False

    def put_later(self, item: Any, delay: float) -> None:
        """Let `item` in after `delay` seconds. Loop thread."""
        if delay <= 0.0 or self.ended:
            self.put_system(item)
            return
        if self.delayed is None:
            self.delayed = {}
        self.delayed[item] = None
        self.system.clock.call_later(delay, self._put_delayed, item)

    def _put_delayed(self, item: Any) -> None:
        if self.delayed is not None and item in self.delayed:
            del self.delayed[item]
            self.put_system(item)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the supervisor starts the slot again; None: not known.

        Set while DOWN: asks whose deadline comes before fail at once.
        """
        if self.retry_at is None or not self.down:
            return None
        return max(0.0, self.retry_at - self.system.now())

    @retry_after.setter
    def retry_after(self, seconds: float | None) -> None:
        if seconds is None:
            self.retry_at = None
            return
        retry_at = self.retry_at = self.system.now() + seconds
        for item in tuple(self.inbox):
            if isinstance(item, Ask) and item.deadline < retry_at:
                item.give_up(Restarting(self.ref, seconds))

    # -- what will not be handled

    def bury_waiting(self) -> None:
        """The slot has ended: what waits will not be handled. Any thread."""
        delayed, self.delayed = self.delayed, None
        attempt = self.system.attempt
        for item in delayed or ():
            attempt(self, self.undeliverable, item)
        inbox = self.inbox
        while True:
            try:
                item = inbox.popleft()
            except IndexError:
                return
            attempt(self, self.undeliverable, item)

    def undeliverable(self, item: Any) -> None:
        """`item` will not be handled, because the slot has ended."""
        if isinstance(item, InboxItem) and item.tells_its_end:
            item.fail(Outcome("dead", exit=self.exit))
            return
        if isinstance(item, Internal):
            return
        message = item.message if isinstance(item, InboxItem) else item
        self.system.bury(message, self.ref, "dead", self.exit)

    def tell_failed(self, message: Any, outcome: Outcome, attempt: int | None = 1) -> None:
        """A tell was not handled to its end. `attempt` None: never try it again."""
        retries = getattr(self.actor_class, "crash_retries", 0)
        if outcome.kind == "crashed" and attempt is not None and attempt <= retries:
            self.inbox.appendleft(Again(self, message, attempt + 1))
        elif outcome.kind == "refused":
            events = self.system.events
            if events.active:
                events.emit("tell.refused", ref=self.ref, message=message, error=outcome.error)
        else:
            self.system.bury(message, self.ref, reason_of(outcome), outcome.exit)

    # -- the control lane

    def request_stop(self) -> StopFuture:
        """`ref.stop()`. Any thread."""
        future = StopFuture(self)
        if self.ended:
            future.resolve(value=False)
            return future
        stop = Stop("normal", future=future)
        self.push_control(stop)
        if self.limit < 0 and self._withdraw(stop):
            # The slot has ended meanwhile, and nobody has seen the stop.
            future.resolve(value=False)
        return future

    def _withdraw(self, stop: Stop) -> bool:
        """Take a stop back; False when somebody has taken it already."""
        control = self.control
        if isinstance(control, tuple):
            return False
        try:
            control.remove(stop)
        except ValueError:
            return False
        return True

    def push_control(self, item: Any) -> None:
        """Put `item` in the lane that goes before user messages. Any thread."""
        while True:
            control = self.control
            if isinstance(control, tuple):
                with _making_control:
                    if isinstance(self.control, tuple):
                        self.control = deque()
                continue
            control.append(item)
            if control is self.control:
                break
            # The incarnation ended in between: its lane is gone, the next one has its own.
        self.inbox.appendleft(INTERRUPT)
        if not self.scheduled:
            self.schedule()
        elif (attached := self.attached) is not None and (wake := attached.wake) is not None:
            self.system.call_on_loop(wake)

    # -- the current message

    def asking_chain(self) -> tuple[str, ...]:
        """Return the asks that wait for the code that runs now, this actor last."""
        item = self.current
        if item is None:
            return ()
        return (*item.chain(), self.urn) if isinstance(item, InboxItem) else (self.urn,)

    def message_context(self) -> Context:
        """Return the context of the current message."""
        item = self.current
        return item.context() if isinstance(item, InboxItem) else EMPTY

    def message_header(self, name: str) -> object:
        """Return one header of the current message; None: it has none."""
        item = self.current
        return item.header(name) if isinstance(item, InboxItem) else None

    def message_type(self) -> str | None:
        """Return the name of the class of the current message."""
        item = self.current
        if item is None:
            return None
        return class_name(item.message if isinstance(item, InboxItem) else item)

    def where_is(self, ask: object) -> str:
        """Say where an unanswered ask is now, for the text of its timeout."""
        if self.current is ask:
            return "its handler is running"
        if self.down and not self.ended:
            return "the actor is restarting" if self.exit else "the actor has not started"
        if any(item is ask for item in tuple(self.inbox)):
            return f"waiting in the inbox, {len(self.inbox)} messages there"
        return "put aside, passed on or promised by its handler"

    def keep_promise(self, item: InboxItem) -> bool:
        """End a promise: the answer is about to be given, or nobody waits any more.

        False when it has ended before. Any thread.
        """
        if self.attached is None:
            return False
        try:
            timer = self.attached.promises.pop(item)
        except KeyError:
            return False
        if timer is not None:
            self.system.call_on_loop(timer.cancel)
        return True

    def cancel_current(self, item: InboxItem) -> bool:  # noqa: ARG002  # the loop kind looks at it
        """Cancel the handler of `item` if it runs and can be interrupted."""
        return False

    # -- what stands around it

    def attachments(self) -> Attachments:
        """Return the watchers, timers and stash of the slot; made on demand."""
        if self.attached is None:
            self.attached = Attachments()
        return self.attached

    def add_watcher(self, watcher: ActorRef[Any], incarnation: int) -> None:
        """Send `Terminated` to that incarnation of `watcher` at the end. Loop thread."""
        if self.ended:
            exit_ = self.exit or Exit("noproc")
            Attachments.tell(watcher, self.ref, exit_, incarnation)
        else:
            self.attachments().watchers[watcher] = incarnation

    def remove_watcher(self, watcher: ActorRef[Any]) -> None:
        """Take `add_watcher` back. Loop thread."""
        if self.attached is not None:
            self.attached.watchers.pop(watcher, None)

    def is_leaving(self) -> bool:
        """Return True while the last hook of an actor runs that nobody will start again."""
        return self.state is SlotState.STOPPING and self.on_down is None and self.parent is None

    def stopped_event(self) -> threading.Event:
        """Return the event that is set when the slot has ended; made on demand."""
        if self.stopped is None:
            event = self.stopped = threading.Event()
            if self.ended:
                event.set()
        return self.stopped

    async def wait_started(self) -> None:
        """Wait for the end of `on_start`; see `ActorRef.started`."""
        if self.ended:
            raise self.start_error()
        if self.state in {SlotState.NEW, SlotState.STARTING, SlotState.DOWN}:
            waiter = self.system.loop.create_future()
            if self.start_waiters is None:
                self.start_waiters = []
            self.start_waiters.append(waiter)
            await waiter

    def start_error(self) -> Exception:
        """Say why a slot that has ended never took a message, or does not any more."""
        exit_ = self.exit
        if exit_ is not None and exit_.reason == "start_failed" and exit_.error is not None:
            error = StartFailed(self.ref, exit_.error)
            error.__cause__ = exit_.error
            return error
        return ActorDeadError(self.ref, exit_)

    # -- what runs an incarnation: each kind of slot has its own

    @property
    def hooks(self) -> Hooks:
        """Which hooks the actor fills."""
        raise NotImplementedError

    def schedule(self) -> None:
        """See to it that the inbox is looked at. Any thread."""
        raise NotImplementedError

    def run_now(self) -> None:
        """See to it that the inbox is looked at, now if that can be done. Loop thread."""
        self.schedule()

    def answer_inline(self, ask: Ask[Any]) -> None:
        """`ask` is awaited on the loop: handle it now, if that can be done there."""

    def launch(self) -> None:
        """Start without a supervisor: when it fails the slot has ended. Any thread."""
        raise NotImplementedError

    def bind(self, actor: Any) -> None:
        """Tell the instance its slot, before its constructor runs."""
        actor._slot = self  # noqa: SLF001  # the attribute that actors keep for their slot

    def built(self, actor: Any) -> None:
        """The constructor has run: take the handlers of the instance."""
        raise NotImplementedError

    async def run_on_start(self) -> None:
        """Run `on_start` where this kind of actor runs. Raises what it raised."""
        raise NotImplementedError

    def cancel_start(self) -> None:
        """The start was cancelled from outside: let go of what runs."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the incarnation now. Loop thread."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Forget the task or the thread that ran the incarnation."""
        raise NotImplementedError

    # -- what observers ask

    def handler_task(self) -> asyncio.Task[Any] | None:
        """Return the task in which a handler runs now, if any."""
        return None

    def handling_since(self) -> float | None:
        """Return when the current handler began, if it is not one that is called in place."""
        raise NotImplementedError

    def stack(self) -> str:
        """Return where the current handler stands, innermost last, as text."""
        raise NotImplementedError
