"""What a node says of itself in the cluster of all nodes, and how it is written.

The body of a PRESENCE envelope is a plain map; what comes from outside is read field by
field and refused as a whole. See docs/protocol.md. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from actors.texts import sendable
from irismq_runtime.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Announcement", "announcement_fields", "announcement_untrusted"]

_MAX_NAME: Final = 200
#: Characters of the reason that a goodbye gives.
_MAX_WHY: Final = 500


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
