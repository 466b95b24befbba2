"""Which addresses are those of durable actors of this store: where a row is the right.

An address is durable here from the first start of its actor on, which writes a version for
it. That is looked up once; that one is not durable is believed for a while only, and costs no
more than that a row is relayed: its receiver notes the id, as of any other sender.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from irismq_runtime.messaging import mailbox_topic
from irismq_runtime.ports.state_store import ABSENT, StateKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from irismq_runtime.durability.unit import Unit
    from irismq_runtime.ports.state_store import StagedMessage, StateStore

__all__ = ["Addressing"]

#: Seconds for which an address that is not durable is not looked up again.
_BELIEVED: Final = 5.0
#: Addresses of which it is remembered.
_MOST: Final = 10_000


class Addressing:
    """What one node knows of addresses.

    Args:
        store: Asked.
        now: The monotonic time in seconds.
    """

    __slots__ = ("_durable", "_now", "_ordinary", "_store")

    def __init__(self, store: StateStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._durable: set[str] = set()
        #: When it was looked up.
        self._ordinary: dict[str, float] = {}

    def add(self, address: str) -> None:
        """The actor of this address is durable."""
        self._durable.add(address)
        self._ordinary.pop(address, None)

    async def learn(self, units: Iterable[Unit]) -> None:
        """Look up the addresses that `units` tell and of which nothing is known.

        Raises `StoreUnavailable`.
        """
        unknown = {
            message.to.address
            for unit in units
            for message in unit.staged
            if message.owned and not self._is_known(message.to.address)
        }
        if not unknown:
            return
        if len(self._ordinary) > _MOST:
            self._ordinary.clear()
        for stored in await self._store.load([StateKey(address) for address in sorted(unknown)]):
            if stored.version == ABSENT:
                self._ordinary[stored.key.address] = self._now()
            else:
                self.add(stored.key.address)

    def _is_known(self, address: str) -> bool:
        if address in self._durable:
            return True
        since = self._ordinary.get(address)
        return since is not None and self._now() - since < _BELIEVED

    def row_of(self, message: StagedMessage) -> StagedMessage:
        """The row that a message becomes: owned, or relayed to the topic of its address."""
        if not message.owned or message.to.address in self._durable:
            return message
        return replace(message, owned=False, to=StateKey(mailbox_topic(message.to.address)))
