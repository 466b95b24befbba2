"""Which addresses have so much waiting in the store that nothing more is told to them.

    owned     counted for who shall handle it
    relayed   counted for who told it: it waits for a broker, whatever it is for

Rows are counted in the store, since other nodes tell and handle as well: each time that this
node has told a tenth of the limit, and every second while it is full and somebody tells. So the
limit is met roughly, and what is far from it costs an addition. Loop thread only, but for
`check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from irismq_runtime.errors import Overloaded, StoreUnavailable

if TYPE_CHECKING:
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports.state_store import OutboxRow, StagedMessage

__all__ = ["Crowding"]

#: An address, and whether it is counted for what it shall handle.
_Place: TypeAlias = tuple[str, bool]
#: Seconds between two counts for an address that is full.
_LOOK_AGAIN: Final = 1.0
#: It is full until so much of the limit is free again.
_ROOM: Final = 0.9


class Crowding:
    """What one node knows of it.

    Args:
        engine: What all activations of the node share.
        most: Rows that may wait for one address.

    Attributes:
        full: The addresses to which nothing is told now, and when each was counted last.
    """

    __slots__ = ("_engine", "_looking", "_most", "_told", "full")

    def __init__(self, engine: DurableEngine, most: int) -> None:
        self._engine = engine
        self._most = most
        #: What this node has told since the last count.
        self._told: dict[_Place, int] = {}
        self._looking: set[_Place] = set()
        self.full: dict[_Place, float] = {}

    def check(self, sender: str, to: str) -> None:
        """Raise `Overloaded` where nothing may be told: to `to`, or by `sender`."""
        for place, whose in (((to, True), f"for {to!r}"), ((sender, False), f"of {sender!r}")):
            if (counted := self.full.get(place)) is not None:
                if self._engine.now() - counted >= _LOOK_AGAIN:
                    self._engine.outbound.system.call_on_loop(self._look, place)
                raise Overloaded(
                    f"{self._most:,} messages {whose} wait in the store (outbox_rows); see why "
                    "nobody takes them: irismq outbox list"
                )

    def told(self, sender: str, row: StagedMessage | OutboxRow) -> None:
        """One more row stands in the store."""
        place = (row.to.address, True) if row.owned else (sender, False)
        told = self._told.get(place, 0) + 1
        if told * 10 >= self._most:
            told = 0
            self._look(place)
        self._told[place] = told

    def _look(self, place: _Place) -> None:
        if place not in self._looking:
            self._looking.add(place)
            self._engine.spawn(self._count(place))

    async def _count(self, place: _Place) -> None:
        engine, (address, owned) = self._engine, place
        try:
            waiting = await engine.store.waiting(address, self._most, owned=owned)
        except StoreUnavailable as fault:
            engine.committer.fault_seen(fault)
            return
        finally:
            self._looking.discard(place)
        if waiting >= self._most or (place in self.full and waiting > self._most * _ROOM):
            self.full[place] = engine.now()
        else:
            self.full.pop(place, None)
