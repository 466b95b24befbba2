"""Which addresses are those of durable actors of this store: where a row is the right.

An address is durable here from the first start of its actor on, which writes a version for
it. That is looked up once; that one is not durable is believed for a while only, and costs no
more than that a row is relayed: its receiver notes the id, as of any other sender.

The address of entities has a state then, which says into how many shards their keys are divided:
so a row goes to the right shard, whatever its sender took for their number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from irismq_runtime.messaging import mailbox_topic, shard_address, shard_of
from irismq_runtime.ports.state_store import ABSENT, StateKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from irismq_runtime.durability.unit import Unit
    from irismq_runtime.ports.state_store import StagedMessage, StateStore, StoredState

__all__ = ["Addressing", "shards_in", "shards_state"]

#: Seconds for which an address that is not durable is not looked up again.
_BELIEVED: Final = 5.0
#: Addresses of which it is remembered.
_MOST: Final = 10_000


#: What is stored at the address of entities, in the form of a state: type, version, codec, body.
_SHARDS: Final = "irismq.entities"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, str, bytes]).decode
_decode_body: Final = msgspec.msgpack.Decoder(dict[str, int]).decode


def shards_state(shards: int) -> bytes:
    """The state that says into how many shards the keys of an address are divided."""
    return _encode((_SHARDS, 1, "", _encode({"shards": shards})))


def shards_in(state: bytes | None) -> int:
    """How many shards a stored state says that there are; 0: it is none of entities."""
    try:
        name, _, _, body = _decode(state or b"")
        return _decode_body(body).get("shards", 0) if name == _SHARDS else 0
    except msgspec.DecodeError:
        return 0


class Addressing:
    """What one node knows of addresses.

    Args:
        store: Asked.
        now: The monotonic time in seconds.
    """

    __slots__ = ("_durable", "_now", "_ordinary", "_store", "shards")

    def __init__(self, store: StateStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._durable: set[str] = set()
        #: When it was looked up.
        self._ordinary: dict[str, float] = {}
        #: Into how many shards the entities of an address are divided.
        self.shards: dict[str, int] = {}

    def add(self, address: str) -> None:
        """The actor of this address is durable."""
        self._durable.add(address)
        self._ordinary.pop(address, None)

    async def learn(self, units: Iterable[Unit]) -> None:
        """Look up the addresses that `units` tell and of which nothing is known.

        Raises `StoreUnavailable`.
        """
        told = {_looked_up(message) for unit in units for message in unit.staged if message.owned}
        unknown = {address for address in told if not self._is_known(address)}
        if not unknown:
            return
        if len(self._ordinary) > _MOST:
            self._ordinary.clear()
        for stored in await self._store.load([StateKey(address) for address in sorted(unknown)]):
            self.seen(stored)

    def seen(self, stored: StoredState) -> None:
        """This is stored for an address."""
        if stored.version == ABSENT:
            self._ordinary[stored.key.address] = self._now()
            return
        self.add(stored.key.address)
        if shards := shards_in(stored.state):
            self.shards[stored.key.address] = shards

    def _is_known(self, address: str) -> bool:
        if address in self._durable:
            return True
        since = self._ordinary.get(address)
        return since is not None and self._now() - since < _BELIEVED

    def is_owned(self, to: StateKey) -> bool | None:
        """Whether a tell to it becomes an owned row; None: that is looked up before the commit."""
        address = to.address.rpartition("#")[0] if to.key else to.address
        if to.key:
            return True if address in self.shards else None
        return True if address in self._durable and address not in self.shards else None

    def row_of(self, message: StagedMessage) -> StagedMessage:
        """The row that a message becomes: owned, or relayed to the topic of its address."""
        if not message.owned:
            return message
        address = _looked_up(message)
        if message.to.key:
            if shards := self.shards.get(address):
                shard = shard_address(address, shard_of(message.to.key, shards))
                if shard == message.to.address:
                    return message
                return replace(message, to=StateKey(shard, message.to.key))
        elif address in self._durable and address not in self.shards:
            return message
        return replace(message, owned=False, to=StateKey(mailbox_topic(message.to.address)))


def _looked_up(message: StagedMessage) -> str:
    """The address by which it is known whether a message is for a durable actor here."""
    address, key = message.to
    return address.rpartition("#")[0] if key else address
