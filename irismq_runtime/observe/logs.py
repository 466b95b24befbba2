"""Log lines that do not flood: one line per second per kind, with a count.

The first line of a kind is written at once; those that follow within the
second are counted, and the count is written with the next line of that kind or
when the second is over. Message bodies and secrets are never logged: callers
give names, ids and reasons, each shortened.

Belongs to one loop; the clock is an argument.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from actors.clock import Clock, TimerHandle

__all__ = ["RateLimitedLog", "shorten"]

_MAX_TEXT: Final = 300


def shorten(value: object, limit: int = _MAX_TEXT) -> str:
    """Return `value` as text on one line, at most `limit` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(slots=True)
class _Kind:
    level: int
    text: str
    suppressed: int = 0
    timer: TimerHandle | None = None


class RateLimitedLog:
    """Writes to the logger `name`, at most one line per `period` seconds per kind."""

    __slots__ = ("_clock", "_kinds", "_logger", "_period")

    def __init__(self, name: str, clock: Clock, *, period: float = 1.0) -> None:
        self._logger = logging.getLogger(name)
        self._clock = clock
        self._period = period
        self._kinds: dict[str, _Kind] = {}

    def note(self, kind: str, text: str) -> None:
        """Something that someone may want to look at. `kind` groups equal lines."""
        self._say(logging.WARNING, kind, text)

    def fault(self, kind: str, text: str) -> None:
        """Something that someone has to look at."""
        self._say(logging.ERROR, kind, text)

    def _say(self, level: int, kind: str, text: str) -> None:
        known = self._kinds.get(kind)
        if known is None:
            self._logger.log(level, "%s", shorten(text))
            known = self._kinds[kind] = _Kind(level, text)
            known.timer = self._clock.call_later(self._period, self._over, kind)
            return
        known.suppressed += 1
        known.level, known.text = level, text

    def _over(self, kind: str) -> None:
        known = self._kinds[kind]
        if not known.suppressed:
            del self._kinds[kind]
            return
        self._logger.log(known.level, "%s (%d like this)", shorten(known.text), known.suppressed)
        known.suppressed = 0
        known.timer = self._clock.call_later(self._period, self._over, kind)

    def close(self) -> None:
        """Write the counts that are left, and stop the timers."""
        for known in self._kinds.values():
            if known.timer is not None:
                known.timer.cancel()
            if known.suppressed:
                self._logger.log(
                    known.level, "%s (%d like this)", shorten(known.text), known.suppressed
                )
        self._kinds.clear()
