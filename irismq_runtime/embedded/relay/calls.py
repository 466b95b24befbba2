"""Requests under way, and the one timer for all of their deadlines.

A `PendingCall` is one request between its caller and (while it is at one) a member.
It ends exactly once: by the member's answer, by its deadline, or because the
caller left; whoever comes second finds it done. Nothing of it stays behind.

Deadlines are kept in ticks of one millisecond, rounded up, so nothing expires
too early. A call that ends takes its note out again; ticks left empty are swept
out each time their number has doubled.
"""

from __future__ import annotations

import heapq
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock, TimerHandle

__all__ = ["Callee", "Caller", "Expiring", "PendingCall", "Timeouts"]

_TICKS: Final = 1000.0
#: Part of a tick that floats may be off by.
_SLACK: Final = 1e-6
#: Seconds for which the timer is set at most: a loop's timers know no longer ones.
_LONGEST_WAIT: Final = 86_400.0
#: Ticks from which on a sweep is worth its while.
_SWEEP: Final = 1024


class Expiring(Protocol):
    """What has a deadline: a call, or a tunnel being built."""

    tick: int

    def expire(self) -> None:
        """Its time has passed. Does nothing when it is done."""
        ...


class Caller(Protocol):
    """Who waits for the answer."""

    def answered(self, call: PendingCall, body: bytes | None, fault: str | None) -> None:
        """The call has ended with an answer, or with neither: a timeout."""
        ...


class Callee(Protocol):
    """Where a call is worked on."""

    def forget_call(self, key: int) -> None:
        """The call handed over under `key` is over; its answer is not wanted."""
        ...


class PendingCall:
    """One request under way. Made by the caller's session; identity is its name."""

    __slots__ = ("_callee", "_caller", "_done", "_key", "_timeouts", "id", "tick", "timeout_ms")

    def __init__(self, caller: Caller, call_id: int, timeout_ms: int, timeouts: Timeouts) -> None:
        self.id = call_id
        self.timeout_ms = timeout_ms
        self._caller = caller
        self._timeouts = timeouts
        self._callee: Callee | None = None
        self._key = 0
        self._done = False
        self.tick = timeouts.note(self, timeout_ms)

    @property
    def done(self) -> bool:
        """True once it has ended."""
        return self._done

    def at(self, callee: Callee, key: int) -> None:
        """Note that it was handed to `callee`, which knows it as `key`."""
        self._callee = callee
        self._key = key

    def answer(self, body: bytes | None, fault: str | None) -> None:
        """The callee's answer; does nothing when the call is done."""
        if not self._done:
            self._done = True
            self._callee = None
            self._timeouts.drop(self)
            self._caller.answered(self, body, fault)

    def expire(self) -> None:
        """Its time has passed, or nobody will ever answer: the caller gets a timeout.

        The caller is told first: when it is the callee as well and about to close,
        the end of its last call closes it, and the answer must come before that.
        """
        if not self._done:
            self._done = True
            self._timeouts.drop(self)
            self._caller.answered(self, None, None)
            self._leave_callee()

    def cancel(self) -> None:
        """The caller is gone; nobody gets an answer."""
        if not self._done:
            self._done = True
            self._timeouts.drop(self)
            self._leave_callee()

    def orphan(self) -> None:
        """The callee is gone; the call now waits for its deadline alone."""
        self._callee = None

    def _leave_callee(self) -> None:
        callee, self._callee = self._callee, None
        if callee is not None:
            callee.forget_call(self._key)


class Timeouts:
    """The deadlines of a relay. Loop thread only.

    `after` is called when something has expired, so that what it caused to be
    written goes out.
    """

    def __init__(self, clock: Clock, after: Callable[[], None]) -> None:
        self._clock = clock
        self._after = after
        self._at: dict[int, set[Expiring]] = {}
        self._ticks: list[int] = []
        self._armed: int | None = None
        self._timer: TimerHandle | None = None
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))

    def note(self, item: Expiring, timeout_ms: int) -> int:
        """Let `item` expire in `timeout_ms`, not before; returns its tick."""
        tick = ceil(self._clock.monotonic() * _TICKS) + timeout_ms
        items = self._at.get(tick)
        if items is None:
            items = self._at[tick] = set()
            heapq.heappush(self._ticks, tick)
            if len(self._ticks) > self._sweep_at:
                self._sweep(tick)
            if self._armed is None or tick < self._armed:
                self._arm(tick)
        items.add(item)
        return tick

    def drop(self, item: Expiring) -> None:
        """Take a note back."""
        items = self._at.get(item.tick)
        if items is not None:
            items.discard(item)

    def clear(self) -> None:
        """Forget every note and the timer."""
        self._at.clear()
        self._ticks.clear()
        self._armed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self, new: int) -> None:
        """Forget ticks without notes, all but the one being filled."""
        self._at = {tick: items for tick, items in self._at.items() if items or tick == new}
        self._ticks = sorted(self._at)
        self._sweep_at = max(_SWEEP, 2 * len(self._ticks))

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = tick
        left = tick / _TICKS - self._clock.monotonic()
        self._timer = self._clock.call_later(min(max(0.0, left), _LONGEST_WAIT), self._fire)

    def _fire(self) -> None:
        self._timer = self._armed = None
        now = self._clock.monotonic() * _TICKS + _SLACK
        expired = False
        while self._ticks and self._ticks[0] <= now:
            for item in self._at.pop(heapq.heappop(self._ticks)):
                item.expire()
                expired = True
        # What is empty by now needs no wake-up: pass over it.
        while self._ticks and not self._at[self._ticks[0]]:
            del self._at[heapq.heappop(self._ticks)]
        if self._ticks and self._armed is None:
            self._arm(self._ticks[0])
        if expired:
            self._after()
