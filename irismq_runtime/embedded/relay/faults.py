"""What an embedded relay does wrong on purpose: the real one's habits, and worse.

`Faults()` is a relay that keeps the specification to the letter. Each switch
turns one unfriendly habit on (or a lenient one off); `Faults.like_real()` has
those that a real Iris 0.3.2 node was seen to have. Chance comes from a seed, so
a failing run can be had again. Decisions only; nothing here touches a socket.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.protocols.iris.packets import Packet

from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    ClientReply,
    ClientRequest,
    Publish,
)

__all__ = ["FaultInjector", "Faults"]

#: What the real relay's eight workers per connection take in any order.
_UNORDERED: Final = (ClientBroadcast, ClientRequest, ClientReply, Publish)


@dataclass(frozen=True, slots=True)
class Faults:
    """Switches; the defaults are the specification's behaviour.

    Chances are between 0 and 1. Times are seconds.
    """

    #: Seed of every chance below.
    seed: int = 0
    #: Broadcasts, requests, replies and events that come together go on in any order.
    reorder: bool = False
    #: A request or tunnel to a cluster without members times out, and not before its time.
    #: False: it is answered with a timeout at once.
    silent_when_unknown: bool = True
    #: Subscribing twice, or unsubscribing from an unknown topic, drops the connection.
    #: False: it changes nothing.
    drops_double_subscribers: bool = True
    #: A member's close is answered at once, and its later replies are lost.
    hasty_close: bool = False
    #: A fault with an empty text reaches the caller as a timeout, at once.
    empty_fault_is_timeout: bool = False
    #: The initiator of a tunnel is told of success before the acceptor has confirmed.
    early_confirm: bool = False
    #: A tunnel's close overtakes what was sent before it.
    close_overtakes: bool = False
    #: Events published so soon after a subscription do not reach it.
    deaf_after_subscribe: float = 0.0
    #: Unanswered requests that a member is handed at most; more wait in the relay. 0: no limit.
    member_window: int = 0
    #: Chance that a request never reaches its member.
    lose_requests: float = 0.0
    #: Chance that a reply never reaches its caller.
    lose_replies: float = 0.0
    #: Chance, for each member, that a broadcast does not reach it.
    lose_broadcasts: float = 0.0
    #: Chance, for each subscriber, that an event does not reach it.
    lose_events: float = 0.0

    @classmethod
    def like_real(cls, seed: int = 0) -> Faults:
        """The habits seen on a real Iris 0.3.2 node."""
        return cls(
            seed=seed,
            reorder=True,
            hasty_close=True,
            empty_fault_is_timeout=True,
            early_confirm=True,
            close_overtakes=True,
            deaf_after_subscribe=0.001,
            member_window=16,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The switches that differ from the specification, for logs."""
        plain = Faults(seed=self.seed)
        return tuple(
            field.name
            for field in fields(self)
            if getattr(self, field.name) != getattr(plain, field.name)
        )


class FaultInjector:
    """The chances of one relay, in the order in which they are asked for."""

    __slots__ = ("_random", "faults")

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)

    def happens(self, chance: float) -> bool:
        """True with the given chance; a chance of 0 draws nothing."""
        return chance > 0.0 and self._random.random() < chance

    def ordered(self, packets: Sequence[Packet]) -> Sequence[Packet]:
        """The order in which packets that came together are handled.

        Only what the real relay hands to its workers changes places; a
        subscription, a close and all of a tunnel's keep theirs.
        """
        if not self.faults.reorder or len(packets) < 2:
            return packets
        free = [index for index, packet in enumerate(packets) if isinstance(packet, _UNORDERED)]
        shuffled = self._random.sample(free, len(free))
        result = list(packets)
        for index, source in zip(free, shuffled, strict=True):
            result[index] = packets[source]
        return result
