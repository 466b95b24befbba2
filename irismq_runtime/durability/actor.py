"""`Durable`: an actor whose state, and what it tells, are committed together.

    @message("shop.cart-state")
    @dataclass
    class CartState:
        lines: dict[str, int] = field(default_factory=dict)

    class Cart(Durable):
        address = "shop.cart"
        state: CartState

        @receives(Add)
        async def add(self, message: Add) -> int:
            self.state.lines[message.sku] = self.state.lines.get(message.sku, 0) + 1
            self.stock.tell(Reserve(message.sku))       # leaves with the commit
            return len(self.state.lines)                # and so does the answer

This file is the class; around each handler it puts a unit (handling). What a unit is, when
it is committed and what happens when it cannot be, is in unit, activation and committer.
"""

from __future__ import annotations

import inspect
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from actors import Actor, ActorClassError, receives
from actors.class_options import known_option
from actors.handlers import HandlerTable, Lookup
from actors.rules import count
from actors.runtime import slot_of
from actors.type_variables import M_contra
from irismq_runtime.durability.engine import ENGINES
from irismq_runtime.durability.handling import in_unit
from irismq_runtime.durability.reminding import (
    Reminded,
    ReminderDue,
    due_of,
    forget,
    message_of,
    remind,
    reminders_of,
    tick,
)
from irismq_runtime.durability.sql import SqlBlock
from irismq_runtime.durability.state_codec import as_it_is_now
from irismq_runtime.durability.state_type import state_type_of
from irismq_runtime.durability.unit import Unit, UnitState, current_unit
from irismq_runtime.errors import ConfigError
from irismq_runtime.refs import entity_ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from actors import ActorRef, Reply
    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.occurrences import Misfire
    from irismq_runtime.durability.reminding import Reminder
    from irismq_runtime.ports.state_store import StateKey
    from irismq_runtime.refs import EntityRef

__all__ = ["Durable"]

_LIMIT = count(1, 1 << 30)


class Durable(Actor[M_contra]):
    """Base class of actors whose state lasts: one state for each address.

    A node needs a store to run one: `Node(store="sqlite:///shop.db")`. What a handler does
    to `self.state`, what it tells by refs of addresses, and the durable events that it
    publishes are committed when it has returned, all of it or nothing; then the message is
    finished at the broker, the answer leaves, and what was told. A handler that ends in any
    other way has done none of it. Other attributes are as they are in any actor: they are not
    undone, and are gone with the incarnation.

    Attributes:
        state: The state. In a handler it is changed in place, or set. Elsewhere (`on_start`,
            tasks, streams) it is a copy that nobody may change. Its type, as annotated in
            the class, has `@message` and a default for every field.
        state_limit: Bytes that a stored state may have, 1 MiB unless the class says otherwise.
    """

    state_limit: ClassVar[int] = 1 << 20

    __durable__: ClassVar[bool] = True
    __around__ = staticmethod(in_unit)
    __state_type__: ClassVar[type | None] = None
    #: What the state is kept under; None: the address alone.
    __state_key__: StateKey | None = None
    #: Says whether this node alone works on the state now; None: nobody does.
    __lease__: Callable[[], bool] | None = None
    #: Set when the incarnation starts, before `on_start`.
    __activation__: Activation | None = None

    if TYPE_CHECKING:
        state: Any
    else:

        @property
        def state(self) -> Any:
            """See the class."""
            return _activation(self).read()

        @state.setter
        def state(self, value: Any) -> None:
            _activation(self).write(value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.__threaded__:
            raise ActorClassError(
                f"{cls.__qualname__} is a ThreadActor, and a durable actor runs on the loop; await "
                "asyncio.to_thread(...) for what blocks"
            )
        if not getattr(cls.on_start, "__loads_first__", False):
            cls.on_start = _loads_first(cls.on_start)  # type: ignore[method-assign]  # the same hook, later
        super().__init_subclass__(**kwargs)
        if "state" in vars(cls):
            raise ActorClassError(
                f"{cls.__qualname__}.state has a value; write only its type, `state: TheType`: a "
                "new state begins with the defaults of that"
            )
        if complaint := _LIMIT.complaint(cls.state_limit):
            raise ActorClassError(f"{cls.__qualname__}.state_limit: {complaint}")
        cls.__state_type__ = state_type_of(cls)

    async def on_start(self) -> None:
        """Called before the first message, with the state loaded. An error fails the start."""
        await _activate(self)

    def entity(self, address: str, key: str) -> EntityRef:
        """Return the ref of an entity, as `Node.entity`, which says what it raises."""
        return entity_ref(_activation(self).engine.outbound, address, key)

    def remind(  # each by its name
        self,
        name: str,
        message: object,
        *,
        at: datetime | None = None,
        after: float | timedelta | None = None,
        every: float | timedelta | None = None,
        cron: str | None = None,
        tz: str | None = None,
        misfire: Misfire = "once",
        grace: float | None = None,
    ) -> bool:
        """Tell the actor itself `message` at a time, or at times: with this handler's commit.

        It comes whatever is killed meanwhile, on whichever node the actor lives then, and each
        occurrence takes effect once. The next time is computed from the schedule, not from now.

        Args:
            name: Of the reminder; the one that has it already is replaced.
            message: What is told.
            at: When, with a time zone.
            after: Seconds from now, or a timedelta.
            every: Seconds between two of them, 0.001 or more; the first comes after one period, or
                when `at` or `after` says.
            cron: The times, as a line of cron: "0 3 * * *".
            tz: The zone of `cron`, "Europe/Berlin"; UTC if None.
            misfire: What becomes of occurrences that were missed: "once" tells one of them, with
                the number of the others in `self.context.headers["missed"]` (of a line of cron
                1,000 at most), "all" each, "skip" none that is late by more than `grace`.
            grace: Seconds; 60 if None.

        Returns:
            Whether another reminder of this name was replaced.

        Raises:
            ValueError: An argument that has no meaning, named.
            EncodeError: The message cannot be kept.
            NotInUnit: No handler of this actor runs.
        """
        activation = _activation(self)
        schedule = due_of(
            activation.engine.clock.time(),
            at=at,
            after=after,
            every=every,
            cron=cron,
            tz=tz,
            misfire=misfire,
            grace=grace,
        )
        return remind(activation, name, message, schedule)

    def forget(self, name: str) -> bool:
        """Let a reminder go, with this handler's commit: it does not come any more.

        Returns:
            Whether there was one.

        Raises:
            ValueError: What cannot be a name.
            NotInUnit: No handler of this actor runs.
        """
        return forget(_activation(self), name)

    def reminders(self) -> list[Reminder]:
        """Return the reminders of this actor, by their names."""
        return reminders_of(_activation(self))

    @receives(ReminderDue)
    def _irismq_tick(self, due: ReminderDue) -> None:
        tick(_activation(self), due)

    @receives(Reminded)
    async def _irismq_reminded(self, reminded: Reminded) -> None:
        found = message_of(_activation(self), reminded)
        if found is None:
            return
        cls: Any = type(self)
        handler = _plain_handlers(cls)[type(found[0])]
        result = None if handler is None else handler(self, found[0])
        if inspect.isawaitable(result):
            await result

    def end(self) -> None:
        """Delete the state with this handler's commit: the next message finds a new one.

        Raises:
            NotInUnit: No handler of this actor runs.
        """
        _activation(self).end_state()

    def sql(self) -> SqlBlock:
        """Tables of one's own in this handler's commit: `async with self.sql() as sql`.

        What the actor did before is committed first, and this handler's commit is made alone.
        From the first block on the handler has 5 seconds, and may ask nobody.

        Returns:
            What is entered for a `Sql`, with `execute` and `fetch`. Entering it raises
            `StoreUnavailable`, and `ConfigError` where the store has no tables (memory).

        Raises:
            NotInUnit: No handler of this actor runs.
        """
        return SqlBlock(*_activation(self).open_here("self.sql()"))

    def stash(self) -> None:
        """As `Actor.stash`: this message changes nothing now, and runs anew when it is taken up."""
        super().stash()
        unit = _activation(self).open
        if unit is not None:
            unit.staged.clear()
            unit.life = UnitState.DROPPED

    def reply_later(self) -> LaterReply:  # type: ignore[override]  # called as `Reply` is
        """As `Actor.reply_later`: what the handler did is committed when it returns.

        The answer leaves when what the actor did before it is committed.
        """
        return LaterReply(_activation(self), super().reply_later())

    def forward(self, ref: ActorRef[Any]) -> NoReturn:  # noqa: ARG002  # as every actor's
        """Refused: the right to handle this message is this actor's. Tell the other one."""
        raise TypeError("a durable actor cannot forward its message; tell the other actor instead")

    def become(self, handler: Any) -> NoReturn:  # noqa: ARG002  # as every actor's
        """Refused: the next incarnation would not know of it. Keep a field in the state."""
        raise TypeError("a durable actor cannot become another; keep what it is in its state")


class LaterReply:
    """The promise of one answer, as `actors.Reply`: it leaves after what was done before it."""

    __slots__ = ("_activation", "_reply")

    def __init__(self, activation: Activation, reply: Reply) -> None:
        self._activation = activation
        self._reply = reply

    def __call__(self, value: Any = None, *, error: BaseException | None = None) -> None:
        """Answer with `value`, as it is now, or with `error`."""
        activation = self._activation
        answer = as_it_is_now(value, activation.engine.packer.serializer)
        give = partial(self._reply, answer, error=error)
        unit = current_unit.get()
        if unit is None or unit is not activation.open:
            unit = activation.pending[-1] if activation.pending else None
        if isinstance(unit, Unit):
            unit.after.append(lambda undone: give() if undone is None else None)
        else:
            give()


Durable.on_start.__loads_first__ = True  # type: ignore[attr-defined]  # so that it is not put around itself
known_option("state_limit", _LIMIT, owner=Durable)


def _activation(actor: Durable[Any]) -> Activation:
    activation = actor.__activation__
    if activation is None:
        raise RuntimeError(
            f"{type(actor).__name__}.state is there from on_start on, not in the constructor"
        )
    return activation


async def _activate(actor: Durable[Any]) -> None:
    """Load the state, once in an incarnation."""
    if actor.__activation__ is not None:
        return
    engine = ENGINES.get(actor.system)
    cls = type(actor)
    if engine is None:
        raise ConfigError(
            "store",
            f"{cls.__name__} is a durable actor, and its node has no store",
            'give the node one: Node(store="sqlite:///shop.db")',
        )
    slot = slot_of(actor.actor_ref)
    actor.__activation__ = await engine.activate(
        slot, cls.__state_type__, cls.state_limit, actor.__state_key__
    )
    actor.__activation__.leased = actor.__lease__


@cache
def _plain_handlers(cls: Any) -> Lookup:
    """The handlers of a class as they are written, for a message that is in a unit already."""
    return HandlerTable(cls, threaded=False).lookup(cls.on_receive, {}, None)


def _loads_first(on_start: Any) -> Any:
    """`on_start` of a class, after the state has been loaded."""

    async def load_then_start(self: Durable[Any]) -> None:
        await _activate(self)
        started = on_start(self)
        if inspect.isawaitable(started):
            await started

    load_then_start.__loads_first__ = True  # type: ignore[attr-defined]  # as above
    return load_then_start
