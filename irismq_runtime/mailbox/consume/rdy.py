"""How many messages one consumer asks for, of which brokers, and telling them (RDY).

What may be in flight is the window, nothing while paused, cut by the backoff,
less what handlers hold without a lease (the broker does not count those any
more). `rdy_distribution` shares it out over the connections; this tells them, at most
once per loop turn, and looks again when time alone changes the answer. After
`stop` nothing is told any more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from irismq_runtime.mailbox.consume.failure_backoff import FailureBackoff
from irismq_runtime.mailbox.consume.rdy_distribution import RdyDistribution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from actors.clock import TimerHandle
    from irismq_runtime.mailbox.consume.consumer_connection import ConsumerConnection
    from irismq_runtime.mailbox.context import MailboxContext

__all__ = ["RdyControl"]


class RdyControl:
    """See the module. Loop thread only."""

    def __init__(
        self,
        context: MailboxContext,
        topic: str,
        window: int,
        connections: Callable[[], Collection[ConsumerConnection]],
    ) -> None:
        config = context.config
        self.window = window
        self.paused = False
        self.distribution = RdyDistribution()
        self.backoff = FailureBackoff(
            context.rng,
            after=config.backoff_after,
            base=config.backoff_base,
            cap=config.backoff_max,
        )
        self._context = context
        self._topic = topic
        self._connections = connections
        self._stopped = False
        self._planned = False
        self._timer: TimerHandle | None = None

    def plan_soon(self) -> None:
        """Plan at the end of this loop turn."""
        if not self._planned and not self._stopped:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._plan)

    def plan_now(self) -> None:
        """Make a plan that is due at the end of this turn at once."""
        if self._planned:
            self._plan()

    def stop(self) -> None:
        """Tell nobody anything from now on."""
        self._stopped = True
        self._cancel_timer()

    def failed(self, received_at: float) -> None:
        """A message failed, with penalty, that came at `received_at`."""
        now = self._context.clock.monotonic()
        if self.backoff.failed(received_at, now):
            self._context.log.write(
                logging.WARNING,
                "backoff",
                "%s slows down: failures in a row, step %d, next message in %.2f s",
                self._topic,
                self.backoff.level,
                self.backoff.until - now,
            )
            self.plan_soon()

    def why_not(self, now: float) -> str:
        """Why less than the window is asked for; empty when it is not."""
        return self.why_paused() or self.why_slow(now)

    def why_paused(self) -> str:
        """Why nothing is asked for until somebody says so; empty when that is not so."""
        if self.paused:
            return "paused"
        return "the window is 0" if self.window <= 0 else ""

    @property
    def slow(self) -> bool:
        """Whether little is asked for, as messages fail."""
        return self.backoff.level > 0

    def why_slow(self, now: float) -> str:
        """Why little is asked for: messages fail; empty when they do not."""
        if self.backoff.level:
            wait = max(0.0, self.backoff.until - now)
            return f"slowed down after failures in a row, next message in {wait:.1f} s"
        return ""

    def _plan(self) -> None:
        """Share the window out anew, and tell the brokers."""
        self._planned = False
        self._cancel_timer()
        if self._stopped:
            return
        now = self._context.clock.monotonic()
        connections = self._connections()
        limit = self.backoff.limit(0 if self.paused else self.window, now)
        lost = sum(len(connection.lost) for connection in connections)
        self.distribution.limit = max(0, limit - lost)
        changed, again = self.distribution.plan(now)
        for connection in connections:
            if connection.share is not None and connection.share in changed:
                connection.tell_ready(connection.share.ready)
        if self.backoff.level and now < self.backoff.until:
            pause = self.backoff.until - now
            again = pause if again is None else min(again, pause)
        if again is not None:
            self._timer = self._context.clock.call_later(again, self._plan)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
