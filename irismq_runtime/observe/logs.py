"""Log lines that do not flood: one line per second per kind, with a count.

The first line of a kind is written at once; those that follow within the
second are counted, and the count is written when the second is over. A kind is a
few words of ours, never a user's value: two hundred mailboxes that lose one
broker are one kind. Message bodies and secrets are never logged: callers give
names, ids and reasons, each shortened.

A record carries `kind` and `count` as extras, for the lines of json_lines. Belongs to one
loop; the clock is an argument.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from actors.texts import exc_info_of, text_of
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from actors.clock import Clock, TimerHandle

__all__ = ["RateLimitedLog", "shorten"]

_MAX_TEXT: Final = 300


def shorten(value: object, limit: int = _MAX_TEXT) -> str:
    """Return `value` as text on one line, at most `limit` characters."""
    text = safe(" ".join(text_of(value).split()))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class _Kind:
    __slots__ = ("level", "text", "throttle", "timer")

    def __init__(self, period: float) -> None:
        self.throttle = Throttle(period)
        self.level = 0
        self.text = ""
        self.timer: TimerHandle | None = None


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
        self.write(logging.WARNING, kind, text)

    def fault(self, kind: str, text: str) -> None:
        """Something that someone has to look at."""
        self.write(logging.ERROR, kind, text)

    def write(
        self, level: int, kind: str, text: str, *args: object, error: BaseException | None = None
    ) -> None:
        """Write `text % args`, or count it when a line of `kind` was just written.

        `error`: its traceback follows the line, if the line is written.
        """
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind(self._period)
        known.level, known.text = level, text % args if args else text
        count = known.throttle.note(self._clock.monotonic())
        if count:
            self._say(kind, known, count, error)
        elif known.timer is None:
            left = known.throttle.until - self._clock.monotonic()
            known.timer = self._clock.call_later(left, self._over, kind)

    def _over(self, kind: str) -> None:
        """The second is over."""
        known = self._kinds[kind]
        known.timer = None
        self._say_rest(kind, known)

    def _say_rest(self, kind: str, known: _Kind) -> None:
        if known.throttle.held:
            held = known.throttle.rest(self._clock.monotonic())
            self._say(kind, known, held, None, more=True)

    def _say(
        self,
        kind: str,
        known: _Kind,
        count: int,
        error: BaseException | None,
        *,
        more: bool = False,
    ) -> None:
        text = shorten(known.text)
        if more or count > 1:
            text = f"{text} ({count} like this)"
        extra = {"kind": kind, "count": count}
        seen = None if error is None else exc_info_of(error)
        self._logger.log(known.level, "%s", text, exc_info=seen, extra=extra)

    def close(self) -> None:
        """Write the counts that are left, and stop the timers."""
        for kind, known in self._kinds.items():
            if known.timer is not None:
                known.timer.cancel()
            self._say_rest(kind, known)
        self._kinds.clear()
