"""What systemd is told of a node: READY, STATUS, WATCHDOG, STOPPING; sd_notify(3).

Only where `NOTIFY_SOCKET` names a socket, which systemd sets for units of
`Type=notify`; without it nothing is done and no timer runs. Order: a status while
the node connects, `READY=1` when its tree runs, a status whenever its readiness
changes, `STOPPING=1` when it begins to end. With `WatchdogSec=` in the unit,
`WATCHDOG=1` is sent at half of that time, from the loop and only while the node
is live: a loop that stands still or a node that is of no use is not fed, and
systemd restarts the process. A message that cannot be sent is logged once; the
node goes on.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Final, Self

from actors import LoopClock
from irismq_runtime.errors import ConfigError
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors import Clock, TimerHandle
    from irismq_runtime.observe.health import Health

__all__ = ["ServiceManager", "socket_address", "watchdog_seconds"]

_LOG = logging.getLogger("irismq.node")

#: Seconds between two looks at the readiness, for the status line.
PERIOD: Final = 1.0
#: Seconds until what found no room is sent again.
_SOON: Final = 0.05
#: Characters of a status line; systemd shows one line.
_STATUS: Final = 200


def socket_address(text: str) -> str:
    """Return `NOTIFY_SOCKET` as an address for a socket; "@name" is an abstract one.

    Raises `ConfigError` for what is not a unix socket.
    """
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    if text.startswith("/"):
        return text
    raise ConfigError("NOTIFY_SOCKET", f"{text!r} is not a unix socket", "unset it, or give a path")


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds of silence systemd restarts process `pid`; None: never."""
    try:
        period = int(environment.get("WATCHDOG_USEC", "")) / 1e6
        meant = int(environment.get("WATCHDOG_PID", pid))
    except ValueError:
        return None
    return period if period > 0 and meant == pid else None


class ServiceManager:
    """Tells systemd of one node between `__enter__` and `__exit__`. Loop thread only.

    `health` gives None while there is none to speak of. `environment` is that of
    the process.
    """

    def __init__(
        self,
        health: Callable[[], Health | None],
        clock: Clock,
        *,
        environment: Mapping[str, str],
        pid: int,
    ) -> None:
        where = environment.get("NOTIFY_SOCKET", "")
        self._address = socket_address(where) if where else ""
        self._health = health
        self._clock = clock
        self._patience = watchdog_seconds(environment, pid)
        self._socket: socket.socket | None = None
        self._timers: list[TimerHandle] = []
        self._status = ""
        self._is_ready = False
        #: What found no room at systemd's, and the timer of the next try.
        self._unsent: list[str] = []
        self._again: TimerHandle | None = None

    @classmethod
    def of_this_process(cls, health: Callable[[], Health | None]) -> Self:
        """One for this process and its environment, on the clock of the running loop."""
        return cls(health, LoopClock(), environment=os.environ, pid=os.getpid())

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self.say("connecting")
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._again is not None:
            self._again.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def say(self, status: str) -> None:
        """Show one line as the status of the unit."""
        line = safe(" ".join(status.split()))[:_STATUS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def ready(self) -> None:
        """The tree runs: the unit is active from now on, and the watchdog is fed."""
        if self._socket is None:
            return
        self._is_ready = True
        self._send("READY=1")
        self._every(PERIOD, self._show)
        if self._patience is not None:
            self._every(self._patience / 2, self._feed)

    def stopping(self, reason: str) -> None:
        """The node begins to end."""
        self._is_ready = False
        self._send("STOPPING=1")
        self.say(f"ending: {reason}")

    def _every(self, period: float, look: Callable[[], None]) -> None:
        """Call `look` now, and every `period` seconds."""
        slot = len(self._timers)

        def again() -> None:
            look()
            self._timers[slot] = self._clock.call_later(period, again)

        self._timers.append(self._clock.call_later(period, again))
        look()

    def _show(self) -> None:
        health = self._health()
        if health is not None and self._is_ready:
            self.say("ready" if health.ready else f"not ready: {'; '.join(health.reasons)}")

    def _feed(self) -> None:
        health = self._health()
        if health is None or health.live:
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        """Send `text` now, or soon when systemd is behind; of a kind the latest alone."""
        kind = text.partition("=")[0]
        self._unsent = [line for line in self._unsent if line.partition("=")[0] != kind]
        self._unsent.append(text)
        self._flush()

    def _flush(self) -> None:
        while self._unsent and self._socket is not None:
            try:
                self._socket.sendto(self._unsent[0].encode(), self._address)
            except BlockingIOError:
                if self._again is not None:
                    self._again.cancel()
                self._again = self._clock.call_later(_SOON, self._flush)
                return
            except OSError as error:
                _LOG.warning("systemd is not told any more: %s: %s", self._address, error)
                self._socket.close()
                self._socket = None
            else:
                del self._unsent[0]
        self._unsent.clear()
