"""When to dial again: the life of one connection as a pure state machine.

    IDLE -start-> DIALING -ready-> READY -lost-> WAITING -due-> DIALING
                  DIALING -failed-> WAITING          any -close-> CLOSED

Delays double from `base` to `cap`; each is drawn from half to all of
that, so a crowd that lost the same broker comes back spread out. A connection
starts the doubling anew only after it has stood for `stable_after`: a broker
that accepts and drops must not be dialled in a tight loop. Nothing leaves
CLOSED. Knows neither socket nor timer: the time of an event is an argument.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from actors.delays import exponential_delay

if TYPE_CHECKING:
    import random

__all__ = ["DialBudget", "DialState", "Reconnect"]


class DialState(Enum):
    """Where a connection is in its life."""

    IDLE = "idle"
    DIALING = "dialing"
    READY = "ready"
    WAITING = "waiting"
    CLOSED = "closed"


_NEXT = {
    (DialState.IDLE, "start"): DialState.DIALING,
    (DialState.DIALING, "ready"): DialState.READY,
    (DialState.DIALING, "failed"): DialState.WAITING,
    (DialState.READY, "lost"): DialState.WAITING,
    (DialState.WAITING, "due"): DialState.DIALING,
}


class Reconnect:
    """Decides for one connection. An event that does not fit raises `ValueError`."""

    __slots__ = ("_base", "_cap", "_ready_at", "_rng", "_stable_after", "failures", "state")

    def __init__(self, rng: random.Random, *, base: float, cap: float, stable_after: float) -> None:
        self.state = DialState.IDLE
        #: Dials and losses since the connection last was stable.
        self.failures = 0
        self._rng = rng
        self._base = base
        self._cap = cap
        self._stable_after = stable_after
        self._ready_at = 0.0

    def start(self) -> None:
        """Dial now."""
        self._move("start")

    def ready(self, now: float) -> None:
        """The handshake is through."""
        self._move("ready")
        self._ready_at = now

    def failed(self) -> float:
        """The dial failed; returns the seconds to wait."""
        self._move("failed")
        return self._delay()

    def lost(self, now: float) -> float:
        """A ready connection ended; returns the seconds to wait."""
        self._move("lost")
        if now - self._ready_at >= self._stable_after:
            self.failures = 0
        return self._delay()

    def due(self) -> None:
        """The wait is over: dial now."""
        self._move("due")

    def close(self) -> None:
        """For good. Idempotent."""
        self.state = DialState.CLOSED

    def _move(self, event: str) -> None:
        following = _NEXT.get((self.state, event))
        if following is None:
            raise ValueError(f"a connection that is {self.state.value} cannot be {event!r}")
        self.state = following

    def _delay(self) -> float:
        failed, self.failures = self.failures, self.failures + 1
        return exponential_delay(failed, self._base, self._cap, self._rng.random())


class DialBudget:
    """At most `rate` reconnects a second over all connections, as a token bucket.

    `take` reserves the next place and says how long to wait for it, so a crowd
    is queued and not refused.
    """

    __slots__ = ("_burst", "_free_at", "_interval")

    def __init__(self, rate: float, burst: int = 10) -> None:
        self._interval = 1.0 / rate
        self._burst = burst * self._interval
        self._free_at = float("-inf")

    def take(self, now: float) -> float:
        """Seconds to wait before this dial."""
        self._free_at = max(self._free_at, now - self._burst) + self._interval
        return max(0.0, self._free_at - now)
