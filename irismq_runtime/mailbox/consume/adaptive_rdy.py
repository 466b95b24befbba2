"""How much RDY a connection is worth asking: little when idle, all when busy. Pure.

nsqd collects messages for a client in a buffer and sends it when it is full,
every 25 ms at best, or at once when the client has as many in flight as it
asked for. A client that asks for 1 therefore gets a lone message in a fraction
of a millisecond, one that asks for 1000 waits for the 25 ms; but one that asks
for 1 gets one message per round trip. So what is asked for follows the traffic:

- it doubles when room that was just given back is filled within `REFILL`
  seconds, `REFILLS` times in a row: the broker has more waiting;
- it doubles when all that was asked for is held for `HELD` seconds: handlers are
  slow, or many run at once, and the buffer's delay no longer matters;
- it falls to what is really used when messages come late and do not fill it, and to
  one more than is held when none has come for long.

To fall to what is held is to ask for nothing more until something is finished, and a
handler may take for ever. So whoever tells the broker looks after `HELD` seconds at each
RDY that is full, whether messages filled it or it was lowered.
"""

from __future__ import annotations

__all__ = ["HELD", "AdaptiveRdy"]

REFILL = 0.001
REFILLS = 3
HELD = 0.05
#: Messages that come this long after the ones before were waited for.
LATE = 0.005
LARGEST = 1 << 16


class AdaptiveRdy:
    """What one connection is worth asking for. Times are monotonic seconds."""

    __slots__ = ("_received_at", "_streak", "freed_at", "value")

    def __init__(self, value: int) -> None:
        #: RDY that is worth asking for.
        self.value = value
        #: When room was last given back to the broker.
        self.freed_at = float("-inf")
        self._received_at = float("-inf")
        self._streak = 0

    def received(self, now: float, ready: int, in_flight: int) -> bool:
        """Messages came, and now `in_flight` of `ready` are; True when `value` changed."""
        late = now - self._received_at >= LATE
        self._received_at = now
        if now - self.freed_at < REFILL:
            self._streak += 1
        else:
            self._streak = 0
        if in_flight >= ready:
            if self._streak >= REFILLS:
                return self._grow(ready)
        elif late:
            return self._fall(max(1, in_flight))
        return False

    def held(self, ready: int) -> bool:
        """All of `ready` has been in flight for `HELD` seconds; True when `value` changed."""
        return self._grow(ready)

    def idle(self, ready: int, in_flight: int) -> bool:
        """Nothing has come for long, and `in_flight` of `ready` are; True when `value` changed.

        It goes on asking for one. Of a broker that may send nothing, silence says nothing.
        """
        return in_flight < ready and self._fall(in_flight + 1)

    def _grow(self, ready: int) -> bool:
        # What was not granted is no reason to ask for still more.
        if ready < self.value or self.value >= LARGEST:
            return False
        self.value *= 2
        return True

    def _fall(self, value: int) -> bool:
        self._streak = 0
        if value >= self.value:
            return False
        self.value = value
        return True
