"""Which node should have which shard, and what a node does about it: pure functions.

    home_of       where a shard belongs, among the nodes that live: the same answer on each of
                  them, without a word between them, and few shards move when one comes or goes;
                  or where an operator has moved it, while that node lives
    Sightings     who lives, by beats: a node is gone when the same beat has been seen for the time
                  of a lease on one's own clock. Clocks of hosts are not compared
    decide        what to take, to give up and to let go of, from what the store says

Nothing here decides who *may* write: that is the version of each key. A wrong decision costs
time, and no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from irismq_runtime.messaging import shard_address

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["LEASE", "Decision", "Sightings", "decide", "home_of"]

#: Seconds for which the same beat may be seen before its node is taken for gone; and for which a
#: node owns its shards after it began to write a beat.
LEASE: Final = 15.0


def home_of(address: str, shard: int, nodes: Iterable[str]) -> str:
    """Return the node that a shard belongs to, among `nodes`; "" where there is none.

    Each node is weighed with the shard, and the heaviest has it (rendezvous hashing).
    """
    name = shard_address(address, shard)
    return max(nodes, key=lambda node: (_weight(node, name), node), default="")


def _weight(node: str, name: str) -> bytes:
    return blake2b(f"{node}\0{name}".encode(), digest_size=8).digest()


class Sightings:
    """When the latest beat of each node was seen first. Times are of one's own clock.

    Args:
        lease: Seconds, see `LEASE`.
    """

    def __init__(self, lease: float = LEASE) -> None:
        self._lease = lease
        #: The beat, and when it was seen first.
        self._seen: dict[str, tuple[int, float]] = {}

    def see(
        self,
        beats: Mapping[str, int],
        now: float,
        gone: Collection[str] = (),
    ) -> frozenset[str]:
        """Take what stands in the store now; who lives.

        Args:
            beats: The latest beat of each node that has a row.
            now: The time at which they were asked for.
            gone: Nodes of which it is known otherwise that they are gone.
        """
        seen = self._seen
        for node, beat in beats.items():
            if node not in seen or seen[node][0] != beat:
                seen[node] = (beat, now)
        for node in seen.keys() - beats.keys():
            del seen[node]
        return frozenset(
            node for node, (_, at) in seen.items() if now - at < self._lease and node not in gone
        )

    def unseen_for(self, node: str, now: float) -> float:
        """Seconds since the beat of `node` changed."""
        return now - self._seen[node][1] if node in self._seen else 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What a node does with the shards of one address.

    Attributes:
        take: Shards to take: their owners are gone, or there are none.
        give: Shards to give up in order: they belong to another node.
        lost: Shards that another node has by now.
        due: Shards that belong here and that their owners have yet to give up.
    """

    take: tuple[int, ...] = ()
    give: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    due: tuple[int, ...] = ()


def decide(
    me: str,
    address: str,
    owners: Mapping[int, str],
    held: Collection[int],
    live: Collection[str],
    *,
    may_give: bool,
    pins: Mapping[int, str] = MappingProxyType({}),
    avoids: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Decision:
    """What `me` does now.

    Args:
        me: The id of the node that asks.
        address: Of the entities.
        owners: Who owns each shard as the store says; "" for nobody.
        held: The shards that this node works on, or is about to.
        live: The nodes that live and have entities of this address; `me` is one of them.
        may_give: Whether the time has come to give up what belongs to others.
        pins: Where shards have been moved by an operator; it counts while that node lives.
        avoids: The addresses of shards that each node does not want; where none does, as without.
    """
    take: list[int] = []
    give: list[int] = []
    lost: list[int] = []
    due: list[int] = []
    for shard, owner in owners.items():
        pinned = pins.get(shard)
        name = shard_address(address, shard)
        wanting = [node for node in live if name not in avoids.get(node, ())] or live
        home = pinned if pinned in wanting and pinned else home_of(address, shard, wanting)
        if owner == me:
            if shard not in held:
                take.append(shard)
            elif home != me and may_give:
                give.append(shard)
        elif shard in held:
            lost.append(shard)
        elif home == me:
            (due if owner in live else take).append(shard)
    return Decision(tuple(take), tuple(give), tuple(lost), tuple(due))
