"""Which node serves what, as far as announcements tell: a pure table.

It knows no socket and no loop; the time is an argument (monotonic seconds). What it
says is an aid and never an authority: an announcement may be late or lost, so callers
still go by deadlines.

A node announces itself with a version number that grows with each change of what it
serves. A heartbeat carries the version alone; a listener that does not have that version
asks for the whole list. Announcements may overtake each other (Iris keeps no order), so
an older version of a node is ignored; a node that said goodbye stays gone, since each
start of a process makes a new node id. Why it went, if not because it was asked to, it
says itself.

*Known* is one thing, *confirmed* another: when the relay was away, who served an address
before has yet to join its cluster again, and until then Iris is silent to those who ask
it. So after `mark_stale` a cluster is confirmed only once a node has said that its
membership stands; which of its memberships do not, it says with its list. A cluster that
was confirmed once and is not now is *expected*. Private clusters count as others do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from irismq_runtime.messaging import NODE_TARGET, private_cluster
from irismq_runtime.refs.directory import MemberInfo

if TYPE_CHECKING:
    from irismq_runtime.node.membership.announcements import Announcement

__all__ = ["Change", "MemberTable"]

#: Goodbyes remembered, so that a late heartbeat does not bring a node back.
_MAX_GONE: Final = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """A member came ("joined") or went ("left"), or a whole node ("gone").

    `why`: of a node that is gone, what its goodbye gave as the reason.
    """

    kind: Literal["joined", "left", "gone"]
    node: str
    member: MemberInfo | None = None
    why: str = ""


@dataclass(slots=True)
class _MemberEntry:
    name: str
    version: int = -1
    expires: float = 0.0
    members: dict[tuple[str, str], MemberInfo] = field(default_factory=dict)
    away: tuple[tuple[str, str], ...] = ()
    confirmed: bool = False


class MemberTable:
    """All nodes heard of. `misses`: announcements in a row that may fail to come."""

    def __init__(self, *, misses: int = 3) -> None:
        self._misses = misses
        self._nodes: dict[str, _MemberEntry] = {}
        self._by_address: dict[str, dict[tuple[str, str], MemberInfo]] = {}
        #: The reasons of goodbyes by node, the latest last.
        self._gone: dict[str, str] = {}
        #: Clusters, each with those of its members (node, urn) that are confirmed.
        self._confirmed: dict[str, set[tuple[str, str]]] = {}
        #: Clusters that are expected.
        self._expected: set[str] = set()
        self._stale = False

    def take(self, said: Announcement, now: float) -> tuple[list[Change], bool]:
        """Take an announcement; the changes, and whether the list must be asked for."""
        if said.node in self._gone:
            return [], False
        if said.state == "bye":
            return self._remove(said.node, said.why), False
        if said.state == "lost":
            return self._lose(said.node, said.why), False
        entry = self._nodes.get(said.node)
        if entry is None:
            entry = self._nodes[said.node] = _MemberEntry(said.name)
        entry.expires = now + said.period * (self._misses + 0.5)
        if said.version <= entry.version:
            if said.version == entry.version and not entry.confirmed:
                self._confirm(said.node, entry)
            return [], False
        if said.serves is None:
            return [], True
        entry.version = said.version
        entry.away = said.away
        changes = self._replace(said.node, entry, said.serves)
        self._confirm(said.node, entry)
        return changes, False

    def _replace(
        self, node: str, entry: _MemberEntry, serves: tuple[tuple[str, str], ...]
    ) -> list[Change]:
        wanted = dict.fromkeys(serves)
        changes = [self._drop(entry, key) for key in [k for k in entry.members if k not in wanted]]
        for key in wanted:
            if key not in entry.members:
                info = MemberInfo(node, entry.name, key[0], key[1])
                entry.members[key] = info
                self._by_address.setdefault(key[0], {})[node, key[1]] = info
                changes.append(Change("joined", node, info))
        return changes

    def _drop(self, entry: _MemberEntry, key: tuple[str, str]) -> Change:
        info = entry.members.pop(key)
        members = self._by_address[info.address]
        del members[info.node, info.urn]
        if not members:
            del self._by_address[info.address]
        self._forget(info.address, (info.node, info.urn))
        return Change("left", info.node, info)

    def _remove(self, node: str, why: str = "") -> list[Change]:
        self._gone[node] = why
        while len(self._gone) > _MAX_GONE:
            del self._gone[next(iter(self._gone))]
        entry = self._nodes.pop(node, None)
        if entry is None:
            return []
        changes = [self._drop(entry, key) for key in list(entry.members)]
        self._forget(private_cluster(node), (node, NODE_TARGET))
        changes.append(Change("gone", node, why=why))
        return changes

    def _lose(self, node: str, why: str = "") -> list[Change]:
        """Forget `node`, which may come back."""
        changes = self._remove(node, why)
        del self._gone[node]
        return changes

    def expire(self, now: float) -> list[Change]:
        """Forget the nodes that have been silent too long; they may come back."""
        changes: list[Change] = []
        expected = set(self._expected) if self._stale else set()
        for node in [n for n, e in self._nodes.items() if e.expires < now]:
            changes += self._lose(node)
        self._expected |= expected  # silent, but who could have heard them?
        return changes

    def extend(self, span: float) -> None:
        """Give every node `span` more seconds: it was us who could not hear."""
        for entry in self._nodes.values():
            entry.expires += span

    # Known, confirmed, expected ------------------------------------------------

    def mark_stale(self) -> None:
        """The relay was away: nothing is confirmed until its node says that it is there again."""
        self._stale = True
        self._expected.update(self._confirmed)
        self._confirmed.clear()
        for entry in self._nodes.values():
            entry.confirmed = False

    def accept_stale(self) -> None:
        """There was time enough to speak: who is known is confirmed, nobody is expected."""
        self._stale = False
        self._expected.clear()
        for node, entry in self._nodes.items():
            entry.away = ()
            self._confirm(node, entry)

    def _confirm(self, node: str, entry: _MemberEntry) -> None:
        """`node` was heard: those of its memberships that are not away stand."""
        entry.confirmed = True
        for cluster, urn in (*entry.members, (private_cluster(node), NODE_TARGET)):
            confirmed = self._confirmed.setdefault(cluster, set())
            if (cluster, urn) in entry.away:
                confirmed.discard((node, urn))
            else:
                confirmed.add((node, urn))
            if confirmed:
                self._expected.discard(cluster)
            else:
                del self._confirmed[cluster]
                self._expected.add(cluster)

    def _forget(self, cluster: str, member: tuple[str, str]) -> None:
        confirmed = self._confirmed.get(cluster, set())
        confirmed.discard(member)
        if not confirmed:
            self._confirmed.pop(cluster, None)
            if cluster not in self._by_address:
                self._expected.discard(cluster)

    def is_confirmed(self, cluster: str) -> bool:
        """Whether a member of `cluster` is confirmed: not only known, but there."""
        return cluster in self._confirmed

    def is_expected(self, cluster: str) -> bool:
        """Whether a member of `cluster` was confirmed before, and none is now."""
        return cluster in self._expected

    def serves(self, address: str) -> bool:
        """Whether anybody is known to serve `address`."""
        return address in self._by_address

    def members(self, address: str) -> tuple[MemberInfo, ...]:
        """Every known member of `address`."""
        return tuple(self._by_address.get(address, {}).values())

    def addresses(self) -> tuple[str, ...]:
        """Every address that somebody serves, sorted."""
        return tuple(sorted(self._by_address))

    def knows(self, node: str) -> bool:
        """Whether `node` is up, as far as heard."""
        return node in self._nodes

    def goodbyes(self) -> dict[str, str]:
        """Why the nodes went that said goodbye, by id: "" as they were asked to."""
        return dict(self._gone)

    def nodes(self) -> dict[str, str]:
        """Id and name of every node heard of."""
        return {node: entry.name for node, entry in self._nodes.items()}
