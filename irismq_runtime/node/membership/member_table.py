"""Which node serves what, as far as announcements tell: a pure table.

It knows no socket and no loop; the time is an argument (monotonic seconds). What it
says is an aid and never an authority: an announcement may be late or lost, so callers
still go by deadlines.

A node announces itself with a version number that grows with each change of what it
serves. Changes lead from one version to the next; a beat carries the version alone. A
listener that lacks some is *behind* until it has them, be it told (format 1) or by asking.
Announcements may overtake each other (Iris keeps no order), so an older version of a node
is ignored; a node that said goodbye stays gone, since each start of a process makes a new
node id. Why it went, if not because it was asked to, it says itself.

*Known* is one thing, *confirmed* another: when the relay was away, who served an address
before has yet to join its cluster again, and until then Iris is silent to those who ask
it. So after `mark_stale` a cluster is confirmed only once a node has said that its
membership stands; which of its memberships do not, it says with its list. A cluster that
was confirmed once and is not now is *expected*. Private clusters count as others do.

Anybody who reaches the relay can announce nodes that do not exist. So what is remembered
is bounded (`MEMORY`), and a node that would exceed it is not taken, or only a part of
what it serves: then it stays behind. Nobody is remembered for longer than the misses of
the longest period.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from irismq_runtime.messaging import NODE_TARGET, private_cluster
from irismq_runtime.node.membership.announcements import FORMAT
from irismq_runtime.node.membership.cadence import silence_of
from irismq_runtime.refs.directory import MemberInfo

if TYPE_CHECKING:
    from irismq_runtime.node.membership.announcements import Announcement, Pair

__all__ = ["Change", "MemberTable"]

#: Goodbyes remembered, so that a late beat does not bring a node back.
_MAX_GONE: Final = 10_000
#: Bytes that all nodes and what they serve may take, as counted here: some 300,000 pairs.
MEMORY: Final = 256 * 1024 * 1024
#: Bytes that a node takes, and each pair that it serves besides its texts.
_NODE: Final = 2048
_PAIR: Final = 640
#: Seconds for which an announcement may be on its way. An older version that comes later
#: than that, after a newer one, is no straggler: one of the two was not the node's.
_ON_ITS_WAY: Final = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """A member came ("joined") or went ("left"), or a whole node ("gone").

    `why`: of a node that is gone, what its goodbye gave as the reason.
    """

    kind: Literal["joined", "left", "gone"]
    node: str
    member: MemberInfo | None = None
    why: str = ""


class _MemberEntry:
    """One node."""

    __slots__ = (
        "away",
        "confirmed",
        "cost",
        "expires",
        "format",
        "lives",
        "members",
        "name",
        "named",
        "newest",
        "no_room",
        "raised",
        "version",
    )

    def __init__(self, name: str, format: int) -> None:  # noqa: A002  # the field's name
        self.name = name
        self.format = format
        #: The version of `members`; before the first list of format 1 there is none.
        self.version = 0 if format > 1 else -1
        #: The latest version heard of.
        self.newest = self.version
        #: When `version` changed last.
        self.raised = float("-inf")
        self.expires = 0.0
        #: Something was heard of it that is not old.
        self.lives = False
        self.members: dict[Pair, MemberInfo] = {}
        self.away: dict[Pair, None] = {}
        self.confirmed = False
        #: Its list is read anew: those that were named in it so far. None: it is not.
        self.named: dict[Pair, None] | None = None
        #: Some pairs were left out.
        self.no_room = False
        self.cost = _NODE


class MemberTable:
    """All nodes heard of.

    Args:
        misses: Announcements in a row that may fail to come.
        own: The id of this node, whose changes are taken from it directly.
    """

    def __init__(self, *, misses: int = 3, own: str = "") -> None:
        self._misses = misses
        self._own = own
        self._nodes: dict[str, _MemberEntry] = {}
        self._by_address: dict[str, dict[Pair, MemberInfo]] = {}
        #: The reasons of goodbyes by node, the latest last.
        self._gone: dict[str, str] = {}
        #: Clusters, each with those of its members (node, urn) that are confirmed.
        self._confirmed: dict[str, set[Pair]] = {}
        #: Clusters that are expected.
        self._expected: set[str] = set()
        self._stale = False
        #: Nodes whose list is not known to its last version.
        self._behind: dict[str, None] = {}
        self._cost = 0
        #: Announcements of unknown nodes, and pairs, for which there was no room.
        self.refused = 0

    def take(
        self, said: Announcement, now: float, *, reply: bool = False, old: bool = False
    ) -> tuple[list[Change], bool]:
        """Take an announcement; the changes, and whether the node is behind.

        `reply`: it answers a question of ours, and so knows best which version there is.
        `old`: it was said some time ago, so that the node may be gone. What one serves of which
        nothing else is known it has to say itself, when it is asked.
        """
        if said.node in self._gone:
            return [], False
        if said.state == "bye":
            self._note_goodbye(said.node, said.why)
            return self._remove(said.node, said.why), False
        if said.state == "lost":  # it may come back
            return self._remove(said.node, said.why), False
        entry = self._nodes.get(said.node) or self._enter(said)
        if entry is None:
            return [], False
        entry.expires = now + silence_of(said.period, self._misses)
        entry.lives = entry.lives or reply or not old
        if not entry.lives:
            said = msgspec.structs.replace(said, serves=None, since=None, has=())
        if said.node == self._own:
            if not entry.confirmed:
                self._confirm(said.node, entry)
            return [], False
        changes = self._advance(said, entry, now, reply=reply)
        if said.version == entry.version and not entry.confirmed:
            self._confirm(said.node, entry)
        return changes, self._note_behind(said.node, entry)

    def _advance(
        self, said: Announcement, entry: _MemberEntry, now: float, *, reply: bool
    ) -> list[Change]:
        """Come to the version of which `said` tells, or note that there is one."""
        before = entry.version
        if reply and said.since == 0 and entry.version:
            entry.named = {}
            entry.version = 0
        newest = max(said.version, said.last)
        entry.newest = max(entry.version, newest) if reply else max(entry.newest, newest)
        if newest < entry.version and now > entry.raised + _ON_ITS_WAY:
            self._doubt(entry, newest)
        changes = self._changed(said, entry)
        if entry.version != before:
            entry.raised = now
        return changes

    @staticmethod
    def _doubt(entry: _MemberEntry, newest: int) -> None:
        """Its version was raised by somebody else: the node itself has to be asked.

        One of format 1 cannot be; what it tells next is taken, whatever the version.
        """
        if entry.format > 1:
            entry.newest = entry.version + 1
        else:
            entry.version, entry.newest = -1, newest

    def beats(self, said: Announcement, now: float) -> bool:
        """Take a beat by which nothing changes; False if it is none, and `take` has to see it."""
        entry = self._nodes.get(said.node)
        if entry is None or not entry.confirmed or not said.is_beat:
            return False
        if not said.version == entry.version == entry.newest or said.node == self._own:
            return False
        entry.expires = now + silence_of(said.period, self._misses)
        return True

    def _note_behind(self, node: str, entry: _MemberEntry) -> bool:
        behind = entry.version < entry.newest
        if behind or entry.no_room:
            self._behind[node] = None
        elif node in self._behind:
            del self._behind[node]
        return behind

    def _enter(self, said: Announcement) -> _MemberEntry | None:
        if self._cost + _NODE > MEMORY and said.node != self._own:
            self.refused += 1
            return None
        return self._new_entry(said.node, said.name, said.format)

    def _new_entry(self, node: str, name: str, format: int) -> _MemberEntry:  # noqa: A002  # as above
        entry = self._nodes[node] = _MemberEntry(name, format)
        self._cost += entry.cost
        return entry

    def _changed(self, said: Announcement, entry: _MemberEntry) -> list[Change]:
        """Do what `said` says of the list, if it leads on from what is known."""
        changes: list[Change] = []
        if said.serves is not None and not said.cut:
            if said.version > entry.version:
                entry.version = said.version
                entry.away = {}
                changes = self._replace(said.node, entry, said.serves)
                for pair in said.away:
                    self._cut_off(entry, pair)
                self._confirm(said.node, entry)
        elif said.since is not None and said.since <= entry.version < said.version:
            entry.version = said.version
            changes = self._apply(said.node, entry, said.add, said.drop, said.away)
        if said.has and said.version >= entry.version:
            cut_off = set(said.away)
            stands = tuple(pair for pair in said.has if pair not in cut_off)
            changes += self._apply(said.node, entry, stands, (), said.away)
        if entry.named is not None and entry.version == entry.newest:
            named, entry.named = entry.named, None
            if len(named) < len(entry.members):
                changes += [self._drop(entry, p) for p in list(entry.members) if p not in named]
        return changes

    def own_change(
        self, name: str, *, add: tuple[Pair, ...] = (), drop: tuple[Pair, ...] = (),
        away: tuple[Pair, ...] = (),
    ) -> list[Change]:  # fmt: skip
        """This node, of that name, serves something from now on, or does not any more."""
        entry = self._nodes.get(self._own)
        if entry is None:
            entry = self._new_entry(self._own, name, FORMAT)
            self._confirm(self._own, entry)
        return self._apply(self._own, entry, add, drop, away)

    def _apply(
        self,
        node: str,
        entry: _MemberEntry,
        add: tuple[Pair, ...],
        drop: tuple[Pair, ...],
        away: tuple[Pair, ...],
    ) -> list[Change]:
        changes = [self._drop(entry, pair) for pair in drop if pair in entry.members]
        for pair in drop:
            entry.away.pop(pair, None)
        for pair in add:
            entry.away.pop(pair, None)
            changes += self._join(node, entry, pair)
        for pair in away:
            changes += self._join(node, entry, pair)
            self._cut_off(entry, pair)
        if entry.confirmed:
            for pair in (*add, *away):
                self._confirm_pair(node, entry, pair)
        return changes

    @staticmethod
    def _cut_off(entry: _MemberEntry, pair: Pair) -> None:
        """Note it of what is remembered, and so is bounded, alone."""
        if pair in entry.members or pair[1] == NODE_TARGET:
            entry.away[pair] = None

    def _join(self, node: str, entry: _MemberEntry, pair: Pair) -> list[Change]:
        if pair[1] == NODE_TARGET:
            return []
        if pair in entry.members:
            self._note_named(entry, pair)
            return []
        cost = _PAIR + 2 * (len(pair[0]) + len(pair[1]))
        if self._cost + cost > MEMORY and node != self._own:
            self.refused += 1
            entry.no_room = True
            return []
        self._cost += cost
        entry.cost += cost
        info = MemberInfo(node, entry.name, pair[0], pair[1])
        entry.members[pair] = info
        self._note_named(entry, pair)
        self._by_address.setdefault(pair[0], {})[node, pair[1]] = info
        return [Change("joined", node, info)]

    @staticmethod
    def _note_named(entry: _MemberEntry, pair: Pair) -> None:
        """Note it of what is remembered, and so is bounded, alone."""
        if entry.named is not None:
            entry.named[pair] = None

    def _replace(self, node: str, entry: _MemberEntry, serves: tuple[Pair, ...]) -> list[Change]:
        wanted = dict.fromkeys(serves)
        entry.named = None
        entry.no_room = False
        changes = [self._drop(entry, key) for key in [k for k in entry.members if k not in wanted]]
        for key in wanted:
            changes += self._join(node, entry, key)
        return changes

    def _drop(self, entry: _MemberEntry, key: Pair) -> Change:
        info = entry.members.pop(key)
        entry.away.pop(key, None)
        if entry.named is not None:
            entry.named.pop(key, None)
        cost = _PAIR + 2 * (len(key[0]) + len(key[1]))
        entry.cost -= cost
        self._cost -= cost
        members = self._by_address[info.address]
        del members[info.node, info.urn]
        if not members:
            del self._by_address[info.address]
        self._forget(info.address, (info.node, info.urn))
        return Change("left", info.node, info)

    def _note_goodbye(self, node: str, why: str) -> None:
        self._gone[node] = why
        while len(self._gone) > _MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def _remove(self, node: str, why: str = "") -> list[Change]:
        entry = self._nodes.pop(node, None)
        if entry is None:
            return []
        self._behind.pop(node, None)
        changes = [self._drop(entry, key) for key in list(entry.members)]
        self._cost -= entry.cost
        self._forget(private_cluster(node), (node, NODE_TARGET))
        changes.append(Change("gone", node, why=why))
        return changes

    def expire(self, now: float) -> list[Change]:
        """Forget the nodes that have been silent too long; they may come back."""
        changes: list[Change] = []
        expected = set(self._expected) if self._stale else set()
        for node in [n for n, e in self._nodes.items() if e.expires < now and n != self._own]:
            changes += self._remove(node)
        self._expected |= expected  # silent, but who could have heard them?
        return changes

    def extend(self, span: float) -> None:
        """Give every node `span` more seconds: it was this one that could not hear."""
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
            entry.away = {}
            self._confirm(node, entry)

    def _confirm(self, node: str, entry: _MemberEntry) -> None:
        """`node` was heard: those of its memberships that are not away stand."""
        entry.confirmed = True
        for pair in (*entry.members, (private_cluster(node), NODE_TARGET)):
            self._confirm_pair(node, entry, pair)

    def _confirm_pair(self, node: str, entry: _MemberEntry, pair: Pair) -> None:
        cluster, urn = pair
        if urn != NODE_TARGET and pair not in entry.members:
            return  # there was no room
        confirmed = self._confirmed.setdefault(cluster, set())
        if pair in entry.away:
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

    # What is known ---------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether all that was announced is known: what is not here is not there."""
        return not self._behind

    def version(self, node: str) -> int:
        """The version of the list of `node` that is known; 0 for none."""
        entry = self._nodes.get(node)
        return 0 if entry is None else max(entry.version, 0)

    def is_behind(self, node: str) -> bool:
        """Whether the list of `node` is known to change, and how is not."""
        entry = self._nodes.get(node)
        return entry is not None and entry.version < entry.newest

    def format(self, node: str) -> int:
        """Which format `node` speaks."""
        entry = self._nodes.get(node)
        return FORMAT if entry is None else entry.format

    def has_released(self) -> bool:
        """Whether a node speaks the released protocol."""
        return any(entry.format == 1 for entry in self._nodes.values())

    def __len__(self) -> int:
        """How many nodes are known, this one included if it was heard."""
        return len(self._nodes)

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
