"""The headers of an envelope: which there are, and what each may hold.

Keys of one and two letters belong to the protocol; longer ones to users, who
may put scalars there. A receiver takes no notice of a key it does not know,
and refuses a known one of another type, so that nobody behind this file has to
look at the type of a header again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "CHAIN",
    "CODEC",
    "DUE",
    "EXPIRY",
    "KEY_ID",
    "MAC",
    "MAX_HEADERS",
    "NODE",
    "REMAINING",
    "SENDER",
    "SEQUENCE",
    "TARGET",
    "TRACE",
    "header_problem",
]

CODEC: Final = "c"  # name of the body's codec; absent: msgpack
SENDER: Final = "s"  # ref of the sender, in text
SEQUENCE: Final = "q"  # the sender's own count of what it sent
REMAINING: Final = "d"  # milliseconds until the asker gives up, when sent
DUE: Final = "t"  # not to be handled before, milliseconds since 1970
EXPIRY: Final = "x"  # not to be handled after, milliseconds since 1970
CHAIN: Final = "a"  # who waits for whom: the asks in hand, first asker first
TRACE: Final = "tp"  # W3C traceparent
KEY_ID: Final = "k"  # which key the envelope is signed with
MAC: Final = "m"  # the signature; always the last entry
NODE: Final = "n"  # id of the sending node
TARGET: Final = "to"  # actor meant at a node's private cluster, "@node" for the node

#: Entries that one envelope may have.
MAX_HEADERS: Final = 64
_MAX_CHAIN: Final = 256
_MAX_MILLISECONDS: Final = 2**53

_SCALARS: Final = frozenset({str, int, float, bool, bytes, type(None)})


def _text(value: object) -> bool:
    return type(value) is str


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_MILLISECONDS


def _chain(value: Any) -> bool:
    return type(value) is list and len(value) <= _MAX_CHAIN and all(map(_text, value))


def _mac(value: object) -> bool:
    return type(value) is bytes


_CHECKS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    **dict.fromkeys((CODEC, SENDER, TRACE, KEY_ID, NODE, TARGET), (_text, "text")),
    **dict.fromkeys((SEQUENCE, REMAINING, DUE, EXPIRY), (_count, "an integer from 0 to 2**53")),
    CHAIN: (_chain, f"a list of at most {_MAX_CHAIN} texts"),
    MAC: (_mac, "bytes"),
}


def header_problem(headers: Mapping[str, object]) -> tuple[str, str] | None:
    """(key, what it must be) of a header that is not what it must be, or None."""
    if len(headers) > MAX_HEADERS:
        return "", f"at most {MAX_HEADERS} entries"
    for key, value in headers.items():
        check = _CHECKS.get(key)
        if check is not None:
            if not check[0](value):
                return key, check[1]
        elif type(key) is not str:
            return repr(key)[:40], "named by a text"
        elif type(value) not in _SCALARS:
            return key[:40], "text, bytes, a number, a bool or None"
    return None
