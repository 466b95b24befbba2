"""Commands as records: what the server's decoder returns, one class a verb.

A record is well-formed: its names are valid, its ids have 16 bytes, its sizes
and numbers lie within the `CommandLimits` it was decoded under.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "Auth",
    "Cls",
    "Command",
    "CommandLimits",
    "Dpub",
    "Fin",
    "Identify",
    "Mpub",
    "Nop",
    "Pub",
    "Rdy",
    "Req",
    "Sub",
    "Touch",
]


class Identify(NamedTuple):
    """IDENTIFY: the JSON text as it came."""

    body: bytes


class Auth(NamedTuple):
    """AUTH: the secret as it came."""

    secret: bytes


class Sub(NamedTuple):
    """SUB with valid names."""

    topic: str
    channel: str


class Rdy(NamedTuple):
    """RDY with a count within the limits."""

    ready: int


class Fin(NamedTuple):
    """FIN of a well-formed id."""

    id: bytes


class Req(NamedTuple):
    """REQ; the delay is as it came, to be clamped by the server."""

    id: bytes
    delay_ms: int


class Touch(NamedTuple):
    """TOUCH of a well-formed id."""

    id: bytes


class Pub(NamedTuple):
    """PUB with a valid topic and a body within the limits."""

    topic: str
    body: bytes


class Mpub(NamedTuple):
    """MPUB: one body at least, each within the limits."""

    topic: str
    bodies: list[bytes]


class Dpub(NamedTuple):
    """DPUB with a delay within the limits."""

    topic: str
    delay_ms: int
    body: bytes


class Cls(NamedTuple):
    """CLS."""


class Nop(NamedTuple):
    """NOP."""


Command = Identify | Auth | Sub | Rdy | Fin | Req | Touch | Pub | Mpub | Dpub | Cls | Nop


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What one client may ask for; the defaults are nsqd's. Sizes in bytes."""

    max_msg_size: int = 1024 * 1024
    max_body_size: int = 5 * 1024 * 1024
    max_req_timeout_ms: int = 3_600_000
    max_rdy_count: int = 2500
    max_line: int = 16 * 1024
