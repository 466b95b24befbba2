"""The deadlines of all that a publisher has not settled, on one timer.

The timer stands at the first of them. When it rings, queues and batches are looked
through: batches know their first deadline, so only those that have one that is past
cost more than one look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.mailbox.publish.outbox import Outbox, OutgoingMessage
    from irismq_runtime.mailbox.publish.publisher_connection import PublisherConnection

__all__ = ["DeadlineTimer"]

_NEVER: Final = float("inf")


class DeadlineTimer:
    """Calls `fail(message)` for each message at its deadline, soon after it. Loop thread only."""

    __slots__ = ("_brokers", "_clock", "_fail", "_outboxes", "_timer", "at")

    def __init__(
        self,
        clock: Clock,
        outboxes: Sequence[Outbox],
        brokers: Sequence[PublisherConnection],
        fail: Callable[[OutgoingMessage], None],
    ) -> None:
        self._clock = clock
        self._outboxes = outboxes
        self._brokers = brokers
        self._fail = fail
        self._timer: TimerHandle | None = None
        #: When the timer rings, by the clock; infinite: not at all.
        self.at = _NEVER

    def arm(self, deadline: float) -> None:
        """Let the timer ring at `deadline`, and not before."""
        self.cancel()
        self.at = deadline
        delay = max(0.0, deadline - self._clock.monotonic())
        self._timer = self._clock.call_later(delay, self._ring)

    def cancel(self) -> None:
        """Let it not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.at = _NEVER

    def _ring(self) -> None:
        """Fail what is past its deadline, and look when to look again."""
        self._timer = None
        self.at = _NEVER
        now = self._clock.monotonic()
        following = _NEVER
        waiting = self.unsettled(due=now)
        for message in waiting:
            if message.done():
                continue
            if message.deadline <= now:
                self._fail(message)
            else:
                following = min(following, message.deadline)
        if following < _NEVER:
            # Looking costs time, so a long queue is looked at less often.
            self.arm(max(following, now + max(0.01, 2e-6 * len(waiting))))

    def unsettled(self, due: float = _NEVER) -> list[OutgoingMessage]:
        """Every message, wherever it is; of batches without one that is `due` only the first."""
        waiting = [message for outbox in self._outboxes for message in outbox.waiting()]
        for broker in self._brokers:
            waiting.extend(broker.channel_creator.waiting())
            for batch in broker.unconfirmed:
                if batch.deadline <= due:
                    waiting.extend(batch.messages)
                    for message in batch.messages:
                        message.written = True
                else:
                    first = min(batch.messages, key=lambda message: message.deadline)
                    waiting.append(first)
        return waiting
