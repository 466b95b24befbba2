"""What an actor may use of the runtime, whichever way it runs.

These are the methods that `Actor` and `ThreadActor` share: their start, their
ref, their context, watches, timers, stash and behaviour, and the three methods
that Pykka asks of a new kind of actor. All but `start` belong to the actor's own
code: call them in its handlers and hooks, not from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, TypeVar, overload

from actors._current_message import (
    forward_current,
    promise_current,
    stash_current,
    unhandled,
)
from actors._fixed import FIXED
from actors._items import INTERRUPT
from actors._rates import Rate, paced
from actors._time_limits import limiting
from actors.class_options import check_class, known_option
from actors.delivery import Delivery
from actors.errors import ActorClassError, ActorDeadError, Unhandled
from actors.future import Future
from actors.handlers import HandlerTable, Lookup
from actors.hooks import Hooks
from actors.reply import Reply
from actors.rules import POSITIVE_SECONDS, need, number, optional, value_of
from actors.texts import text_of
from actors.timers import Timer
from actors.type_variables import M_contra, Takes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import pykka

    from actors._slot import Slot
    from actors.context import Context
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["Facilities"]

known_option("handler_rate", optional(value_of(Rate, "a Rate")), checked=True)
_ABOVE_ALL, _ABOVE_NOTHING = number(0.0, 1e300, ""), number(0.0, 1e300, "", above=True)
A = TypeVar("A")
P = ParamSpec("P")


class _NotStarted:
    """Stands for the slot of an instance that nobody started.

    Not a `__getattr__`, which would make every attribute of every actor slow.
    """

    def __get__(self, actor: object, owner: type) -> NoReturn:
        raise RuntimeError(
            f"{owner.__name__} was made by hand and has no ref; "
            f"start it with {owner.__name__}.start()"
        )


class Facilities(Takes[M_contra]):
    """What every actor may call, in its own handlers and hooks, and set on its class.

    `M_contra` is for the type checker: the messages that it takes, as in `Actor[Greet | Count]`.

    A node reads some more attributes of the class: `subscribes`, `foreign`, `codec`
    and `mailbox_window`.
    """

    #: Exceptions that answer the caller of an ask and are no crash.
    refuses: ClassVar[tuple[type[BaseException], ...]] = ()
    #: A name that one actor of its system may have at a time; see `System.whereis`.
    registered_name: ClassVar[str | None] = None
    #: Messages that the inbox holds; None: as many as the system says.
    inbox_limit: ClassVar[int | None] = None
    #: Messages that the stash holds.
    stash_limit: ClassVar[int] = 1000
    #: How often a tell whose handler crashed is given to the next incarnation.
    crash_retries: ClassVar[int] = 0
    #: Seconds that an async handler may take; then it is cancelled, and its actor crashes
    #: with a `HandlerTimeout`. None: as long as it likes.
    handler_timeout: ClassVar[float | None] = None
    #: How many messages are handled a second, at most; None: as many as come.
    handler_rate: ClassVar[Rate | None] = None
    #: Whether an async handler is cancelled at the deadline of the ask that it answers; its
    #: actor goes on.
    ends_with_ask: ClassVar[bool] = False
    #: The service address that a node binds this actor to.
    address: str | None = None

    __handlers__: ClassVar[Lookup]
    __hooks__: ClassVar[Hooks]
    #: How many messages a handler of the class may want together.
    __largest_batch__: ClassVar[int] = 1
    __threaded__: ClassVar[bool] = False
    #: One that an actor starts belongs to it, and ends with its incarnation.
    __owned__: ClassVar[bool] = False
    #: What leaves a handler fails its message and is no crash: of those on whom others depend.
    __enduring__: ClassVar[bool] = False
    #: A function that makes of each handler the one that is called in its place; None: there is
    #: none. For classes whose handlers run within something.
    __around__: ClassVar[Any] = None
    #: The class of the actor that is started in the place of this one, and makes those of this
    #: one itself: its constructor is given this class, and what was given for it. None: there is
    #: none.
    __host__: ClassVar[Any] = None
    #: What the chain of an ask calls this actor; None: it is called by its address.
    __asked_as__: str | None = None
    #: Those that have a name, of this incarnation; None until there is one.
    __timers__: dict[str, Timer] | None = None
    _slot: Slot = _NotStarted()  # type: ignore[assignment]  # until the slot sets it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)
        table = HandlerTable(cls, threaded=cls.__threaded__)
        rest = cls.on_receive  # type: ignore[attr-defined]  # every actor class has it
        within = limiting(
            cls.handler_timeout, table.timeouts, table.gathering, ends_with_ask=cls.ends_with_ask
        )
        if cls.__threaded__ and (within is not None or cls.handler_rate is not None):
            raise ActorClassError(
                f"{cls.__qualname__} runs on a thread, where nothing can be interrupted or put "
                "off: take its time limit or rate away, or make it an actors.Actor"
            )
        if table.gathering and cls.__around__ is not None:
            raise ActorClassError(
                f"{cls.__qualname__} is durable, and handles each message in a commit of its own, "
                "which are written together already: take batch= away"
            )
        cls.__largest_batch__ = table.largest_batch
        lookup = table.lookup(rest, FIXED, within, cls.__around__)
        cls.__handlers__ = paced(lookup, cls.handler_rate, table.gathering)
        cls.__hooks__ = Hooks.of(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        # The slot binds the instance before the constructor runs, so there is
        # nothing left of Pykka's constructor to do.
        pass

    def __str__(self) -> str:
        return _describe(self)

    if TYPE_CHECKING:

        def __takes__(self, message: M_contra) -> None: ...

    @overload
    @classmethod
    def start(cls, *args: Any, name: str | None, **kwargs: Any) -> ActorRef[Self]: ...

    @overload
    @classmethod
    def start(cls: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> ActorRef[A]: ...

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start an actor in the current system and return its ref at once.

        Inside an actor that is the actor's system; else the system of the
        running loop; else one whose loop runs on a thread of its own. The
        constructor runs in the caller; what it raises is raised here.
        """
        from actors.system import default_system

        return default_system().start(cls, *args, **kwargs)

    @property
    def actor_ref(self) -> ActorRef[Any]:
        """The ref of this actor, the same in every incarnation."""
        return self._slot.ref

    @property
    def actor_urn(self) -> str:
        """The name of this actor's slot."""
        return self._slot.urn

    @property
    def actor_inbox(self) -> Any:
        """The inbox, with the methods of Pykka's."""
        return self._slot.ref.actor_inbox

    @property
    def actor_stopped(self) -> Any:
        """The event that is set when the slot has ended."""
        return self._slot.stopped_event()

    @property
    def system(self) -> System:
        """The system in which this actor lives."""
        return self._slot.system  # type: ignore[return-value]  # the core of a System is one

    @property
    def context(self) -> Context:
        """Sender, deadline, attempt, headers of the current message."""
        return self._slot.message_context()

    def stop(self) -> None:
        """End this incarnation after the current message, before what waits."""
        self._own_slot().request_stop()

    def watch(self, ref: Any) -> None:
        """Get a `Terminated(ref, exit)` when `ref` has ended, at once if it has.

        A restart of it is not an end. The watch dies with this incarnation: set it in
        `on_start`. Watching twice gives one message.

        Args:
            ref: Whose end is to be told: any ref, also one of another node.

        Raises:
            ActorDeadError: this incarnation is over.
        """
        slot = self._own_slot()
        ref.add_watcher(slot.ref)
        slot.attachments().watching[ref] = None

    def unwatch(self, ref: Any) -> None:
        """Take `watch` back. A message that is in the inbox already stays.

        Args:
            ref: What was given to `watch`.
        """
        slot = self._own_slot()
        slot.attachments().watching.pop(ref, None)
        ref.remove_watcher(slot.ref)

    def send_after(self, delay: float, message: Any, *, name: str | None = None) -> Timer:
        """Send a message to oneself later, in this incarnation.

        Args:
            delay: Seconds from now.
            message: What is sent.
            name: The timer takes the place of the last one of this name: that sends no more,
                and what it has sent and was not handled yet is not handled.

        Returns:
            The timer, which can be cancelled.

        Raises:
            ValueError: `delay` is not a time that can be waited for.
        """
        return _named(self, name, Timer(self._own_slot(), delay, message, None))

    def send_every(self, period: float, message: Any, *, name: str | None = None) -> Timer:
        """Send a message to oneself at a steady rate, in this incarnation.

        At most one waits for its turn, however slow its handler is.

        Args:
            period: Seconds between two of them, more than 0; the first comes after one period.
            message: What is sent.
            name: As of `send_after`.

        Returns:
            The timer, which can be cancelled.

        Raises:
            ValueError: `period` is not a time that can be waited for.
        """
        need(POSITIVE_SECONDS, "period", period)
        return _named(self, name, Timer(self._own_slot(), period, message, period))

    def cancel_timer(self, name: str) -> bool:
        """Let the timer of that name send no more, nor what it has sent be handled.

        Args:
            name: As it was given to `send_after` or `send_every`.

        Returns:
            Whether there was one that had not fired for the last time.
        """
        timer = (self.__timers__ or {}).pop(name, None)
        return timer is not None and timer.revoke()

    def stash(self) -> None:
        """Put the current message aside, with whoever waits for its answer.

        What is aside when the incarnation ends goes back to the front of the inbox.

        Raises:
            StashFull: as many are aside as `stash_limit` says.
            RuntimeError: no message is in hand.
        """
        stash_current(self._own_slot())

    def unstash_all(self) -> None:
        """Put what is aside before what waits, in the order it was put aside."""
        slot = self._own_slot()
        if slot.attached is not None:
            slot.attached.unstash(slot)
            if slot.control:
                slot.inbox.appendleft(INTERRUPT)

    def report_progress(self, done: float, of: float = 1.0, note: str = "") -> None:
        """Say how far the handler of the message in hand is, for `irismq top` and `tree`.

        It is shown until the handler ends, or says otherwise, and is no part of what is done: it
        is not kept, and nobody waits for it. Any thread.

        Args:
            done: How much is done, from 0 to `of`: a share, or rows, bytes, ...
            of: How much there is to do, more than 0.
            note: A few words beside it; 80 characters of them are shown.

        Raises:
            ValueError: They are no such numbers.
            RuntimeError: no message is in hand.
        """
        slot = self._own_slot()
        if slot.current is None:
            raise RuntimeError("no message is in hand whose handling could be reported")
        total = need(_ABOVE_NOTHING, "of", of)
        share = 100.0 * need(_ABOVE_ALL, "done", done) / total
        if share > 100.0:
            raise ValueError(f"done={done!r} is more than of={of!r}")
        slot.attachments().progress = slot.current, f"{share:.0f} % {text_of(note)[:80]}".rstrip()

    def forward(self, ref: ActorRef[Any]) -> None:
        """Pass the current message on to another actor, which answers in this one's place.

        Sender, deadline and context go with it. When `ref` is full or dead, the asker gets
        that error, and a plain tell becomes a dead letter.

        Args:
            ref: Who handles it.

        Raises:
            RuntimeError: no message is in hand.
        """
        forward_current(self._own_slot(), ref)

    def reply_later(self) -> Reply:
        """Promise the answer of the current message: call what this returns when it is there.

        The handler returns meanwhile and others run. The promise ends with the asker's
        deadline, and the end of this incarnation fails the ask.

        Returns:
            What to call with the answer, on the loop.

        Raises:
            RuntimeError: the handler takes a batch, and so returns an answer for each.
        """
        slot = self._own_slot()
        return Reply(slot, promise_current(slot))

    def become(self, handler: Callable[[Any], Any] | None) -> None:
        """Give the messages that follow to another handler, until this incarnation ends.

        Args:
            handler: Called as `handler(message)` in the place of the handler table and of
                `on_receive`. None: as before.
        """
        slot = self._own_slot()
        if handler is None:
            slot.lookup = slot.system.handlers(self.__handlers__)
        else:
            other = Lookup({}, lambda _, message: handler(message), FIXED)
            slot.lookup = slot.system.handlers(paced(other, self.handler_rate, frozenset()))
        slot.inbox.appendleft(INTERRUPT)

    def unhandled(self, message: Any) -> None:
        """Say that no handler takes a message: it is logged, and a dead letter.

        Args:
            message: The message.

        Raises:
            Unhandled: an ask, or what a transport brought; its sender is refused with this.
        """
        unhandled(self._slot, message)
        kind = type(message).__name__
        if self.context.kind == "ask" or isinstance(self._slot.current, Delivery):
            raise Unhandled(f"{type(self).__name__} does not handle {kind}")

    def _own_slot(self) -> Slot:
        """The slot, while it is this instance that lives there.

        A thread or task that was abandoned may still run: what it asks for must
        not happen to the incarnation after it.
        """
        slot = self._slot
        if slot.actor is not self:
            raise ActorDeadError(f"this incarnation of {slot.ref}", slot.exit)
        return slot

    @staticmethod
    def _create_actor_inbox() -> NoReturn:
        raise TypeError("the inbox belongs to the slot of the actor, not to the instance")

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return Future()

    def _start_actor_loop(self) -> NoReturn:
        raise TypeError("actors run in a slot: start them with start(), or under a supervisor")


def _named(actor: Facilities, name: str | None, timer: Timer) -> Timer:
    """Let a timer take the place of the last one of that name, if it has one."""
    if name is not None:
        actor.cancel_timer(name)
        if actor.__timers__ is None:
            actor.__timers__ = {}
        actor.__timers__[name] = timer
    return timer


def _describe(actor: Facilities) -> str:
    """The class and the urn, as Pykka's actors show themselves."""
    slot = vars(actor).get("_slot")
    return f"{type(actor).__name__} ({slot.urn if slot is not None else 'not started'})"
