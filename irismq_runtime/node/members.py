"""Who serves what, as far as announcements tell: a pure table.

Knows no socket and no loop; the time is an argument (monotonic seconds). What it
says is an aid and never an authority: an announcement may be late or lost, so
callers still go by deadlines.

A node announces itself with a version number that grows with each change of
what it serves. A heartbeat carries the version alone; a listener that does not
have that version asks for the whole list. Announcements may overtake each other
(Iris keeps no order), so an older version of a node is ignored; a node that said
goodbye stays gone, since each start of a process makes a new node id. Why it went,
if not because it was asked to, it says itself.

Known is one thing, *heard* another: when the relay was away, who served an address
before has yet to join its cluster again, and until then Iris is silent to those who
ask it. So after `doubt` a cluster is heard only once a node has said that its
membership stands; which of its memberships do not, it says with its list. A cluster
that was heard once and is not now is *awaited*. Private clusters count as others do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from actors.texts import sendable
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import NODE_TARGET, private_cluster
from irismq_runtime.refs.directory import MemberInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Announcement",
    "Change",
    "MemberTable",
    "announcement_fields",
    "announcement_untrusted",
]

_MAX_NAME: Final = 200
#: Characters of the reason that a goodbye gives.
_MAX_WHY: Final = 500
#: Goodbyes remembered, so that a late heartbeat does not bring a node back.
_MAX_GONE: Final = 1000


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node says of itself.

    `serves`: (address, urn) of each bound actor; None in a plain heartbeat.
    `want`: the id of a node that is asked to announce itself in full, "*" for
    every node, "" for none. `period`: seconds to the next announcement. `why`: with
    "bye", what made it go unasked; "" for an end that was asked for. `away`: those of
    `serves`, and (private cluster, "@node"), whose memberships are cut off just now.
    """

    node: str
    name: str
    state: Literal["up", "bye"]
    version: int
    period: float
    serves: tuple[tuple[str, str], ...] | None = None
    want: str = ""
    why: str = ""
    away: tuple[tuple[str, str], ...] = ()


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
class _Entry:
    name: str
    version: int = -1
    expires: float = 0.0
    members: dict[tuple[str, str], MemberInfo] = field(default_factory=dict)
    away: tuple[tuple[str, str], ...] = ()
    heard: bool = False


class MemberTable:
    """All nodes heard of. `misses`: announcements in a row that may fail to come."""

    def __init__(self, *, misses: int = 3) -> None:
        self._misses = misses
        self._nodes: dict[str, _Entry] = {}
        self._by_address: dict[str, dict[tuple[str, str], MemberInfo]] = {}
        #: The reasons of goodbyes by node, the latest last.
        self._gone: dict[str, str] = {}
        #: Clusters, each with those of its members (node, urn) that are heard.
        self._heard: dict[str, set[tuple[str, str]]] = {}
        #: Clusters that are awaited.
        self._awaited: set[str] = set()
        self._doubting = False

    def heard(self, said: Announcement, now: float) -> tuple[list[Change], bool]:
        """Take an announcement; the changes, and whether the list must be asked for."""
        if said.node in self._gone:
            return [], False
        if said.state == "bye":
            return self._remove(said.node, said.why), False
        entry = self._nodes.get(said.node)
        if entry is None:
            entry = self._nodes[said.node] = _Entry(said.name)
        entry.expires = now + said.period * (self._misses + 0.5)
        if said.version <= entry.version:
            if said.version == entry.version and not entry.heard:
                self._stand(said.node, entry)
            return [], False
        if said.serves is None:
            return [], True
        entry.version = said.version
        entry.away = said.away
        changes = self._replace(said.node, entry, said.serves)
        self._stand(said.node, entry)
        return changes, False

    def _replace(
        self, node: str, entry: _Entry, serves: tuple[tuple[str, str], ...]
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

    def _drop(self, entry: _Entry, key: tuple[str, str]) -> Change:
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

    def expire(self, now: float) -> list[Change]:
        """Forget the nodes that have been silent too long; they may come back."""
        changes: list[Change] = []
        awaited = set(self._awaited) if self._doubting else set()
        for node in [n for n, e in self._nodes.items() if e.expires < now]:
            changes += self._remove(node)
            del self._gone[node]
        self._awaited |= awaited  # silent, but who could have heard them?
        return changes

    def extend(self, span: float) -> None:
        """Give every node `span` more seconds: it was us who could not hear."""
        for entry in self._nodes.values():
            entry.expires += span

    # Known, heard, awaited ----------------------------------------------------

    def doubt(self) -> None:
        """The relay was away: nobody is heard until he says that he is there again."""
        self._doubting = True
        self._awaited.update(self._heard)
        self._heard.clear()
        for entry in self._nodes.values():
            entry.heard = False

    def believe(self) -> None:
        """There was time enough to speak: who is known counts as heard, nobody is awaited."""
        self._doubting = False
        self._awaited.clear()
        for node, entry in self._nodes.items():
            entry.away = ()
            self._stand(node, entry)

    def _stand(self, node: str, entry: _Entry) -> None:
        """`node` was heard: those of its memberships that are not away stand."""
        entry.heard = True
        for cluster, urn in (*entry.members, (private_cluster(node), NODE_TARGET)):
            heard = self._heard.setdefault(cluster, set())
            if (cluster, urn) in entry.away:
                heard.discard((node, urn))
            else:
                heard.add((node, urn))
            if heard:
                self._awaited.discard(cluster)
            else:
                del self._heard[cluster]
                self._awaited.add(cluster)

    def _forget(self, cluster: str, member: tuple[str, str]) -> None:
        heard = self._heard.get(cluster, set())
        heard.discard(member)
        if not heard:
            self._heard.pop(cluster, None)
            if cluster not in self._by_address:
                self._awaited.discard(cluster)

    def hears(self, cluster: str) -> bool:
        """Whether a member of `cluster` is heard: not only known, but there."""
        return cluster in self._heard

    def awaits(self, cluster: str) -> bool:
        """Whether a member of `cluster` was heard before, and is none now."""
        return cluster in self._awaited

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


def announcement_fields(said: Announcement) -> dict[str, object]:
    """The plain value that goes into the body of a PRESENCE envelope."""
    fields: dict[str, object] = {
        "node": said.node,
        "name": said.name,
        "state": said.state,
        "v": said.version,
        "period": said.period,
    }
    if said.serves is not None:
        fields["serves"] = [list(pair) for pair in said.serves]
    if said.away:
        fields["away"] = [list(pair) for pair in said.away]
    if said.want:
        fields["want"] = said.want
    if said.why:
        fields["why"] = sendable(said.why)[:_MAX_WHY]
    return fields


def announcement_untrusted(value: object) -> Announcement:
    """Read what `announcement_fields` made. Raises `DecodeError`, nothing else."""
    if not isinstance(value, dict):
        raise DecodeError("an announcement is a map")
    period = value.get("period")
    if not isinstance(period, int | float) or not 0 < period <= 3600:
        raise DecodeError("an announcement's period is over 0 and at most an hour")
    return Announcement(
        node=_text(value, "node"),
        name=_text(value, "name"),
        state=_state(value.get("state")),
        version=_count(value, "v"),
        period=float(period),
        serves=_pairs(value.get("serves"), "serves"),
        away=_pairs(value.get("away"), "away") or (),
        want=_text(value, "want") if "want" in value else "",
        why=_text(value, "why", _MAX_WHY) if "why" in value else "",
    )


def _state(value: object) -> Literal["up", "bye"]:
    if value == "up":
        return "up"
    if value == "bye":
        return "bye"
    raise DecodeError("an announcement's state is up or bye")


def _text(value: Mapping[object, object], key: str, most: int = _MAX_NAME) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= most:
        raise DecodeError(f"an announcement's {key} is a text of 1 to {most} characters")
    return text


def _count(value: Mapping[object, object], key: str) -> int:
    count = value.get(key)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise DecodeError(f"an announcement's {key} is a count")
    return count


def _pairs(value: object, key: str) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise DecodeError(f"an announcement's {key} is a list")
    pairs = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DecodeError(f"an announcement's {key} is a list of address and urn")
        address, urn = pair
        if not isinstance(address, str) or not isinstance(urn, str):
            raise DecodeError("address and urn in an announcement are texts")
        pairs.append((address, urn))
    return tuple(pairs)
