"""What a node says of itself to the other nodes, and how it is written.

The body of a PRESENCE envelope is a plain map; what comes from outside is read field by
field and refused as a whole. A node speaks for itself alone: nothing that another one
says of it is taken, but for its own last will, which it has signed before. Format 1 is
that of the released protocol: whole lists, told to everybody. Format 2 tells differences,
and answers those who ask. See docs/protocol.md. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from actors.texts import sendable
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import NODE_TARGET, private_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "EVERYBODY",
    "FORMAT",
    "LONGEST_ADDRESS",
    "LONGEST_URN",
    "MOST_SOUGHT",
    "Announcement",
    "Pair",
    "announcement_fields",
    "announcement_untrusted",
]

#: What this code speaks.
FORMAT: Final = 2
#: A `want` that every node answers.
EVERYBODY: Final = "*"
#: Characters of an address (Iris carries no longer name of a cluster) and of a urn.
LONGEST_ADDRESS: Final = 1024
LONGEST_URN: Final = 400
_MAX_NAME: Final = 200
#: Characters of the reason that a goodbye gives.
_MAX_WHY: Final = 500
#: Addresses that one announcement asks for.
MOST_SOUGHT: Final = 1000

#: Address and urn of an actor that is bound.
Pair = tuple[str, str]
_Pairs = tuple[Pair, ...]
_STATES: Final[Mapping[object, Literal["up", "bye", "lost"]]] = {
    "up": "up",
    "bye": "bye",
    "lost": "lost",
}


class Announcement(msgspec.Struct, frozen=True):
    """What a node says of itself. Pairs are (address, urn), each of a bound actor.

    Attributes:
        node: Its id, which is of one run of its process.
        name: Its name, for people.
        state: "bye" at its end; "lost" in its last will, which its relay says for it.
        version: Of the list of what it serves; 0 is the empty list of the start.
        period: Seconds to its next announcement, at most.
        serves: The whole list; None where it is not told.
        want: The id of a node that is asked to announce itself in full, `EVERYBODY`, or "".
        why: With "bye" and "lost": what made it end; "" if it was asked to.
        away: Pairs, and (private cluster, "@node"), whose memberships are cut off: of the
            whole list, of those in `has`, or, with `since`, those that are now.
        format: What the node speaks.
        since: With changes: the version that they lead on from; None where there are none.
        add: With `since`: pairs that are served now and were not, or were cut off.
        drop: With `since`: pairs that are not served any more.
        last: With `since`: the version of the list by now, if these changes do not reach it.
        has: Those of the pairs served that were sought.
        seek: Addresses; nodes that serve one of them are asked to say so.
        nodes: How many nodes it knows, itself included; 0: it does not say.
        cut: Whether `serves` is only the beginning of the list, as the rest has no room.
    """

    node: str
    name: str
    state: Literal["up", "bye", "lost"]
    version: int
    period: float
    serves: _Pairs | None = None
    want: str = ""
    why: str = ""
    away: _Pairs = ()
    format: int = 1
    since: int | None = None
    add: _Pairs = ()
    drop: _Pairs = ()
    last: int = 0
    has: _Pairs = ()
    seek: tuple[str, ...] = ()
    nodes: int = 0
    cut: bool = False


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
        fields["serves"] = _lists(said.serves)
    if said.since is not None:
        fields["since"] = said.since
    pairs = {"add": said.add, "drop": said.drop, "has": said.has, "away": said.away}
    fields |= {key: _lists(value) for key, value in pairs.items() if value}
    rest = {
        "seek": list(said.seek),
        "want": said.want,
        "why": sendable(said.why)[:_MAX_WHY],
        "last": said.last,
        "nodes": said.nodes,
        "cut": said.cut,
    }
    fields |= {key: value for key, value in rest.items() if value}
    if said.format != 1:
        fields["format"] = said.format
    return fields


def _lists(pairs: _Pairs) -> list[list[str]]:
    return [list(pair) for pair in pairs]


def announcement_untrusted(value: object) -> Announcement:
    """Read what `announcement_fields` made. Raises `DecodeError`, nothing else."""
    if not isinstance(value, dict):
        raise DecodeError("an announcement is a map")
    state = value.get("state")
    if not isinstance(state, str) or state not in _STATES:
        raise DecodeError("an announcement's state is up, bye or lost")
    period = value.get("period")
    if not isinstance(period, int | float) or not 0 < period <= 3600:
        raise DecodeError("an announcement's period is over 0 and at most an hour")
    node, name, version = _text(value, "node"), _text(value, "name"), _count(value, "v")
    more: dict[str, Any] = {}
    for key in value.keys() - _BASIC:
        reader = _READERS.get(key)
        if reader is not None:  # what it does not know, a newer node says to newer ones
            more[key] = reader(value, key)
    said = Announcement(node, name, _STATES[state], version, float(period), **more)
    own = private_cluster(node)
    for pairs in (said.serves or (), said.add, said.drop, said.has, said.away):
        if any(urn == NODE_TARGET and address != own for address, urn in pairs):
            raise DecodeError(f"a node is {NODE_TARGET} in its own cluster alone")
    return said


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


def _pairs(value: Mapping[object, object], key: str) -> _Pairs:
    found = value[key]
    if not isinstance(found, list | tuple):
        raise DecodeError(f"an announcement's {key} is a list")
    pairs = []
    for pair in found:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DecodeError(f"an announcement's {key} is a list of address and urn")
        address, urn = pair
        if not isinstance(address, str) or not isinstance(urn, str):
            raise DecodeError("address and urn in an announcement are texts")
        if len(address) > LONGEST_ADDRESS or len(urn) > LONGEST_URN:
            raise DecodeError("address or urn in an announcement is too long")
        pairs.append((address, urn))
    return tuple(pairs)


def _optional_pairs(value: Mapping[object, object], key: str) -> _Pairs | None:
    return None if value[key] is None else _pairs(value, key)


def _sought(value: Mapping[object, object], key: str) -> tuple[str, ...]:
    found = value[key]
    if not isinstance(found, list | tuple) or len(found) > MOST_SOUGHT:
        raise DecodeError(f"an announcement seeks a list of at most {MOST_SOUGHT} addresses")
    for address in found:
        if not isinstance(address, str) or len(address) > LONGEST_ADDRESS:
            raise DecodeError("an announcement seeks addresses")
    return tuple(found)


def _reason(value: Mapping[object, object], key: str) -> str:
    return _text(value, key, _MAX_WHY)


def _yes(value: Mapping[object, object], key: str) -> bool:
    return value[key] is True


#: What every announcement has,
_BASIC: Final = frozenset({"node", "name", "state", "v", "period"})
#: and how the rest is read.
_READERS: Final[Mapping[object, Callable[[Mapping[object, object], str], Any]]] = {
    "serves": _optional_pairs,
    "want": _text,
    "why": _reason,
    "away": _pairs,
    "format": _count,
    "since": _count,
    "add": _pairs,
    "drop": _pairs,
    "last": _count,
    "has": _pairs,
    "seek": _sought,
    "nodes": _count,
    "cut": _yes,
}
