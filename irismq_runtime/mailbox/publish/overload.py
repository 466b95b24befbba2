"""Refuses what cannot be confirmed in its time, over all brokers of a publisher.

The decisions are in `admission`, the figures in `throughput`.

Where copies go to several brokers the slowest counts. Who is refused learns it at
the call; the operator reads it in the log, once a second.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from irismq_runtime.mailbox.publish.admission import AdmissionControl
from irismq_runtime.mailbox.publish.outbox import FRAMING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.mailbox.publish.publisher_connection import PublisherConnection
    from irismq_runtime.mailbox.publish.throughput import Throughput

__all__ = ["OverloadGuard"]


class OverloadGuard:
    """See the module. Loop thread only."""

    __slots__ = ("_admission", "_brokers", "_context")

    def __init__(self, context: MailboxContext, brokers: Sequence[PublisherConnection]) -> None:
        self._context = context
        self._brokers = brokers
        self._admission = AdmissionControl(context.config.publish_timeout)

    @property
    def saturated(self) -> bool:
        """Whether something waits because a broker has enough to do."""
        return self._admission.saturated

    def check(self, waiting: tuple[int, int], count: int, total: int, timeout: float) -> None:
        """Raise `BrokerTooSlow` if so many messages more cannot be confirmed in their time.

        `waiting`: messages and bytes that are accepted and not settled.
        """
        now = self._context.clock.monotonic()
        speed = self._slowest(now)
        if speed is None:
            return
        # What failed on its way to the broker occupies it all the same.
        messages = max(waiting[0], *(broker.in_count for broker in self._brokers))
        ahead = (messages, waiting[1] + FRAMING * messages)
        more = (count, total + FRAMING * count)
        if refusal := self._admission.refusal(speed, ahead, more, timeout, now):
            self._context.log.write(logging.WARNING, "too slow", "refused to publish: %s", refusal)
            raise refusal

    def observe(self, *, saturated: bool) -> float:
        """Note whether something waits for a broker; returns how many bytes need no `check`."""
        now = self._context.clock.monotonic()
        if self._admission.observe(now, saturated=saturated):
            for broker in self._brokers:
                broker.estimator.forget(now)
        return self._admission.unchecked_bytes(self._slowest(now))

    def _slowest(self, now: float) -> Throughput | None:
        """What the slowest of the brokers that have enough to do confirms."""
        speeds = [broker.throughput(now, self._admission.silence) for broker in self._brokers]
        return min(filter(None, speeds), default=None)
