"""A failure of an ask that nobody has looked at: said when it is certain that nobody will.

An `Unheard` is made only when an ask fails while nobody waits for it, and hangs on
the ask. Whoever looks at the failure marks it. The log has a line when both are
thrown away unmarked: a refusal must not vanish because its answer was left alone.
Failures that are alike, by target, message type and class, are a line a second.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Final

from actors.errors import AskCancelled
from actors.texts import text_of

__all__ = ["Unheard", "unheard"]

logger = logging.getLogger("actors")

#: Seconds between two lines about failures that are alike.
_PERIOD: Final = 1.0
#: How many kinds of failures are told apart at once; with more all of them may speak again.
_MOST: Final = 256

#: Kind -> when it may be said again, and how many were held back.
_said: dict[tuple[str, str, str], list[float]] = {}


class Unheard:
    """The failure `error` of an ask of `message_type` to `target`; any thread."""

    __slots__ = ("error", "heard", "message_type", "target")

    def __init__(self, target: object, message_type: str, error: BaseException) -> None:
        self.target = target
        self.message_type = message_type
        self.error = error
        #: Whether somebody has looked at it.
        self.heard = False

    def __del__(self) -> None:
        if self.heard:
            return
        # Called by the garbage collector, at any place and at the end of the interpreter:
        # nobody could be told of what goes wrong here.
        with contextlib.suppress(BaseException):
            _say(str(self.target), self.message_type, self.error)


def _say(target: str, message_type: str, error: BaseException) -> None:
    # The machine's clock: this is about lines of a log, and belongs to no system.
    now, kind = time.monotonic(), (target, message_type, type(error).__name__)
    if len(_said) > _MOST:
        _said.clear()
    known = _said.setdefault(kind, [0.0, 0])
    known[1] += 1
    if now < known[0]:
        return
    count, known[:] = int(known[1]), [now + _PERIOD, 0]
    logger.warning(
        "An ask of %s to %s failed, and nobody awaits it: %s: %s%s; await the ask, or use tell",
        message_type,
        target,
        kind[2],
        text_of(error),
        f" ({count} like this)" if count > 1 else "",
    )


def unheard(target: object, message_type: str, error: BaseException) -> Unheard | None:
    """What hangs on an ask that fails while nobody waits; None when its caller gave it up."""
    # By its type: what a user's exception says its class is may raise.
    return None if issubclass(type(error), AskCancelled) else Unheard(target, message_type, error)
