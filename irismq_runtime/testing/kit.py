"""`DurableKit`: a durable actor or an entity in a test, without a node, a broker or a relay.

    async with DurableKit(Cart, key="ada", state=CartState({"tea": 1})) as cart:
        assert await cart.ask(Add("tea", 2)) == 3
        assert cart.state == CartState({"tea": 3})
        assert cart.told == [Told("shop.stock/tea", Reserve("ada", 2))]
        await cart.advance(3600)                # its reminders come at their times
        assert cart.state.lines == {}

The actor, its units, commits and reminders are the product's own, over a store in memory and a
clock that stands still. What is left out is what is around it: what it tells is noted when it is
committed, and goes nowhere; who is asked is not there. A handler that fails has done nothing, and
the next message finds a new incarnation with the state as it was. Loop thread only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from actors import Context, System, message_name, runtime
from actors.ask import error_for_caller
from actors.testing.manual_clock import ManualClock
from irismq_runtime.durability import ENGINES, DurableEngine
from irismq_runtime.durability.reminder_book import split
from irismq_runtime.durability.reminding import Reminded, ReminderDue, reminders_of
from irismq_runtime.durability.staging import StagingOutbound
from irismq_runtime.durability.state_codec import StateCodec, as_it_is_now
from irismq_runtime.durability.unit import Unit, current_unit
from irismq_runtime.errors import ConfigError
from irismq_runtime.messaging import ENTITY_KEY, Packer, entity_name, shard_address, shard_of
from irismq_runtime.observe.logs import RateLimitedLog
from irismq_runtime.observe.meter import Meter
from irismq_runtime.ports.state_store import ABSENT, StateCommit, StateKey
from irismq_runtime.refs import Outbound
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.wire import Envelope, Serializer, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Outcome
    from irismq_runtime.durability import Reminder
    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.refs import TellReceipt
    from irismq_runtime.wire import Kind

__all__ = ["DurableKit", "Told"]

S = TypeVar("S")
#: Seconds that an incarnation has to end in order.
_TO_END: Final = 5.0
_REMINDED: Final = message_name(Reminded)


@dataclass(frozen=True, slots=True)
class Told:
    """What a durable actor has told or published, once it was committed.

    Attributes:
        to: An address, "address/key" for an entity, or the topic of an event.
        message: What it was told.
        delay: Seconds before which it is not handled.
    """

    to: str
    message: Any
    delay: float = 0.0


class DurableKit(Generic[S]):
    """A durable actor, or the entity of a key, in a test; entered with `async with`.

    Args:
        actor: Its class, derived from `Durable` or `Entity`, with an address.
        *args: What its constructor is given.
        key: Which entity it is; "" for a class without keys.
        state: What was committed before it starts; None: nothing.

    Attributes:
        told: What it has told and published so far, in order; a test may clear it.
        clock: The time, which `advance` moves.

    Raises:
        ConfigError: The class has no address, or a key does not fit it.
        Exception: At entering: what its start failed with.
    """

    def __init__(self, actor: type[Any], *args: Any, key: str = "", state: S | None = None) -> None:
        self._first = state
        self._of = _key_of(actor, key)
        self._name = entity_name(actor.address, key) if key else self._of.address
        self.told: list[Told] = []
        self.clock = ManualClock()
        self._actor, self._args, self._key = actor, args, key
        #: What it has told itself of its reminders and has yet to handle, with the headers.
        self._own: list[tuple[Any, dict[str, Any]]] = []

    @property
    def state(self) -> S:
        """The state as it is committed, a copy; the defaults where nothing is.

        None where the class has no state.
        """
        if self._actor.__state_type__ is None:
            return None  # type: ignore[return-value]  # then that is S
        kept = self._database.tables.states.get(self._of)
        state: Any = self._codec.decode(None if kept is None else split(kept.state)[0])
        return state  # type: ignore[no-any-return]  # as the codec made it

    @property
    def reminders(self) -> list[Reminder]:
        """The reminders that are set, by their names."""
        return reminders_of(self._activation)

    async def ask(self, message: Any) -> Any:
        """Have a message handled, and return its answer, once it is committed.

        Raises:
            Exception: What the handler raised or refused; nothing of it is kept.
        """
        return await self._handle(message, "ask", {})

    async def tell(self, message: Any) -> None:
        """Have a message handled, until it is committed. Raises as `ask`."""
        await self._handle(message, "tell", {})

    async def advance(self, seconds: float) -> None:
        """Let time pass; reminders that come due meanwhile are handled, each at its time.

        Args:
            seconds: How much.

        Raises:
            Exception: What a handler raised; a node would have tried it again.
        """
        end = self.clock.time() + seconds
        while (due := self._next_due()) is not None and due[0] <= end:
            self.clock.advance(max(0.0, due[0] - self.clock.time()))
            await self._handle(due[1], "tell", {})
            while self._own:
                message, headers = self._own.pop(0)
                await self._handle(message, "tell", headers)
        self.clock.advance(end - self.clock.time())

    async def restart(self) -> None:
        """End the incarnation in order and begin the next: what is not state is gone."""
        await runtime.stop(self._kept, "shutdown", timeout=_TO_END)
        await self._started()

    # How ------------------------------------------------------------------------------

    def _set_up(self) -> None:
        """Make what a node has for it. On the loop."""
        actor = self._actor
        self._system = System(self._name, clock=self.clock)
        self._system.attach()
        self._database = MemoryDatabase(clock=self.clock)
        self._store = MemoryStore(self._database)
        serializer = Serializer()
        packer = Packer("kit", serializer, now=self.clock.time)
        nowhere: Any = _Nowhere(self, packer)
        self._outbound = Outbound(
            packer=packer,
            mailbox=nowhere,
            addresses=nowhere,
            directory=nowhere,
            watching=nowhere,
            system=self._system,
            meter=Meter(self._system, dict),
            tracing=None,
        )
        log = RateLimitedLog("irismq.kit", self.clock)
        self._engine = DurableEngine(self._store, self._outbound, self._system, log)
        limit = actor.state_limit
        self._codec = StateCodec(serializer, actor.__state_type__, self._name, limit)
        self._kept = runtime.new_slot(
            self._system, actor, self._args, name=self._key or None, hosted=True
        )
        self._kept.on_down = _left_to_the_test

    async def __aenter__(self) -> Self:
        self._set_up()
        await self._store.open()
        ENGINES[self._system] = self._engine
        if self._first is not None:
            data = self._codec.encode(self._first)
            await self._store.commit([StateCommit(self._of, ABSENT, new_id(), data)])
        try:
            await self._started()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._system.shutdown(_TO_END)
        await self._engine.close()

    async def _started(self) -> None:
        if self._kept.down:
            await runtime.start(self._kept)
            self._outbound.__class__ = _NotingOutbound
            self._engine.leave(self._of.address)  # what is due is handled here, and not published

    @property
    def _activation(self) -> Activation:
        found: Activation = self._kept.actor.__activation__
        return found

    def _next_due(self) -> tuple[float, ReminderDue] | None:
        ticks = [
            (kept.due, ReminderDue(name, kept.generation))
            for name, kept in self._activation.kept_book()
            if not kept.fired
        ]
        return min(ticks, key=lambda each: each[0], default=None)

    async def _handle(self, message: Any, kind: Any, headers: dict[str, Any]) -> Any:
        await self._started()
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        context = Context(kind=kind, headers=headers)
        self._kept.ref.deliver(message, context=context, on_done=done.set_result)
        outcome = await done
        if outcome.kind != "replied":
            raise error_for_caller(self._name, outcome)
        return outcome.value

    def came_back(self, message: Any, headers: dict[str, Any]) -> None:
        """A row was published; what is of a reminder is handled when its tick is."""
        if isinstance(message, Reminded):
            self._own.append((message, headers))


def _key_of(actor: type[Any], key: str) -> StateKey:
    """Under what its state is kept. Raises `ConfigError`."""
    hosted = getattr(actor, "__host__", None) is not None
    if not actor.address:
        raise ConfigError(
            f"{actor.__name__}.address", "its state is kept under it, and it has none"
        )
    if not hosted:
        if key:
            raise ConfigError("key", f"{actor.__name__} is no class of entities")
        return StateKey(actor.address)
    if complaint := ENTITY_KEY.complaint(key):
        raise ConfigError("key", complaint, f"{actor.__name__} is a class of entities")
    return StateKey(shard_address(actor.address, shard_of(key, actor.shards)), key)


def _left_to_the_test(_slot: object, _exit: object) -> None:
    """It has crashed: the next message of the test finds another incarnation."""


class _NotingOutbound(StagingOutbound):
    """Notes what is told when it is committed."""

    __slots__ = ()

    def store(
        self,
        address: str,
        topic: str,
        kind: Kind,
        message: object,
        *,
        delay: float = 0.0,
        key: str = "",
        **options: Any,
    ) -> TellReceipt:
        """As `StagingOutbound.store`."""
        receipt = super().store(address, topic, kind, message, delay=delay, key=key, **options)
        to = entity_name(address.partition("#")[0], key) if key else address
        told = Told(to, as_it_is_now(message, self.packer.serializer), delay)
        nowhere: Any = self.mailbox
        unit = current_unit.get()
        if isinstance(unit, Unit):
            unit.after.append(lambda undone: nowhere.note(told) if undone is None else None)
        else:
            nowhere.note(told)
        return receipt


class _Nowhere:
    """In the place of a broker and of presence: takes all, and keeps nothing."""

    max_body = 1 << 20
    max_delay = 3600.0
    trusted = whole = True
    settling = False

    def __init__(self, kit: DurableKit[Any], packer: Packer) -> None:
        self.note = kit.told.append
        self._came_back = kit.came_back
        self._packer = packer

    def publish(self, _topic: str, body: bytes, **_: Any) -> asyncio.Future[None]:
        """See `MailboxTransport.publish`."""
        found = self._packer.open_untrusted(body)
        if isinstance(found, Envelope) and found.type == _REMINDED:
            self._came_back(self._packer.load_untrusted(found), found.headers)
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        confirmed.set_result(None)
        return confirmed

    def nobody_serves(self, _address: str) -> bool:
        """See `ServiceDirectory.nobody_serves`."""
        return True

    def is_confirmed(self, _cluster: str) -> bool:
        """See `ServiceDirectory.is_confirmed`."""
        return False

    def when_known(self, _address: str, callback: Callable[[], None]) -> None:
        """See `ServiceDirectory.when_known`."""
        callback()

    def on_change(self, _listener: Callable[[Any], None]) -> None:
        """See `ServiceDirectory.on_change`."""
