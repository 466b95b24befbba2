"""What the mailbox says of itself: health values and log lines, both bounded.

A broker that is down makes the same complaint many times a second. A line of a
kind is written at most once a second; the next one says how many were left out.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WELL", "Health", "LimitedLog"]


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """`ok`, or the reason why not (fills `ports.TransportHealth`)."""

    ok: bool
    reason: str = ""


WELL = Health(ok=True)


class LimitedLog:
    """Log lines, at most one per kind and `interval` seconds."""

    __slots__ = ("_interval", "_last", "_log", "_now")

    def __init__(
        self, now: Callable[[], float], *, name: str = "irismq.mailbox", interval: float = 1.0
    ) -> None:
        self._now = now
        self._interval = interval
        self._log = logging.getLogger(name)
        self._last: dict[str, tuple[float, int]] = {}

    def write(self, level: int, kind: str, text: str, *args: object, error: object = None) -> None:
        """Write `text % args`, or count it when a line of `kind` was just written."""
        now = self._now()
        at, held_back = self._last.get(kind, (float("-inf"), 0))
        if now - at < self._interval:
            self._last[kind] = (at, held_back + 1)
            return
        self._last[kind] = (now, 0)
        if held_back:
            text += f" ({held_back} more of this kind since the last line)"
        trace = error if isinstance(error, BaseException) else None
        self._log.log(level, text, *args, exc_info=trace)
