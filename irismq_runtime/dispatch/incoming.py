"""What dispatch works with: one small bag of things that all its parts share.

Made once by the node. Also the reading steps that every way in has in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irismq_runtime.dispatch.counters import Counters, Settled
from irismq_runtime.errors import SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors import ActorRef, Clock, Events
    from irismq_runtime.errors import DecodeError
    from irismq_runtime.messaging import Packer
    from irismq_runtime.observe.logs import RateLimitedLog
    from irismq_runtime.observe.meter import Meter
    from irismq_runtime.observe.tracing import Tracing
    from irismq_runtime.ports import AddressTransport

__all__ = ["Incoming", "chain_of"]


@dataclass(slots=True)
class Incoming:
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
    counters: Counters = field(default_factory=Counters)
    #: What became of stored messages, by address; kept when an actor has ended.
    mailboxes: dict[str, Settled] = field(default_factory=dict)

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
