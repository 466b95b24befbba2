"""The bounds of an embedded relay: how much it keeps, and how long it waits.

The real relay has almost none of them; they are here so that no client, however
broken, takes memory without end or keeps the relay from stopping. Sizes are
bytes, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from actors.rules import POSITIVE_SECONDS, SECONDS, complaints, count, value_of
from irismq_runtime.protocols.iris import PacketLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.rules import Rule

__all__ = ["RelayOptions"]

_MANY = count(1, 2**31 - 1)
_BYTES = count(0, 2**40)


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Bounds of one relay. The defaults suit a development machine.

    Raises `ValueError` that names the one without a meaning.
    """

    #: The longest field that a client may send.
    limits: PacketLimits = field(default_factory=PacketLimits)
    #: Connections at once; one more is closed as it comes.
    max_connections: int = 10_000
    #: A connection that has not sent its init by then is dropped.
    handshake_seconds: float = 10.0
    #: Bytes unsent in a socket from which on its reader counts as slow.
    high_water: int = 256 * 1024
    #: Bytes kept for a slow reader; past it the connection is dropped.
    slow_reader_limit: int = 64 * 1024 * 1024
    #: Bytes kept for a slow reader from which on its senders are slowed down.
    stall_mark: int = 16 * 1024 * 1024
    #: How long a sender to such a reader is not read.
    stall_seconds: float = 0.01
    #: Unanswered requests of one connection; it is not read while it has more.
    max_calls: int = 100_000
    #: Subscriptions of one connection; one more drops it.
    max_subscriptions: int = 10_000
    #: Tunnels of one connection, those being built included; one more drops it.
    max_tunnels: int = 10_000
    #: Bytes that all tunnels together hold for clients that do not read, at most: what
    #: their senders are granted, 4 MiB each while there is plenty. One more is refused.
    tunnel_bytes: int = 256 * 1024 * 1024
    #: How long a client whose connections are all lost may take to come back before its
    #: last will is carried out: two attempts of pyiris, which begin within 0.1 s each.
    will_seconds: float = 0.25
    #: How long a connection that is being closed may take to read its last bytes.
    linger_seconds: float = 5.0
    #: How long `stop` waits for clients to take the last bytes.
    stop_seconds: float = 0.3

    def __post_init__(self) -> None:
        for option, complaint in complaints(_RULES, self):
            raise ValueError(f"{option}={complaint}")


_RULES: Final[Mapping[str, Rule]] = {
    "limits": value_of(PacketLimits, "a PacketLimits"),
    "max_connections": _MANY,
    "handshake_seconds": POSITIVE_SECONDS,
    "high_water": _BYTES,
    "slow_reader_limit": _BYTES,
    "stall_mark": _BYTES,
    "stall_seconds": SECONDS,
    "max_calls": _MANY,
    "max_subscriptions": _MANY,
    "max_tunnels": _MANY,
    "tunnel_bytes": _BYTES,
    "will_seconds": SECONDS,
    "linger_seconds": SECONDS,
    "stop_seconds": SECONDS,
}
