"""`Entity`: a durable actor that there is one of for each key.

    class Cart(Entity):
        address = "shop.cart"
        state: CartState

        @receives(Add)
        def add(self, message: Add) -> int:
            self.state.lines[message.sku] = self.state.lines.get(message.sku, 0) + 1
            self.entity("shop.stock", message.sku).tell(Reserve(self.key))
            return len(self.state.lines)

    await node.start(Cart)
    await node.entity("shop.cart", "ada").ask(Add("tea"))

Starting the class starts its host (host.py), which makes the entity of a key when the
first message for it comes, and lets it go when none has come for a while. This file is the
class alone, and checks what is written in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from actors import ActorClassError, runtime
from actors.class_options import known_option
from actors.rules import POSITIVE_SECONDS, count, one_of
from actors.type_variables import M_contra
from irismq_runtime.durability import ENGINES, Durable
from irismq_runtime.entities.host import EntityHost
from irismq_runtime.entities.ownership import Ownership
from irismq_runtime.messaging import (
    DEFAULT_SHARDS,
    ENTITY_ADDRESS,
    SHARDS,
    SINGLETON_KEY,
    entity_name,
    shard_address,
    shard_of,
)
from irismq_runtime.ports.state_store import StateKey

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Entity", "Singleton"]

_RULES = {
    "shards": SHARDS,
    "idle": POSITIVE_SECONDS,
    "max_active": count(1, 10_000_000),
    "reads": one_of("leased", "checked"),
}


class Entity(Durable[M_contra]):
    """Base class of actors that there is one of for each key of their address.

    All that is said of `Durable` holds for each of them: state, outbox and answer are one commit.
    Timers end when one rests, as all that is not its state. One that crashes is made
    again; one that crashes again and again waits longer each time, and no other with it.

    Attributes:
        shards: Into how many parts the keys are divided, 64 unless the class says otherwise. The
            first node that starts with a store fixes it there.
        idle: Seconds without a message after which an entity rests, 120 unless told otherwise.
        reads: How an answer without a change is given: "leased" (unless told otherwise) from
            memory, while the lease of this node holds; "checked" after a look at the version in the
            store, so that it is linearizable also where a process was paused just then.
        max_active: How many are active on a node before those that were used longest ago
            rest, 10,000 unless told otherwise.
    """

    shards: ClassVar[int] = DEFAULT_SHARDS
    idle: ClassVar[float] = 120.0
    max_active: ClassVar[int] = 10_000
    reads: ClassVar[Literal["leased", "checked"]] = "leased"

    __host__ = EntityHost
    #: The only keys that there are, which are active as long as their shard is here; empty: any.
    __eager__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name, rule in _RULES.items():
            if complaint := rule.complaint(getattr(cls, name)):
                raise ActorClassError(f"{cls.__qualname__}.{name}: {complaint}")
        if cls.address is not None and (complaint := ENTITY_ADDRESS.complaint(cls.address)):
            raise ActorClassError(f"{cls.__qualname__}.address: {complaint}")
        if getattr(cls, "subscribes", ()):
            raise ActorClassError(
                f"{cls.__qualname__}.subscribes: an event names no key; subscribe with an "
                "ordinary actor, which tells the entities that it is for"
            )
        if hasattr(cls, "on_tunnel"):
            raise ActorClassError(
                f"{cls.__qualname__}.on_tunnel: an entity takes no tunnels, as it may rest or move "
                "in the middle of one; let an ordinary actor have the conversation"
            )

    @property
    def key(self) -> str:
        """Which entity of its address this is."""
        return runtime.slot_of(self.actor_ref).name or ""

    @property
    def __asked_as__(self) -> str:  # type: ignore[override]  # made when it is looked at
        return entity_name(self.address or "", self.key)

    @property
    def __lease__(self) -> Callable[[], bool] | None:  # type: ignore[override]  # as above
        engine = ENGINES.get(self.system)
        ownership = None if engine is None else engine.above.get(Ownership)
        if ownership is None or self.reads == "checked":
            return None
        holds: Callable[[], bool] = ownership.holds_now
        return holds

    @property
    def __state_key__(self) -> StateKey:  # type: ignore[override]  # as above
        key = self.key
        return StateKey(shard_address(self.address or "", shard_of(key, self.shards)), key)


class Singleton(Entity[M_contra]):
    """Base class of actors of which one is active among all nodes that start the class.

    It is an entity with one key, which its node makes at once and not for a message, and which
    never rests. It moves when its node goes. `Node.singleton(address)` is its ref, and what is told
    to the address reaches it as well. What is promised is that one alone can change its state;
    beside that, two may run for a moment where a process was paused.
    """

    shards: ClassVar[int] = 1
    idle: ClassVar[float] = 1e9

    __eager__ = (SINGLETON_KEY,)


for _name, _rule in _RULES.items():
    known_option(_name, _rule, owner=Entity)
