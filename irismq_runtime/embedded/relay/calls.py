"""Requests under way, and the one timer for all of their deadlines.

A `PendingCall` is one request between its caller and (while it is at one) a member.
It ends exactly once: by the member's answer, by its deadline, or because the
caller left; whoever comes second finds it done. Nothing of it stays behind: a call
that ends takes its note out of the relay's deadlines again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.deadline_table import ExpiryTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock

__all__ = ["Callee", "Caller", "Expiring", "PendingCall", "Timeouts"]

#: Seconds by which a deadline may be rounded up: timeouts of Iris are milliseconds.
_GRAIN: Final = 0.001


class Expiring(Protocol):
    """What has a deadline: a call, or a tunnel being built."""

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

    __slots__ = ("_bucket", "_callee", "_caller", "_done", "_key", "deadline", "id", "timeout_ms")

    def __init__(self, caller: Caller, call_id: int, timeout_ms: int, timeouts: Timeouts) -> None:
        self.id = call_id
        self.timeout_ms = timeout_ms
        self._caller = caller
        self._callee: Callee | None = None
        self._key = 0
        self._done = False
        #: Seconds on the relay's clock.
        self.deadline = deadline = timeouts.clock.monotonic() + timeout_ms / 1000
        self._bucket = timeouts.add(self, deadline)

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
            self._bucket.pop(self, None)
            self._caller.answered(self, body, fault)

    def expire(self) -> None:
        """Its time has passed, or nobody will ever answer: the caller gets a timeout.

        The caller is told first: when it is the callee as well and about to close,
        the end of its last call closes it, and the answer must come before that.
        """
        if not self._done:
            self._done = True
            self._bucket.pop(self, None)
            self._caller.answered(self, None, None)
            self._leave_callee()

    def cancel(self) -> None:
        """The caller is gone; nobody gets an answer."""
        if not self._done:
            self._done = True
            self._bucket.pop(self, None)
            self._leave_callee()

    def orphan(self) -> None:
        """The callee is gone; the call now waits for its deadline alone."""
        self._callee = None

    def _leave_callee(self) -> None:
        callee, self._callee = self._callee, None
        if callee is not None:
            callee.forget_call(self._key)


class Timeouts(ExpiryTimer[Expiring]):
    """The deadlines of a relay. Loop thread only.

    Args:
        clock: the relay's.
        after: called when something has expired, so that what it caused to be
            written goes out.
    """

    __slots__ = ("_after", "clock")

    def __init__(self, clock: Clock, after: Callable[[], None]) -> None:
        super().__init__(clock, self._expire, grain=_GRAIN)
        self.clock = clock
        self._after = after

    def _expire(self, due: list[Expiring]) -> None:
        for item in due:
            item.expire()
        self._after()
