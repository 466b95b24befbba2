"""What a node says of itself to the other nodes, and how it is written.

The body of a PRESENCE envelope is a plain map; what comes from outside is checked field by
field (msgspec, by the types of `Announcement`) and refused as a whole. A node speaks for
itself alone: nothing that another one says of it is taken, but for its own last will,
which it has signed before. Format 1 is that of the released protocol: whole lists, told to
everybody. Format 2 tells differences, and answers those who ask. See docs/protocol.md. Pure.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from actors.texts import sendable
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import NODE_TARGET, private_cluster

__all__ = [
    "EVERYBODY",
    "FORMAT",
    "LONGEST_ADDRESS",
    "LONGEST_URN",
    "MOST_SOUGHT",
    "Announcement",
    "Pair",
    "announcement_fields",
    "announcement_in_bytes_untrusted",
    "announcement_untrusted",
]

#: What this code speaks.
FORMAT: Final = 2
#: A `want` that every node answers.
EVERYBODY: Final = "*"
#: Characters of an address (Iris carries no longer name of a cluster) and of a urn.
LONGEST_ADDRESS: Final = 1024
LONGEST_URN: Final = 400
#: Characters of the reason that a goodbye gives.
_MAX_WHY: Final = 500
#: Addresses that one announcement asks for.
MOST_SOUGHT: Final = 1000

#: Address and urn of an actor that is bound.
Pair = tuple[str, str]
# The same as they are read: what is not so is refused.
_Address = Annotated[str, msgspec.Meta(max_length=LONGEST_ADDRESS)]
_Pairs = tuple[tuple[_Address, Annotated[str, msgspec.Meta(max_length=LONGEST_URN)]], ...]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Why = Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_WHY)]
_Sought = Annotated[tuple[_Address, ...], msgspec.Meta(max_length=MOST_SOUGHT)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
_State = Literal["up", "bye", "lost"]


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says of itself. Pairs are (address, urn), each of a bound actor.

    Its fields stand in the order in which they are written.

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

    node: _Name
    name: _Name
    state: _State
    version: _Count = msgspec.field(name="v")
    period: _Seconds
    serves: _Pairs | None = None
    since: _Count | None = None
    add: _Pairs = ()
    drop: _Pairs = ()
    has: _Pairs = ()
    away: _Pairs = ()
    seek: _Sought = ()
    want: _Name = ""
    why: _Why = ""
    last: _Count = 0
    nodes: _Count = 0
    cut: bool = False
    format: _Count = 1

    @property
    def is_beat(self) -> bool:
        """Whether it says no more than that the node is there, and at which version."""
        said_at_most = (self.serves, self.since, self.want, self.seek, self.has, self.nodes)
        return self.state == "up" and said_at_most == _NOTHING_MORE


_decode: Final = msgspec.msgpack.Decoder(Announcement).decode
_encode: Final = msgspec.msgpack.Encoder().encode
#: How msgpack begins a map of few entries.
_FIXMAP: Final = 0x80
_NOTHING_MORE: Final = (None, None, "", (), (), 0)


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
    """Read what `announcement_fields` made. Raises `DecodeError`, nothing else.

    What it does not know, a newer node says to newer ones.
    """
    try:
        said = msgspec.convert(value, Announcement)
    except msgspec.ValidationError as error:
        raise DecodeError(f"not an announcement: {error}") from error
    return _checked(said)


def announcement_in_bytes_untrusted(body: bytes) -> Announcement | None:
    """Read a body that is as `announcement_fields` and the codec write it; of others None.

    A tenth of the work of the way over a plain value: written again it has the same bytes,
    so that no key was there twice, or unknown. Raises `DecodeError`, nothing else.
    """
    try:
        said = _decode(body)
        again = _encode(said)  # with the long form of its header
        if body[0] != _FIXMAP | again[2] or body[1:] != again[3:]:
            return None
    except Exception:  # the other way knows it after all, or has words for what is wrong
        return None
    return _checked(said)


def _checked(said: Announcement) -> Announcement:
    """Return it, unless it speaks of the cluster of another node: then raise `DecodeError`."""
    for pairs in (said.serves, said.add, said.drop, said.has, said.away):
        if pairs and any(urn == NODE_TARGET for _, urn in pairs):
            own = private_cluster(said.node)
            if any(urn == NODE_TARGET and address != own for address, urn in pairs):
                raise DecodeError(f"a node is {NODE_TARGET} in its own cluster alone")
    return said
