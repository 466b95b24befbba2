"""`ActorRef`: the address of a slot. Valid across restarts, safe to share.

`tell` and `ask` may be called from any thread; `deliver` belongs to the loop.
A ref is an immutable value: copying it gives the ref itself, and nothing looks
into it when it stands in a message or on an actor.

The hot path takes no lock. A sender appends to the inbox and then looks whether
the slot is scheduled; the slot clears that flag and then looks whether the
inbox is empty. Whichever comes second sees the other. An ended slot has a limit
of -1, so that the one comparison finds it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload

import pykka
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from actors._current import current_slot
from actors.ask import Ask, OwnAsk
from actors.delivery import CallbackDelivery, ScopedDelivery
from actors.errors import ActorDeadError, AskCycle, BlockingCall
from actors.inbox import PykkaInbox
from actors.receipt import ACCEPTED, Receipt
from actors.rules import SECONDS, need
from actors.type_variables import A_co, Takes

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from actors._slot import Slot
    from actors._stop_request import StopFuture
    from actors.context import Context
    from actors.delivery import Delivery, Outcome, Scope
    from actors.exits import Exit
    from actors.future import Future
    from actors.request import Plain, RequestOf

__all__ = ["ActorRef"]

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")

PROXY_MESSAGES = (ProxyCall, ProxyGetAttr, ProxySetAttr)


class ActorRef(pykka.ActorRef[Any], Generic[A_co]):
    """A reference to the slot of an actor. Made by the runtime alone.

    `A_co` is for the type checker: the class of the actor, or of any that takes some
    messages, as in `ActorRef[Actor[Greet | Count]]`.
    """

    __slots__ = ("_slot",)

    #: What an ask is made of; a subclass has its own.
    _make_ask: ClassVar[Callable[..., Ask[Any]]] = Ask
    #: Whether each ask goes through `enqueue`, and not only one that finds no room at once:
    #: for a class that lets asks wait for something else.
    defers: ClassVar[bool] = False

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    @property
    def actor_class(self) -> type[A_co]:  # type: ignore[override]  # Pykka's is a plain attribute
        """The class of the actor."""
        actor_class: type[A_co] = self._slot.actor_class
        return actor_class

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # Pykka's is a plain attribute
        """The name of the slot, unique among all systems of all processes."""
        return self._slot.urn

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]  # Pykka's is a plain attribute
        """The slot's inbox, with the methods that Pykka's has."""
        return PykkaInbox(self._slot)

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]  # made on demand here
        """An event that is set when the slot has ended."""
        return self._slot.stopped_event()

    @property
    def _actor_weakref(self) -> Callable[[], A_co | None]:  # type: ignore[override]  # as Pykka's proxy calls it
        return lambda: self._slot.actor

    @property
    def name(self) -> str:
        """The name given at the start, else the name of the class."""
        return self._slot.name or self._slot.actor_class.__name__

    @property
    def exit(self) -> Exit | None:
        """How the latest incarnation ended; None when none has."""
        return self._slot.exit

    @property
    def room(self) -> int:
        """Free places in the inbox now; 0 when the actor has ended."""
        slot = self._slot
        return max(0, slot.limit - len(slot.inbox))

    def is_alive(self) -> bool:
        """True until the slot has ended, or is about to; a restart does not end it."""
        slot = self._slot
        return not slot.ended and not slot.is_leaving()

    async def started(self) -> None:
        """Wait until `on_start` has finished. Loop thread only.

        Raises:
            StartFailed: `on_start` or a lifecycle hook failed; its cause is what was raised.
            ActorDeadError: the slot ended before.
        """
        await self._slot.wait_started()

    # Receipts and `StopFuture` may be left alone: `| Any` keeps mypy's unused-awaitable quiet.
    @overload  # type: ignore[override]  # Pykka's gives None
    def tell(self: ActorRef[Takes[Q]], message: Q) -> Receipt | Any: ...

    @overload
    def tell(self: ActorRef[pykka.Actor], message: Any) -> Receipt | Any: ...

    def tell(self, message: Any) -> Receipt | Any:
        """Put `message` in the inbox and return at once. Any thread.

        Args:
            message: Any object; it is not copied.

        Returns:
            A `Receipt`, done already: the message is in the inbox.

        Raises:
            MailboxFull: the inbox holds as many messages as it may.
            ActorDeadError: the slot has ended; the message is among the dead letters.
        """
        slot = self._slot
        inbox = slot.inbox
        if len(inbox) >= slot.limit:
            slot.refuse(message)
        inbox.append(message)
        if not slot.scheduled:
            slot.schedule()
        return ACCEPTED

    @overload  # type: ignore[override]  # Pykka's blocks by default
    def ask(
        self: ActorRef[Takes[Q]],
        message: RequestOf[Q, R],
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
    ) -> Future[R]: ...

    @overload
    def ask(
        self: ActorRef[Takes[Q]],
        message: RequestOf[Q, R],
        *,
        timeout: float | None = None,
        block: Literal[True],
    ) -> R: ...

    @overload
    def ask(
        self: ActorRef[Takes[object] | pykka.Actor],
        message: Plain,
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
    ) -> Future[Any]: ...

    @overload
    def ask(
        self: ActorRef[Takes[object] | pykka.Actor],
        message: Any,
        *,
        timeout: float | None = None,
        block: bool,
    ) -> Any: ...

    def ask(self, message: Any, *, timeout: float | None = None, block: bool = False) -> Any:
        """Ask for an answer. Any thread.

        Args:
            message: Any object; it is not copied.
            timeout: Seconds in which the answer has to come, always finite; None: the
                system's `ask_timeout`.
            block: Wait in this thread and return the answer itself.

        Returns:
            A `Future`, or the answer with `block`. It fails with what the handler raised, or
            with `AskTimeout`, `ActorDeadError`, `MailboxFull` or `Restarting`.

        Raises:
            AskCycle: the actor asks itself, or somebody who waits for its answer.
            BlockingCall: `block=True` on a thread that runs a loop.
            ValueError: `timeout` is not a time that can be waited for.
        """
        slot = self._slot
        system = slot.system
        asked_by = current_slot.get()
        chain: tuple[str, ...] = ()
        if asked_by is not None:
            chain = asked_by.asking_chain()
            if chain and slot.urn in chain:
                return self._ask_in_circle(message, timeout, chain, block=block)
        bucket = system.deadlines.default if timeout is None else system.deadlines.table(timeout)
        deadline = system.now() + bucket.timeout
        pending = bucket.pending
        plain = type(self) is ActorRef  # only a class derived from it is asked how it does it
        make = Ask if plain else self._make_ask
        ask: Ask[Any] = make(slot, message, pending, bucket.timeout, deadline, asked_by, chain)
        pending[ask] = deadline
        if not bucket.armed:
            bucket.armed = True
            system.call_on_loop(bucket.arm)
        inbox = slot.inbox
        if (plain or not self.defers) and not slot.down and len(inbox) < slot.limit:
            inbox.append(ask)
            if not slot.scheduled:
                slot.schedule()
        else:
            self.enqueue(ask)
        return ask.get_by_deadline() if block else ask

    def carried(self, message: Any) -> Any:
        """What to tell in the place of `message` if it is told later, for code that runs now."""
        return message

    def enqueue(self, ask: Ask[Any]) -> None:
        """Put an ask that was just made in the inbox, or end it there. Any thread."""
        self._slot.put_ask(ask)

    def _ask_in_circle(
        self, message: Any, timeout: float | None, chain: tuple[str, ...], *, block: bool
    ) -> Any:
        """An ask that can only be answered by somebody who waits for it.

        Pykka's idiom of deferring work to oneself through a proxy is such an
        ask too; it is allowed, because nobody need wait for it. Waiting raises.
        """
        slot = self._slot
        if block or slot is not current_slot.get() or not isinstance(message, PROXY_MESSAGES):
            raise AskCycle(self, chain)
        bucket = slot.system.deadlines.table(
            slot.system.ask_timeout if timeout is None else timeout
        )
        deadline = slot.system.now() + bucket.timeout
        ask: OwnAsk[Any] = OwnAsk(slot, message, bucket.pending, bucket.timeout, deadline, slot, ())
        bucket.pending[ask] = deadline
        if not bucket.armed:
            bucket.armed = True
            slot.system.call_on_loop(bucket.arm)
        slot.put_ask(ask)
        return ask

    def deliver(
        self,
        message: Any,
        *,
        context: Context,
        on_done: Callable[[Outcome], None],
        on_start: Callable[[], bool] | None = None,
        scope: Scope | None = None,
    ) -> Delivery:
        """Put a transport's message in the inbox. Loop thread only.

        Args:
            message: What the handler gets.
            context: What the handler sees as `self.context`. Its `deadline` is on the system's
                monotonic clock.
            on_done: Called once, on the loop, with what came of it.
            on_start: Called on the loop right before the handler; when it gives False the
                handler does not run and the outcome is "cancelled".
            scope: In force while the handler runs.

        Returns:
            The handle with which the message can be taken back.

        Raises:
            MailboxFull: the inbox is full; nothing is called.
            ActorDeadError: the slot has ended; nothing is called.
            AskCycle: an ask whose `context.chain` has this actor in it.
            Restarting: an ask whose deadline comes before the next start.
        """
        slot = self._slot
        if context.kind == "ask":
            slot.refuse_ask(context.chain, context.deadline)
        delivery: CallbackDelivery
        if scope is None:
            delivery = CallbackDelivery(message, context, on_done, on_start)
        else:
            delivery = ScopedDelivery(message, context, on_done, on_start)
            delivery.scope = scope
        slot.put(delivery)
        return delivery

    def put(self, delivery: Delivery) -> None:
        """Put a transport's own record of a message in the inbox. Loop thread only.

        Args:
            delivery: The record; see `Delivery`. Nothing of it is called when this raises.

        Raises:
            MailboxFull: the inbox is full.
            ActorDeadError: the slot has ended.
        """
        self._slot.put(delivery)

    def put_ask(self, delivery: Delivery, chain: tuple[str, ...], *, at_once: bool = False) -> None:
        """As `put`, for a message whose answer somebody waits for. Loop thread only.

        Args:
            delivery: The record; its `deadline` is that of the ask.
            chain: The urns of the actors that wait for the answer.
            at_once: It came alone, in a callback of the loop in which nothing else is to be
                done: an actor that is idle may handle it before this returns.

        Raises:
            MailboxFull: the inbox is full.
            ActorDeadError: the slot has ended.
            AskCycle: this actor is in `chain`.
            Restarting: the deadline comes before the next start.
        """
        slot = self._slot
        slot.refuse_ask(chain, delivery.deadline)
        slot.put(delivery, at_once=at_once)

    @overload  # type: ignore[override]  # Pykka's blocks by default; the docs name the difference
    def stop(
        self, *, block: Literal[False] = False, timeout: float | None = None
    ) -> StopFuture | Any: ...

    @overload
    def stop(self, *, block: Literal[True], timeout: float | None = None) -> bool: ...

    @overload
    def stop(self, *, block: bool, timeout: float | None = None) -> StopFuture | bool: ...

    def stop(self, *, block: bool = False, timeout: float | None = None) -> StopFuture | bool:
        """Ask the actor to stop, ahead of the messages that wait. Any thread.

        Args:
            block: Wait in this thread until it has stopped.
            timeout: Seconds to wait at most, with `block`; None: for ever.

        Returns:
            A future (the value itself with `block`): True when this stopped it, False when it
            had ended already.

        Raises:
            BlockingCall: an actor would wait for its own end.
            AskTimeout: with `block`, when it has not stopped in time.
        """
        if timeout is not None:
            need(SECONDS, "timeout", timeout)
        if block and current_slot.get() is self._slot:
            raise BlockingCall(f"{self} cannot wait for its own end; stop without block=True")
        future = self._slot.request_stop()
        return future.get(timeout=timeout) if block else future

    @overload
    def proxy(self) -> Any: ...

    @overload
    def proxy(self, interface: type[T]) -> T: ...

    def proxy(self, interface: type[Any] | None = None) -> Any:
        """Return a proxy to the actor's methods and attributes. Any thread.

        Args:
            interface: For the type checker: a class, the actor's own for one, whose
                `async def` methods the proxy has.

        Raises:
            ActorDeadError: the slot has ended.
        """
        from actors.proxies import Proxy

        del interface
        if not self.is_alive():
            raise ActorDeadError(self, self._slot.exit)
        return Proxy(actor_ref=self)

    def add_watcher(self, watcher: ActorRef[Any]) -> None:
        """Send `Terminated` to `watcher` when this slot ends. Any thread.

        What `Actor.watch` calls; a ref of another kind that can be watched has the same two
        methods.

        Args:
            watcher: Who is told; only its present incarnation is.
        """
        slot = self._slot
        slot.system.call_on_loop(slot.add_watcher, watcher, watcher._slot.incarnation)

    def remove_watcher(self, watcher: ActorRef[Any]) -> None:
        """Take `add_watcher` back. Any thread.

        Args:
            watcher: Who is not to be told any more.
        """
        self._slot.system.call_on_loop(self._slot.remove_watcher, watcher)

    def __copy__(self) -> ActorRef[A_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorRef[A_co]:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self} is an address in this process; send it in a message and the "
            "runtime turns it into an address that works elsewhere"
        )
