"""How much may wait, by count and by bytes, for each kind of traffic.

The relay has no limits of its own, so a binding keeps them. Over a limit a
request is answered at once with the fault "overloaded"; what cannot be answered
(a broadcast, an event) is dropped, counted, and told once a second at most.
Nothing here does I/O or reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from actors.rules import count, need, optional, value_of

__all__ = ["Allowance", "Limits", "Quota"]

_MIB: Final = 1024 * 1024
#: Less would let nothing pass.
_AT_LEAST_ONE: Final = count(1, 2**62)


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` messages and at most `size` bytes of them at once.

    Raises `ValueError` when either is not positive.
    """

    count: int
    size: int

    def __post_init__(self) -> None:
        need(_AT_LEAST_ONE, "count", self.count)
        need(_AT_LEAST_ONE, "size", self.size)


_ALLOWANCE: Final = value_of(Allowance, "an Allowance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one connection. Sizes are bytes.

    Defaults are those of the Go binding where it has one (64 MiB for each kind
    of traffic). Raises `ValueError` when a limit is not positive.
    """

    #: Our requests that wait for an answer. Beyond: `Overloaded`, nothing sent.
    calls: Allowance = field(default=Allowance(100_000, 256 * _MIB))
    #: Requests to this member that it has not answered yet.
    requests: Allowance = field(default=Allowance(10_000, 64 * _MIB))
    #: Broadcasts to this member that wait for its handler.
    broadcasts: Allowance = field(default=Allowance(10_000, 64 * _MIB))
    #: Events that wait for the reader of one subscription.
    events: Allowance = field(default=Allowance(10_000, 64 * _MIB))
    #: Bytes that wait for the socket. Beyond: `Overloaded`, nothing sent.
    unsent: int = 64 * _MIB
    #: A request, reply, broadcast or event.
    body: int = 16 * _MIB
    #: Tunnels open, or being opened, at once. (The real relay breaks at some 300.)
    tunnels: int = 256
    #: Bytes of one tunnel that wait for its reader, at most.
    tunnel: int = 64 * _MIB
    #: The longest message of a tunnel, if `tunnel` is not less: refused by its first chunk.
    tunnel_message: int = 64 * _MIB
    #: Bytes of all tunnels together that wait for their readers. Beyond: no more tunnels.
    tunnel_bytes: int = 256 * _MIB
    #: As `tunnel_bytes`, of tunnels of which no message has been verified yet. None:
    #: whoever uses the connection verifies nothing.
    unverified_bytes: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            rule = _ALLOWANCE if isinstance(each.default, Allowance) else _AT_LEAST_ONE
            if each.default is None:
                rule = optional(rule)
            need(rule, each.name, getattr(self, each.name))


class Quota:
    """What is in use of one allowance, and how often it did not suffice."""

    __slots__ = ("allowance", "count", "refused", "size")

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self.count = 0
        self.size = 0
        self.refused = 0

    def take(self, size: int) -> bool:
        """Take room for one message of `size` bytes; False, and counted, if there is none.

        An empty quota takes one message of any size: what passed the limit of a
        single body must not be refused for ever.
        """
        allowance = self.allowance
        if self.count >= allowance.count or (self.count and self.size + size > allowance.size):
            self.refused += 1
            return False
        self.count += 1
        self.size += size
        return True

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self.count >= self.allowance.count or self.size >= self.allowance.size

    def give(self, size: int) -> None:
        """Give back what `take(size)` took."""
        self.count -= 1
        self.size -= size
