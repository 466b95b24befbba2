"""The health monitor: looks at the node's health every second, and reports changes.

A node that is alive but does not work raises no error anywhere: a consumer that gets
nothing, a membership that is gone, presence that is not heard. The log has
one line when the node stops being ready, with the reasons, and one when it is
ready again; an event has the same. Both are quiet while nothing changes. Of
a node with thousands of addresses it takes little of the loop's time all the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, Events, TimerHandle
    from irismq_runtime.observe.health import Health

__all__ = ["HealthMonitor"]

_LOG = logging.getLogger("irismq.node")

#: Seconds between two looks, at least. A failure is reported when it is seen twice, so
#: that a restart or a reconnect of a moment is not reported.
PERIOD = 1.0
#: Addresses that it looks at in a second, on average: a look at thousands comes less often.
ADDRESSES: Final = 500


class HealthMonitor:
    """Looks at `health` on `clock` between `start` and `stop`. Loop thread only.

    `addresses`: how many it is made of.
    """

    def __init__(
        self,
        health: Callable[[], Health],
        clock: Clock,
        events: Events,
        addresses: Callable[[], int] = lambda: 0,
    ) -> None:
        self._health = health
        self._addresses = addresses
        self._clock = clock
        self._events = events
        self._timer: TimerHandle | None = None
        self._said_ready = True
        self._failed_before = False

    def start(self) -> None:
        """Begin to look."""
        pause = max(PERIOD, self._addresses() / ADDRESSES)
        self._timer = self._clock.call_later(pause, self._look)

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        health = self._health()
        news = health.ready if not self._said_ready else self._failed_before and not health.ready
        if news:
            self._say(health)
        self._failed_before = not health.ready
        self.start()

    def _say(self, health: Health) -> None:
        self._said_ready = health.ready
        if health.ready:
            _LOG.warning("the node is ready again")
        else:
            _LOG.warning("the node is not ready: %s", "; ".join(health.reasons[:10]))
        if self._events.active:
            self._events.emit("health.changed", ready=health.ready, reasons=health.reasons)
