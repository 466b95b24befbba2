"""Log lines that do not flood: one line per second of those that are alike, with a count.

The first line of its like is written at once; those that follow within the second
are counted, and the count is written when the second is over. Alike are lines of one
kind, a few words of ours: two hundred mailboxes that lose one broker are one kind.
Where each names something of its own that somebody must know (the address, type and
reason of a message that failed), the caller says so by `like`, and only what has the
same is alike. Of one kind at most `_MOST` are apart at once; the rest are one line
again, so that no stranger's values make a flood.

A record has a constant template for its kind, and its values are arguments: what
groups errors by their template groups rightly. Message bodies and secrets are never
logged: callers give names, ids and reasons, each shortened. A record carries `kind`
and `count` as extras, for the lines of json_lines. Belongs to one loop; the clock is
an argument.
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
    """Return a value as text that fits into a line of a log. For any thread.

    Args:
        value: Any object; one whose `str` fails is shown by its class.
        limit: Characters, at most; a cut text ends with "…".

    Returns:
        One line, without what a terminal would obey.
    """
    text = safe(" ".join(text_of(value).split()))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


#: Lines of one kind that are told apart at the same time.
_MOST: Final = 16


class _Like:
    """Lines that are alike, and the last of them."""

    __slots__ = ("arguments", "level", "template", "throttle", "timer")

    def __init__(self, period: float) -> None:
        self.throttle = Throttle(period)
        self.level = 0
        self.template = ""
        self.arguments: tuple[object, ...] = ()
        self.timer: TimerHandle | None = None


class RateLimitedLog:
    """Writes to a logger at most one line a period of those that are alike. Loop thread only.

    Args:
        name: The name of the logger.
        clock: Says what time it is, and calls back when a period is over.
        period: Seconds.
    """

    __slots__ = ("_clock", "_kinds", "_logger", "_period")

    def __init__(self, name: str, clock: Clock, *, period: float = 1.0) -> None:
        self._logger = logging.getLogger(name)
        self._clock = clock
        self._period = period
        self._kinds: dict[str, dict[tuple[str, ...], _Like]] = {}

    def note(self, kind: str, text: str, *args: object, like: tuple[str, ...] = ()) -> None:
        """Write a warning: something that someone may want to look at; see `write`."""
        self.write(logging.WARNING, kind, text, *args, like=like)

    def fault(self, kind: str, text: str, *args: object, like: tuple[str, ...] = ()) -> None:
        """Write an error: something that someone has to look at; see `write`."""
        self.write(logging.ERROR, kind, text, *args, like=like)

    def write(
        self,
        level: int,
        kind: str,
        text: str,
        *args: object,
        like: tuple[str, ...] = (),
        error: BaseException | None = None,
    ) -> None:
        """Write `text % args`, or count it when a line of its like was just written.

        Args:
            level: A level of `logging`.
            kind: A word of ours for such lines; becomes the extra `kind` of the record.
            text: The template, the same for all lines of `kind`.
            args: What is put into the template, each shortened.
            like: What must be the same besides the kind, for lines to be alike.
            error: Its traceback follows the line, if the line is written.
        """
        now = self._clock.monotonic()
        key, known = self._known(kind, like, now)
        known.level, known.template = level, text
        known.arguments = tuple(map(_argument, args))
        count = known.throttle.note(now)
        if count:
            self._say(kind, known, count, error)
        elif known.timer is None:
            left = known.throttle.until - now
            known.timer = self._clock.call_later(left, self._over, kind, key)

    def _known(self, kind: str, like: tuple[str, ...], now: float) -> tuple[tuple[str, ...], _Like]:
        likes = self._kinds.setdefault(kind, {})
        if like not in likes and len(likes) >= _MOST:
            for key, quiet in list(likes.items()):
                if quiet.timer is None and quiet.throttle.until <= now:
                    del likes[key]
            if len(likes) >= _MOST:
                like = ()
        if like not in likes:
            likes[like] = _Like(self._period)
        return like, likes[like]

    def _over(self, kind: str, key: tuple[str, ...]) -> None:
        """The period is over: write how many more there were, if any."""
        known = self._kinds[kind][key]
        known.timer = None
        self._say_rest(kind, known)

    def _say_rest(self, kind: str, known: _Like) -> None:
        if known.throttle.held:
            held = known.throttle.rest(self._clock.monotonic())
            self._say(kind, known, held, None, more=True)

    def _say(
        self,
        kind: str,
        known: _Like,
        count: int,
        error: BaseException | None,
        *,
        more: bool = False,
    ) -> None:
        template, arguments = known.template, known.arguments
        if not arguments:
            template = shorten(template).replace("%", "%%")
        if more or count > 1:
            template, arguments = f"{template} (%d like this)", (*arguments, count)
        elif not arguments:
            template = template.replace("%%", "%")  # without arguments nothing is put in
        extra = {"kind": kind, "count": count}
        seen = None if error is None else exc_info_of(error)
        self._logger.log(known.level, template, *arguments, exc_info=seen, extra=extra)

    def close(self) -> None:
        """Write the counts that are left, and stop the timers."""
        for kind, likes in self._kinds.items():
            for known in likes.values():
                if known.timer is not None:
                    known.timer.cancel()
                self._say_rest(kind, known)
        self._kinds.clear()


def _argument(value: object) -> object:
    """A value as it is put into a line: numbers for %d and %f, all else as a text."""
    return value if isinstance(value, int | float) else shorten(value)
