"""Whether a message can be confirmed in its time, decided before it is taken. Pure.

A queue takes bursts: as long as what is ahead of a message will be confirmed within
half of the time that it has, it is taken. A queue that never empties is not a burst,
its senders are faster than the broker. Each second for which it stands takes half a
second from its length, until a second's worth is left: the broker is as busy as
before, a refused caller knows it at once, and what is taken is confirmed soon. While
the queue is empty it recovers by as much. (CoDel's thought, RFC 8289: it is not the
length of a queue that tells a burst from an overload, but how long it stands.)

A message that comes longer after the one before than the broker needs for two is not
part of what is too much: it may wait as in a burst, so the first after a flood is taken.

Half, since the broker may get slower than it was measured to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.errors import Overloaded
from irismq_runtime.mailbox.publish.outbox import FRAMING

if TYPE_CHECKING:
    from irismq_runtime.mailbox.publish.throughput import Throughput

__all__ = ["AdmissionControl", "BrokerTooSlow"]

_UNBOUND: Final = float("inf")
#: Seconds of work that a standing queue may always hold.
_SHORTEST: Final = 1.0
#: The share of its time that all of a message's group may take to be confirmed.
_WHOLE: Final = 0.8


class BrokerTooSlow(Overloaded):
    """The message was not taken: it could not have been confirmed in its time.

    `waiting` messages are ahead of it, which the broker confirms in about `wait`
    seconds, `rate` of them a second; `timeout` is the time that it had.
    """

    def __init__(self, waiting: int, wait: float, rate: float, timeout: float) -> None:
        self.waiting = waiting
        self.wait = wait
        self.rate = rate
        self.timeout = timeout
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        super().__init__(
            f"the broker is too slow for what is told: it confirms about {shown} messages a "
            f"second, and {waiting:,} would take {wait:.1f} s (to be confirmed within "
            f"{timeout:g} s); await receipts before publishing more"
        )


class AdmissionControl:
    """How long the queue has stood, and how long it may be. Times are given, none is read."""

    __slots__ = (
        "_asked_at",
        "_longest",
        "_looked_at",
        "_stood",
        "saturated",
        "silence",
    )

    def __init__(self, timeout: float) -> None:
        #: Something waits because the broker has enough to do.
        self.saturated = False
        #: A broker that has not answered for so many seconds is as slow as that.
        self.silence = timeout / 6
        # Seconds for which it has, less those for which it has not.
        self._stood = 0.0
        self._longest = timeout
        self._looked_at = 0.0
        self._asked_at = 0.0

    def observe(self, now: float, *, saturated: bool) -> bool:
        """Note whether something waits from now on; True when a rest has ended.

        After a rest as long as the overload before it, what was measured then is old.
        """
        gone = now - self._looked_at
        stood = self._stood + (gone if self.saturated else -gone)
        self._stood = min(max(stood, 0.0), self._longest)
        begins = saturated and not self.saturated and not self._stood
        self.saturated = saturated
        self._looked_at = now
        return begins

    def longest_wait(self, timeout: float) -> float:
        """How many seconds of work may be ahead of one of many with `timeout` seconds."""
        half = timeout / 2
        return min(half, max(_SHORTEST, half - self._stood / 2))

    def unchecked_bytes(self, speed: Throughput | None) -> float:
        """Up to so many waiting bytes the usual timeout suffices, and nothing is to be asked.

        Less than `refusal` would take, for bodies without their framing. None:
        nothing is known, or nothing waits.
        """
        if speed is None:
            return _UNBOUND
        framing = FRAMING * speed.messages / speed.bytes
        return speed.bytes * self.longest_wait(self._longest) * max(1.0 - framing, 0.0)

    def refusal(
        self,
        speed: Throughput,
        waiting: tuple[int, int],
        more: tuple[int, int],
        timeout: float,
        now: float,
    ) -> BrokerTooSlow | None:
        """Why `more` may not be taken behind what is `waiting`: each (messages, bytes)."""
        lone = (now - self._asked_at) * speed.messages >= 2 * more[0]
        self._asked_at = now
        wait = speed.seconds(*waiting)
        if wait > (timeout / 2 if lone else self.longest_wait(timeout)):
            return BrokerTooSlow(waiting[0], wait, speed.messages, timeout)
        if more[0] > 1:
            wait = speed.seconds(waiting[0] + more[0], waiting[1] + more[1])
            if wait > timeout * _WHOLE:
                return BrokerTooSlow(waiting[0] + more[0], wait, speed.messages, timeout)
        return None
