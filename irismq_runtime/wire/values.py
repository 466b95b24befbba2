"""Scalars that neither msgpack nor JSON knows: the name, code and text of each.

Every codec carries them as their text, so that a peer in any language needs a
date parser and no bit layout. Texts are ISO 8601 where it has a form. Types are
taken exactly: a subclass would arrive as its base, so it is refused instead.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LEAVES",
    "MARKED",
    "REF",
    "SCALARS",
    "NotEncodable",
    "ScalarType",
    "Tagged",
]


class NotEncodable(Exception):
    """A value that cannot go on the wire; becomes an `EncodeError` with its path.

    `trail` leads to the value from where the error is caught, innermost first.
    `everywhere`: there is no one place in the value to look for.
    """

    def __init__(self, reason: str, *, everywhere: bool = False) -> None:
        self.reason = reason
        self.everywhere = everywhere
        self.trail: list[str] = []
        super().__init__(reason)

    @property
    def path(self) -> str:
        """The way to the value, from the outside in."""
        return "$" + "".join(reversed(self.trail))


class Tagged(NamedTuple):
    """A value that a codec must mark with its `name`, as codecs see it.

    `payload` is the text of a scalar type, or the elements of a marked list
    (`MARKED`): the members of a tuple or set, or [type name, fields] of an
    object.
    """

    name: str
    payload: Any


class ScalarType(NamedTuple):
    """One extension type: its name in JSON, its code in msgpack, its text."""

    name: str
    code: int
    type: type
    to_text: Callable[[Any], str]
    from_text: Callable[[str], object]


#: Lists that arrive as something else: name -> the byte that marks them.
MARKED: Final[dict[str, bytes]] = {"tuple": b"t", "set": b"s", "frozenset": b"f", "object": b"o"}

_MICROSECONDS: Final = timedelta(microseconds=1)


def _datetime_text(value: datetime) -> str:
    if value.utcoffset() is None:
        raise NotEncodable(
            "a datetime without a zone names no instant; give it one, as in datetime.now(UTC)"
        )
    return value.isoformat()


def _datetime_from(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.utcoffset() is None:
        raise ValueError("a datetime without an offset")
    return value


def _time_text(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise NotEncodable("a time whose zone has no offset without a date; send a datetime")
    return value.isoformat()


def _int_from(text: str) -> int:
    value = int(text, 16)
    if format(value, "x") != text:
        raise ValueError("not the shortest hexadecimal form")
    return value


def _timedelta_from(text: str) -> timedelta:
    return timedelta(microseconds=int(text))


SCALARS: Final = (
    ScalarType("int", 2, int, lambda v: format(v, "x"), _int_from),
    ScalarType("datetime", 3, datetime, _datetime_text, _datetime_from),
    ScalarType("date", 4, date, date.isoformat, date.fromisoformat),
    ScalarType("time", 5, time, _time_text, time.fromisoformat),
    ScalarType("timedelta", 6, timedelta, lambda v: str(v // _MICROSECONDS), _timedelta_from),
    ScalarType("uuid", 7, UUID, str, UUID),
    ScalarType("decimal", 8, Decimal, str, Decimal),
)

#: Refs have a name and a code like scalars; their text is the node's business.
REF: Final = ("ref", 9)

#: Types whose values contain no others: what a walk need not look into.
LEAVES: Final = frozenset(
    {NoneType, bool, int, float, str, bytes, datetime, date, time, timedelta, UUID, Decimal}
)
