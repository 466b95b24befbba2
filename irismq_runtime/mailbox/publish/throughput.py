"""How fast one broker confirms, and so how much may be on its way to it. Pure.

A batch that was answered after `took` seconds, with `ahead` messages on their way
when it was written (itself among them), was served at `ahead / took` messages a
second, if the broker had them all to do in that time. It had when the answer
took longer than the way there and back, and when more waited behind or many were
ahead: what came in a trickle says nothing about what the broker can do.

While answers come at once, the window of what may be on its way grows with each
of them. Once they take long it is what the broker confirms in half a second: that
keeps it busy, and what it has not begun waits here, where it can still be refused
and is not written when it is too late for it.

Speeds are kept in messages and in bytes, and the one that promises more counts:
after large messages small ones are not taken for slow, nor the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from irismq_runtime.mailbox.publish.outbox import Batch

__all__ = ["Throughput", "ThroughputEstimator"]

#: What may be on its way to a broker whose speed is known: so many seconds of it.
_SPAN: Final = 0.5
#: An answer that took so much longer than the quickest one waited behind others.
_QUEUED: Final = 0.1
#: The way there and back takes no longer than this: a slow first answer is not the way.
_LONGEST_WAY: Final = 0.5
#: Messages on their way before anything is known: at first, to a broker that was
#: away (what waits for it is old, and should not be late for its speed), and at most.
_FIRST: Final = 1024
_AGAIN: Final = 64
_WIDEST: Final = 1 << 20
#: With so many on their way one slow answer is not the accident of a lone message.
_MANY: Final = 16
#: Seconds for which a speed is not old.
_FRESH: Final = 2.0


class Throughput(NamedTuple):
    """What a broker confirms in a second."""

    messages: float
    bytes: float

    def seconds(self, messages: int, size: int) -> float:
        """How long it takes for so many messages of `size` bytes together, at least."""
        return min(messages / self.messages, size / self.bytes)


class ThroughputEstimator:
    """What is known of one broker, from its answers. Times are given, none is read (seconds)."""

    __slots__ = ("_measured_at", "_pipeline", "_way", "estimate", "window")

    def __init__(self, pipeline_bytes: int) -> None:
        self._pipeline = pipeline_bytes
        #: None: not known, and nothing says that it is slow.
        self.estimate: Throughput | None = None
        #: Messages that may be on their way.
        self.window = _FIRST
        # The quickest answer so far, in seconds.
        self._way = _LONGEST_WAY
        self._measured_at = 0.0

    def forget(self, now: float) -> None:
        """Enough has been quiet: what was measured some time before `now` is old."""
        if self.estimate is not None and now - self._measured_at > _FRESH:
            self.estimate = None
            self.window = max(self.window, _FIRST)

    def lost(self, on_the_way: int) -> None:
        """The connection is gone, and the next one may find another broker.

        What was on its way is so again.
        """
        self.estimate = None
        self.window = max(_AGAIN, on_the_way)
        self._way = _LONGEST_WAY

    @property
    def batch_count(self) -> int:
        """Messages of one batch, at most: half of a window, and less while nothing is known."""
        return max(self.window // (8 if self.estimate is None else 2), 1)

    def answered(self, batch: Batch, now: float) -> None:
        """`batch` was confirmed at `now`."""
        took = max(now - batch.sent_at, 1e-6)
        self._way = min(self._way, took)
        measured = Throughput(batch.ahead / took, max(batch.ahead_bytes, 1) / took)
        known = self.estimate
        slow = took - self._way >= _QUEUED
        if not batch.saturated and not (slow and batch.ahead >= _MANY):
            return
        if slow or batch.ahead_bytes >= self._pipeline:
            if known is not None:
                measured = Throughput(
                    *[(old + new) / 2 for old, new in zip(known, measured, strict=True)]
                )
            self.estimate = measured
            self._measured_at = now
            self.window = max(2, int(measured.messages * _SPAN))
            return
        self.window = min(self.window + len(batch.messages), _WIDEST)
        if known is not None:
            self.estimate = Throughput(*map(max, known, measured))

    def horizon(self, now: float, on_the_way: int) -> float:
        """What has a deadline before this is too old to be written now.

        Twice the time that the messages on their way still take, since a speed is
        an estimate.
        """
        return now if self.estimate is None else now + 2 * on_the_way / self.estimate.messages

    def at_most(self, oldest: Batch | None, now: float, silence: float) -> Throughput | None:
        """The speed, or less when the oldest unanswered batch has waited for `silence` seconds.

        Answered now, it would have been served at this speed.
        """
        if oldest is None or (waited := now - oldest.sent_at) < silence:
            return self.estimate
        bound = Throughput(oldest.ahead / waited, max(oldest.ahead_bytes, 1) / waited)
        return bound if self.estimate is None else Throughput(*map(min, self.estimate, bound))
