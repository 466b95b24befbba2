"""The heartbeat of a connection: notices a relay that is there but says nothing.

At each beat: if anything came since the last one, all is well; if not, the
relay is asked for a sign of life; if that brought nothing by the next beat, the
connection is dead. A busy connection is never asked. Two silent beats in a row are needed,
so a loop that was blocked for long does not blame the relay. Where many connections lead
to one relay they beat less often, so that they cost little at rest (addresses.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.pyiris.connection import Connection

__all__ = ["HeartbeatMonitor"]


class HeartbeatMonitor:
    """Watches one connection.

    Args:
        connection: What is watched.
        interval: Gives the seconds until the next beat, at each beat.
        clock: For beats.
        ping: Makes a live relay send something.
    """

    def __init__(
        self,
        connection: Connection,
        interval: Callable[[], float],
        clock: Clock,
        ping: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._interval = interval
        self._clock = clock
        self._ping = ping
        self._asked = False
        self._timer: TimerHandle = clock.call_later(interval(), self._beat)

    def stop(self) -> None:
        """Cancel the timer: the connection is over."""
        self._timer.cancel()

    def _beat(self) -> None:
        if self._connection.heard:
            self._connection.heard = self._asked = False
        elif self._asked:
            self._connection.abort(f"the relay said nothing for {2 * self._interval():g} s")
            return
        else:
            self._asked = True
            self._ping()
        self._timer = self._clock.call_later(self._interval(), self._beat)
