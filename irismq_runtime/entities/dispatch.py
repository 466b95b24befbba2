"""What comes for the entities of an address: to the one that its key names.

    to a shard        stored messages, asks, broadcasts: the header `ek` says for whom
    to the address    the same, of programs that know no shards: stored ones go on to theirs

A key that belongs to another shard is no fault of its sender, who may have taken another number
of shards: a stored message goes on to its shard under its own id, so that a copy of it is known as
such there; an ask is refused and told the number. Without a key nobody is meant: a stored message
is put aside, an ask refused. A tunnel and a stream are refused whatever they name: a conversation
belongs to an incarnation, and an entity may rest or move in the middle of it. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from actors.errors import Refused
from irismq_runtime.dispatch import MemberDispatch, StoredDispatch
from irismq_runtime.dispatch.tunnels import TunnelDispatch
from irismq_runtime.durability import StatefulDispatch
from irismq_runtime.errors import DecodeError, RuntimeFault
from irismq_runtime.messaging import (
    ENTITY_KEY,
    MAILBOX_CHANNEL,
    mailbox_topic,
    shard_address,
    shard_of,
)
from irismq_runtime.ports import LEAVING
from irismq_runtime.ports.state_store import StateKey
from irismq_runtime.wire.headers import ENTITY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors import ActorRef
    from irismq_runtime.dispatch.delivery import DurableDelivery
    from irismq_runtime.durability import DurableEngine
    from irismq_runtime.entities.ownership import Ownership
    from irismq_runtime.entities.table import EntityTable
    from irismq_runtime.ports import InboundRequest, StoredMessage
    from irismq_runtime.ports.state_store import OwnedRight
    from irismq_runtime.wire import Envelope

__all__ = ["AddressInlet", "ShardInlet"]

#: Seconds after which a message comes again that could not be passed on, or whose shard has left.
_LATER: Final = 1.0
#: Why a consumer is paused whose shard is not this node's any more. It ends in any case, but that
#: may take a while, and brokers count what they give out meanwhile: the next node would take that
#: for attempts.
_LEFT: Final = "left"


class AddressInlet:
    """What a node does with what comes to the address of its entities itself.

    Args:
        engine: The durable actors of the node.
        table: The entities that are active here.
        ownership: Which shards this node has, and whether they are its own.
    """

    #: Seconds that requests in hand have to be answered in when it ends on a node that goes on.
    drain: float = 0.0

    def __init__(self, engine: DurableEngine, table: EntityTable, ownership: Ownership) -> None:
        self.engine = engine
        self.ownership = ownership
        self.table = table
        self.address = table.address
        self.shards: int = table.entity.shards
        #: The one key that there is; None: there are many.
        self._only: str | None = next(iter(table.entity.__eager__), None)

    def stored_dispatch(self, *args: Any, **options: Any) -> StoredDispatch:
        """Return what takes the stored messages; see `StoredDispatch`."""
        return _PassingOn(self, *args, **options)

    def member_dispatch(self, *args: Any, **options: Any) -> MemberDispatch:
        """Return what takes requests and broadcasts; see `MemberDispatch`."""
        return _KeyedMember(self, *args, **options)

    def key_in_untrusted(self, headers: Mapping[str, Any]) -> str:
        """The key that a message names; "" for none, or what cannot be one."""
        if self._only is not None:
            return self._only
        key = headers.get(ENTITY)
        return key if ENTITY_KEY.takes(key) else ""  # type: ignore[return-value]  # a key is a text

    def ref_for_untrusted(self, headers: Mapping[str, Any]) -> ActorRef[Any]:
        """The entity that an ask is for. Raises `Refused`."""
        key = self.key_in_untrusted(headers)
        if not key:
            raise Refused(
                f"{self.address!r} has an entity for each key, and this names none; ask "
                "node.entity(address, key)",
                code="no-key",
            )
        if not self.is_here(key):
            raise Refused(
                f"this key belongs to another shard: the entities of {self.address!r} have "
                f"{self.shards}; say so where it is asked from: "
                f"node.entity(address, key, shards={self.shards})",
                code="wrong-shard",
            )
        return self.table.entry_for(key).slot.ref

    @property
    def is_open(self) -> bool:
        """Whether anything is taken: what this node has is its own, and it is not ending."""
        return self.ownership.holds and not self.table.closed

    def is_here(self, key: str) -> bool:
        """Whether the entity of `key` is reached here."""
        return self.table.find(key) is not None

    def pass_on(self, stored: StoredMessage, envelope: Envelope, topic: str, key: str) -> bool:
        """Give a stored message to the topic of its shard; False: it cannot be made to fit."""
        engine = self.engine
        to = mailbox_topic(shard_address(self.address, shard_of(key, self.shards)))
        try:
            data = engine.packer.renewed(stored.body, topic, to)
            confirmed = engine.mailbox.publish(
                to,
                data,
                timeout=engine.publish_timeout,
                key=envelope.id.hex(),
                channel=MAILBOX_CHANNEL,
            )
        except DecodeError:
            return False
        except RuntimeFault:
            stored.requeue(_LATER, penalty=False)
            return True

        def known(done: Any) -> None:
            if done.cancelled() or done.exception() is not None:
                stored.requeue(_LATER, penalty=False)
            else:
                stored.finish()

        confirmed.add_done_callback(known)
        return True


class ShardInlet(AddressInlet):
    """What a node does with what comes to one shard that it owns."""

    drain = 5.0  # an asker goes to the next owner only when told to

    def __init__(
        self, engine: DurableEngine, table: EntityTable, ownership: Ownership, shard: int
    ) -> None:
        super().__init__(engine, table, ownership)
        self.shard = shard

    def stored_dispatch(self, *args: Any, **options: Any) -> StoredDispatch:
        """See `AddressInlet`."""
        return self.engine.fed_by(_KeyedDispatch(self, *args, **options))

    def is_here(self, key: str) -> bool:
        """Whether `key` belongs to this shard."""
        return shard_of(key, self.shards) == self.shard


class _KeyedMember(MemberDispatch):
    """Requests of one key each."""

    __slots__ = ("_inlet",)

    def __init__(self, inlet: AddressInlet, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inlet = inlet
        self.tunnels = _NoTunnels(inlet.address, self._context, self.address)

    def take_request(
        self, request: InboundRequest, envelope: Envelope, sender: str | None = None
    ) -> None:
        """As `MemberDispatch.take_request`; where the shard is not this node's any more, leave."""
        if self._inlet.is_open:
            super().take_request(request, envelope, sender)
        else:
            request.fail(LEAVING)

    def target(self, envelope: Envelope) -> ActorRef[Any]:
        """Return the entity that `envelope` is for. Raises `Refused`."""
        return self._inlet.ref_for_untrusted(envelope.headers)

    def _told_all(self, envelope: Envelope) -> None:
        """Nobody is meant by it."""
        if self._ref is not None:
            message = self._context.packer.load_untrusted(envelope)
            self._context.lost(message, self._ref, "no key")


class _NoTunnels(TunnelDispatch):
    """Tunnels and streams: none."""

    __slots__ = ("_entities",)

    def __init__(self, entities: str, *args: Any) -> None:
        super().__init__(*args)
        self._entities = entities

    async def _converse(self, *_: Any) -> NoReturn:
        raise Refused(
            f"the entities of {self._entities!r} take no tunnels and no streams; ask for a page at "
            "a time, or let an ordinary actor stream what it asks of them",
            code="no-tunnel",
        )


class _PassingOn(StoredDispatch):
    """Stored messages of programs that know no shards."""

    __slots__ = ("_inlet",)

    def __init__(self, inlet: AddressInlet, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inlet = inlet

    def _hand_over(self, delivery: DurableDelivery, _ref: ActorRef[Any] | None = None) -> None:
        _hand_on(self._inlet, delivery, self._topic, self._held, self._bury)


class _KeyedDispatch(StatefulDispatch):
    """Stored messages of one shard."""

    __slots__ = ("_inlet",)

    def __init__(self, inlet: ShardInlet, *args: Any, **options: Any) -> None:
        owner = shard_address(inlet.address, inlet.shard)
        keep = getattr(inlet.table.entity, "keeps_results", None)
        super().__init__(inlet.engine, owner, *args, keep=keep, **options)
        self._inlet = inlet

    def key_of(self, envelope: Envelope | None) -> StateKey:
        """See `StatefulDispatch`."""
        return StateKey(self.owner, self._named_in(envelope))

    def _named_in(self, envelope: Envelope | None) -> str:
        return "" if envelope is None else self._inlet.key_in_untrusted(envelope.headers)

    def _hand_over(self, delivery: DurableDelivery, _ref: ActorRef[Any] | None = None) -> None:
        envelope, inlet = delivery.envelope, self._inlet
        key = self._named_in(envelope)
        if not inlet.is_open:
            self.pause.add(_LEFT)  # it would be given out again and again
            self.put_off(delivery, _LATER)
            return
        if not key or not inlet.is_here(key):
            _hand_on(inlet, delivery, self._topic, self._held, self._bury)
            return
        entry = inlet.table.entry_for(key)
        if entry.retry_at:
            self.put_off(delivery, max(0.0, entry.retry_at - self._engine.now()))
        else:
            super()._hand_over(delivery, entry.slot.ref)

    async def _use_up(
        self, stored: StoredMessage, key: StateKey, row: OwnedRight, then: Callable[[], None]
    ) -> None:
        if key.key:  # what is given up is a commit, which its entity makes
            entry = self._inlet.table.entry_for(key.key)
            if not entry.retry_at:
                await self._inlet.table.started(entry)
        await super()._use_up(stored, key, row, then)


def _hand_on(
    inlet: AddressInlet,
    delivery: DurableDelivery,
    topic: str,
    held: dict[bytes, DurableDelivery],
    bury: Callable[..., None],
) -> None:
    """A stored message came to another place than its key says: see the module."""
    stored, envelope = delivery.stored, delivery.envelope
    key = "" if envelope is None else inlet.key_in_untrusted(envelope.headers)
    if envelope is not None:
        held.pop(envelope.id, None)
    if envelope is None or not key:
        bury(stored, envelope, f"it names no key, and {inlet.address} has an entity for each")
    elif not inlet.pass_on(stored, envelope, topic, key):
        bury(stored, envelope, "it cannot be signed anew for the shard that it belongs to")
