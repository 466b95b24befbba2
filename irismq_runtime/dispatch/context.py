"""What all parts of dispatch work with, made once by the node: `DispatchContext`.

Also what they count, and the reading steps that every way in has in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from actors.chance import default_random
from irismq_runtime.dispatch.unread_rounds import UnreadRounds
from irismq_runtime.errors import SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from actors import ActorRef, Clock, Events
    from irismq_runtime.errors import DecodeError
    from irismq_runtime.messaging import Packer
    from irismq_runtime.observe.logs import RateLimitedLog
    from irismq_runtime.observe.meter import Meter
    from irismq_runtime.observe.tracing import Tracing
    from irismq_runtime.ports import AddressTransport

__all__ = [
    "LONGEST_ASK",
    "DispatchContext",
    "DispatchCounters",
    "SettledCounts",
    "TrafficShare",
    "chain_of",
]

#: Seconds that an ask is worth handling at most, whatever deadline it names.
LONGEST_ASK: Final = 86_400.0


class TrafficShare:
    """What one kind of traffic may hold: `most` messages, `most_bytes` of them together."""

    __slots__ = ("count", "most", "most_bytes", "refused", "size")

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.count = self.size = 0
        #: How often there was no room.
        self.refused = 0

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self.count >= self.most or self.size >= self.most_bytes

    def take(self, size: int) -> bool:
        """Take room for one message of `size` bytes; False when there is none."""
        if self.full:
            self.refused += 1
            return False
        self.count += 1
        self.size += size
        return True

    def give(self, size: int) -> None:
        """Give back what `take(size)` took."""
        self.count -= 1
        self.size -= size


def _by_name(counts: SettledCounts | DispatchCounters) -> dict[str, int]:
    return {each.name: getattr(counts, each.name) for each in fields(counts)}


@dataclass(slots=True)
class SettledCounts:
    """What became of the stored messages of one address."""

    finished: int = 0
    requeued: int = 0
    buried: int = 0

    def to_dict(self) -> dict[str, int]:
        """All counts by name."""
        return _by_name(self)


@dataclass(slots=True)
class DispatchCounters:
    """Plain numbers, changed on the loop alone."""

    stored: int = 0
    finished: int = 0
    requeued: int = 0
    buried: int = 0
    duplicates: int = 0
    expired: int = 0
    deferred: int = 0
    leases_lost: int = 0
    undecodable: int = 0
    unsigned: int = 0
    requests: int = 0
    answered: int = 0
    failed: int = 0
    late: int = 0
    cancelled: int = 0
    broadcasts: int = 0
    refused: int = 0
    tunnels: int = 0
    events: int = 0

    def to_dict(self) -> dict[str, int]:
        """All counts by name."""
        return _by_name(self)


def _no_other(address: str) -> bool:  # noqa: ARG001  # where no other node is known
    return False


@dataclass(slots=True)
class DispatchContext:
    """Shared by all dispatchers of a node.

    `unpack` turns a peer's name into a ref. `lost` takes what no actor got:
    (message, ref, reason).
    """

    packer: Packer
    clock: Clock
    events: Events
    log: RateLimitedLog
    unpack: Callable[[str], Any]
    lost: Callable[[Any, ActorRef[Any], str], None]
    addresses: AddressTransport
    meter: Meter
    #: None unless the program has set up tracing.
    tracing: Tracing | None
    counters: DispatchCounters = field(default_factory=DispatchCounters)
    #: Spreads what is tried again.
    chance: Random = field(default_factory=default_random)
    #: Answers to asks of everybody that their askers have not acknowledged.
    acknowledging: TrafficShare = field(
        default_factory=lambda: TrafficShare(1_000, 16 * 1024 * 1024)
    )
    #: Whether another node is known to serve an address.
    others_serve: Callable[[str], bool] = _no_other
    unread: UnreadRounds = field(default_factory=UnreadRounds)
    #: What became of stored messages, by address; kept when an actor has ended.
    mailboxes: dict[str, SettledCounts] = field(default_factory=dict)

    def sender(self, headers: Mapping[str, Any]) -> object | None:
        """Return a ref to who sent it; None when the envelope does not say."""
        text = headers.get("s")
        if text is None:
            return None
        try:
            sender: object = self.unpack(text)
        except ValueError:
            return None
        return sender

    def refused(self, address: str, error: DecodeError) -> None:
        """Count and report bytes that are not accepted."""
        if isinstance(error, SignatureError):
            self.counters.unsigned += 1
            kind = "unsigned"
        else:
            self.counters.undecodable += 1
            kind = "undecodable"
        text = "%s: refused a message: %s"
        self.log.note(kind, text, address, error.reason, like=(address, error.reason))
        if self.events.active:
            self.events.emit("dispatch.refused", address=address, reason=kind, error=str(error))


def chain_of(headers: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the asks in hand that a request names."""
    return tuple(headers.get("a", ()))
