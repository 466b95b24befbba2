r"""Topic and channel names: what nsqd accepts, and how an address becomes one.

A legal name has 1 to 64 of `[.a-zA-Z0-9_-]`, with an optional `#ephemeral`
ending inside the 64. The check anchors with `\Z`: `$` would let a trailing
newline pass, which breaks the framing on the wire.

Any address has exactly one topic. A legal address is its own topic; another
one becomes `<readable part>--h-<32 hex digits>` of its BLAKE2b hash. A legal
address that itself ends like that is hashed too, so no two addresses can meet.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

from irismq_runtime.protocols.nsq.errors import InvalidName

__all__ = [
    "EPHEMERAL",
    "MAX_NAME",
    "channel_name",
    "is_valid_name",
    "mailbox_topic",
    "topic_name",
]

MAX_NAME = 64
EPHEMERAL = "#ephemeral"

_LEGAL = re.compile(rb"[.a-zA-Z0-9_-]+(?:#ephemeral)?\Z")
_HASHED = re.compile(r"--h-[0-9a-f]{32}\Z")
_ODD = re.compile(r"[^.a-zA-Z0-9_-]+")
_READABLE = MAX_NAME - len("--h-") - 32


def is_valid_name(name: bytes) -> bool:
    """Whether nsqd accepts these bytes as a topic or channel name."""
    return 0 < len(name) <= MAX_NAME and _LEGAL.match(name) is not None


def topic_name(name: str | bytes) -> bytes:
    """`name` as the bytes of a topic name; raises `InvalidName`."""
    return _checked("topic", name)


def channel_name(name: str | bytes) -> bytes:
    """`name` as the bytes of a channel name; raises `InvalidName`."""
    return _checked("channel", name)


@lru_cache(maxsize=4096)
def _checked(kind: str, name: str | bytes) -> bytes:
    if isinstance(name, str):
        try:
            raw = name.encode("ascii")
        except UnicodeEncodeError:
            raise InvalidName(kind, name, "only [.a-zA-Z0-9_-] are allowed") from None
    elif isinstance(name, bytes):
        raw = name
    else:
        raise TypeError(f"a {kind} name is str or bytes, not {type(name).__name__}")
    if not 0 < len(raw) <= MAX_NAME:
        raise InvalidName(kind, name, f"it has {len(raw)} bytes, 1 to {MAX_NAME} are allowed")
    if _LEGAL.match(raw) is None:
        raise InvalidName(kind, name, f"only [.a-zA-Z0-9_-] and the ending {EPHEMERAL} are allowed")
    return raw


@lru_cache(maxsize=4096)
def mailbox_topic(address: str) -> str:
    """The topic that keeps the mailbox of `address`, the same in every process.

    Raises `InvalidName` for an empty address and for one that has no UTF-8 form.
    """
    if not address:
        raise InvalidName("topic", address, "an address has at least one character")
    try:
        raw = address.encode()
    except UnicodeEncodeError:
        raise InvalidName("topic", address, "the address has no UTF-8 form") from None
    if is_valid_name(raw) and _HASHED.search(address) is None:
        return address
    digest = blake2b(raw, digest_size=16).hexdigest()
    readable = _ODD.sub("_", address)[:_READABLE]
    return f"{readable}--h-{digest}"
