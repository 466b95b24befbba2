"""SIGTERM and SIGINT: the first one asks for an orderly end, the second forces it.

A second one counts from `AGAIN_AFTER` seconds after the first: a wrapper that passes
a Ctrl-C on to a child that has got it too, and `timeout`, send two at once and mean
one. That holds a little longer than this is entered: a quick end must not turn the
other half of the pair into a death by signal.

Plain signal handlers are used, not the loop's: they run between two bytecodes of
the main thread even while a handler blocks the loop, so a second signal always
ends the process. Main thread only, as Python has it. A forked child has the
handlers of before: a signal ends it, and its parent hears nothing of that.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from irismq_runtime.loop import counts_again
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Signals", "say_and_exit"]

_STOPPING = (signal.SIGTERM, signal.SIGINT)
#: Those that are entered, for forked children.
_ENTERED: Final[list[Signals]] = []


class Signals:
    """Takes the stopping signals while it is entered.

    `on_first(name)` is called on `loop`; a second signal that counts ends the process
    with `forced_exit_code`, after one line on standard error. `clock`: seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_first: Callable[[str], None],
        forced_exit_code: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._on_first = on_first
        self._forced = forced_exit_code
        self._previous: dict[int, Any] = {}
        self._clock = clock
        self._first: float | None = None

    def __enter__(self) -> Self:
        for number in _STOPPING:
            self._previous[number] = signal.signal(number, self._take)
        _ENTERED.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _ENTERED:
            _ENTERED.remove(self)
        for number, handler in self._previous.items():
            signal.signal(number, handler if self._first is None else self._after(handler))
        self._previous.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal's form
        name = signal.Signals(number).name
        now = self._clock()
        if self._first is None:
            self._first = now
            self._loop.call_soon_threadsafe(self._on_first, name)
        elif counts_again(self._first, now):
            say_and_exit(self._forced, f"irismq: {name} again: ending at once\n")

    def _after(self, handler: Any) -> Callable[[int, FrameType | None], None]:
        """What takes a signal once this is over: `handler`, when it is one that counts."""
        first, clock = self._first or 0.0, self._clock

        def take(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # signal's form
            if counts_again(first, clock()):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
                signal.raise_signal(number)

        return take


def say_and_exit(code: int, text: str) -> NoReturn:
    """End the process now, after `text` on standard error. From a signal handler, too.

    By the file descriptor: what the signal has interrupted may be a write to
    `sys.stderr`, which would refuse another one inside of it. Where nobody reads,
    the text is not waited for.
    """
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, safe(text, "\n").encode())
    os._exit(code)


def _in_child() -> None:
    if _ENTERED:
        # The loop's own pipe for signals is the parent's.
        signal.set_wakeup_fd(-1)
    while _ENTERED:
        _ENTERED[-1].__exit__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
