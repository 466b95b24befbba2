"""The host: the actor that keeps the entities of one class on a node.

It is started in the place of the class (`node.start(Cart)`), under whatever supervisor the
program gives it. When it starts it

    fixes the number of shards    in the store, or finds that another one is fixed
    takes part in ownership       (ownership.py), which says when to begin and to finish a shard:
                                  an actor, which is what a node binds to an address
    keeps the table               of the entities that are active (table.py), and looks every
                                  now and then who has had nothing to do

and ends in the reverse order: nothing new comes, then the entities end. The host itself is bound to
the address, where messages come of those that know no shards (dispatch.py). It handles no
message of its own. Loop thread only.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, Final, NoReturn

from actors import Actor, Refused, runtime
from irismq_runtime.durability import ENGINES, DurableEngine, shards_in, shards_state
from irismq_runtime.entities.dispatch import AddressInlet, ShardInlet
from irismq_runtime.entities.ownership import HostNumbers, ownership_of
from irismq_runtime.entities.table import EntityTable
from irismq_runtime.errors import ConfigError
from irismq_runtime.messaging import shard_address, shard_of
from irismq_runtime.ports.state_store import ABSENT, StateCommit, StateKey
from irismq_runtime.wire import new_id

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actors import ActorRef, System
    from actors.clock import TimerHandle
    from irismq_runtime.entities.ownership import Ownership

__all__ = ["EntityHost", "Shard", "ShardSet"]

#: What a class says of its mailbox, which the actors say for it that are bound to its addresses.
_OF_A_MAILBOX: Final = (
    "codec",
    "foreign",
    "mailbox_expires",
    "mailbox_window",
    "retry_policy",
    "__largest_batch__",
)
#: How often in the time after which an entity rests it is looked who has.
_LOOKS: Final = 4
#: The longest time between two looks, in seconds.
_LOOK_AT_LEAST: Final = 30.0


class Shard(Actor):
    """What is bound to the address of one shard; what comes there goes to its entities.

    Args:
        address: Of the shard.
        inlet: What is done with what comes.
    """

    __owned__ = True
    __enduring__ = True

    def __init__(self, address: str, inlet: ShardInlet) -> None:
        self.address = address
        self.__inlet__ = inlet
        _speak_for(self, inlet.table.entity)

    def on_receive(self, message: Any) -> NoReturn:  # noqa: ARG002  # whatever it is
        """Refuse what names no key."""
        _refuse(self.__inlet__.address)


class ShardSet:
    """The shards of one class that its node works on: begun and finished, one step at a time each.

    Args:
        system: Where the shards are started; the code of the host makes this.
        engine: The durable actors of the node.
        table: The entities that are active.
        ownership: Says which shards these are.
    """

    def __init__(
        self, system: System, engine: DurableEngine, table: EntityTable, ownership: Ownership
    ) -> None:
        self._context = contextvars.copy_context()
        self._system = system
        self._engine = engine
        self._table = table
        self._ownership = ownership
        self.address = table.address
        self.shards: int = table.entity.shards
        self._running: dict[int, ActorRef[Any]] = {}
        self._turns: dict[int, asyncio.Lock] = {}

    def numbers(self, owned: int) -> HostNumbers:
        """See `ShardHost.numbers`."""
        table = self._table
        failing = sum(1 for entry in table if entry.retry_at)
        return HostNumbers(
            address=self.address,
            shards=self.shards,
            owned=owned,
            active=len(table),
            failing=failing,
            activated=table.activated,
            rested=table.rested,
        )

    def begin(self, shard: int) -> asyncio.Task[None]:
        """See `ShardHost.begin`."""
        return self._spawn(self._begin(shard))

    def finish(self, shard: int) -> asyncio.Task[None]:
        """See `ShardHost.finish`."""
        return self._spawn(self._finish(shard))

    def _spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In the context of the host, so that what is started is its own.
        return self._context.run(self._system.spawn, step)

    async def _begin(self, shard: int) -> None:
        address = shard_address(self.address, shard)
        async with self._turns.setdefault(shard, asyncio.Lock()):
            if shard in self._running:
                return
            inlet = ShardInlet(self._engine, self._table, self._ownership, shard)
            name = f"{self._table.entity.__name__}#{shard}"
            ref = self._system.start(Shard, address, inlet, name=name)
            await ref.started()
            self._running[shard] = ref
            await self._engine.serve(address)
            for key in self._table.entity.__eager__:
                if shard_of(key, self.shards) == shard:
                    self._table.entry_for(key)

    async def _finish(self, shard: int) -> None:
        address = shard_address(self.address, shard)
        async with self._turns.setdefault(shard, asyncio.Lock()):
            ref = self._running.pop(shard, None)
            if ref is None:
                return
            await ref.stop()
            await self._table.end_shard(address)
            await self._engine.flush(address)
            self._engine.leave(address)


class EntityHost(Actor):
    """See the module.

    Args:
        entity: The class, a subclass of `Entity`.
        args: What the constructor of each is given,
        kwargs: also by name.
    """

    __enduring__ = True
    #: Set when it starts.
    table: EntityTable
    ownership: Ownership
    __inlet__: AddressInlet

    def __init__(self, entity: type[Any], *args: Any, **kwargs: Any) -> None:
        self.address = entity.address
        _speak_for(self, entity)
        self.entity_class = entity
        self._arguments = args, kwargs
        self._set: ShardSet | None = None
        self._timer: TimerHandle | None = None

    async def on_start(self) -> None:
        """Take the shards. Raises `ConfigError`, and what binding them raises."""
        entity = self.entity_class
        engine = ENGINES.get(self.system)
        if engine is None:
            raise ConfigError(
                "store",
                f"{entity.__name__} is a class of entities, and its node has no store",
                'give the node one: Node(store="sqlite:///shop.db")',
            )
        if not entity.address:
            raise ConfigError(
                f"{entity.__name__}.address",
                "entities are reached by an address and a key, and this class has none",
                'give it one: address = "shop.cart"',
            )
        args, kwargs = self._arguments
        slot = runtime.slot_of(self.actor_ref)
        self.table = EntityTable(engine, self.actor_ref, entity, args, kwargs)
        self.ownership = await ownership_of(engine)
        self.table.on_newer = self.ownership.avoid
        self.__inlet__ = AddressInlet(engine, self.table, self.ownership)
        runtime.on_incarnation_end(slot, self._gone)
        await fix_shards(engine, entity)
        engine.outbound.shards[entity.address] = entity.shards
        self._set = ShardSet(self.system, engine, self.table, self.ownership)
        await self.ownership.add(self._set)
        self._look_later()

    def _look_later(self) -> None:
        period = min(self.entity_class.idle / _LOOKS, _LOOK_AT_LEAST)
        self._timer = self.system.clock.call_later(period, self._look)

    def _look(self) -> None:
        self.table.rest_idle()
        self._look_later()

    async def on_stop(self) -> None:
        """Give up the shards, then end the entities."""
        if self._set is not None:
            await self.ownership.remove(self._set)
        await self.table.close()

    def _gone(self) -> None:
        """The incarnation is over: in order, or it was killed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._set is not None:
            self.system.spawn(self.ownership.remove(self._set))
        if len(self.table):
            self.system.spawn(self.table.close(0.0))

    def on_receive(self, message: Any) -> NoReturn:  # noqa: ARG002  # whatever it is
        """Refuse what names no key."""
        _refuse(self.address or "")


def _speak_for(actor: Actor[Any], entity: type[Any]) -> None:
    for name in _OF_A_MAILBOX:
        if hasattr(entity, name):
            setattr(actor, name, getattr(entity, name))


def _refuse(address: str) -> NoReturn:
    raise Refused(
        f"{address!r} has an entity for each key, and this names none; use "
        "node.entity(address, key)",
        code="no-key",
    )


async def fix_shards(engine: DurableEngine, entity: type[Any]) -> None:
    """See to it that the store says how many shards there are. Raises `ConfigError`."""
    key = StateKey(entity.address)
    while True:
        stored = await engine.load(key)
        if stored.version != ABSENT:
            break
        state = shards_state(entity.shards)
        await engine.commit_first(StateCommit(key, ABSENT, new_id(), state))
    engine.addressing.seen(stored)
    found = shards_in(stored.state)
    if not found:
        raise ConfigError(
            f"{entity.__name__}.address",
            f"a durable actor without keys has a state at {entity.address!r} in this store",
            "give the entities another address",
        )
    if found != entity.shards:
        raise ConfigError(
            f"{entity.__name__}.shards",
            f"it is {entity.shards}, and the keys of {entity.address!r} are divided into {found} "
            "in this store",
            f"write shards = {found}; to divide them anew, tell each state to an entity of "
            "another address",
        )
