"""The one place that chooses the event loop: uvloop where it exists.

Everything else asks for the running loop and does not know which one it is.

`run` also takes what the program has made so far, its modules and classes, out
of the collector's rounds: a full round over them stops the loop for tens of
milliseconds, and finds nothing.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

__all__ = ["AGAIN_AFTER", "counts_again", "new_event_loop", "run"]

#: Seconds after the first signal from which on another one counts. What comes sooner
#: is the same wish told twice: `timeout`, a shell and a wrapper each pass a Ctrl-C on
#: to a child that has got it already. A person who means it takes longer.
AGAIN_AFTER: Final = 1.0

T = TypeVar("T")


def counts_again(first: float, now: float) -> bool:
    """Whether a signal at `now`, after one at `first`, is a wish of its own (seconds)."""
    return now - first >= AGAIN_AFTER


class _Runner(asyncio.Runner):  # type: ignore[misc]  # final to a checker, not in Python
    """As `asyncio.Runner`, whose second Ctrl-C counts only where a person can mean it."""

    _interrupted_at: float | None = None

    def _on_sigint(self, signum: int, frame: FrameType | None, main_task: Any) -> None:
        now = time.monotonic()
        if self._interrupted_at is not None and not counts_again(self._interrupted_at, now):
            return
        if self._interrupted_at is None:
            self._interrupted_at = now
        super()._on_sigint(signum, frame, main_task)  # type: ignore[misc]  # asyncio's own hook


def _factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not built for this platform: plain asyncio serves
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop of the kind that `run` uses. It belongs to the caller."""
    return _factory()()


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run `main` on a new loop to its end.

    Tasks that are left over are cancelled and asynchronous generators closed, as with
    `asyncio.run`. A second Ctrl-C within `AGAIN_AFTER` seconds of the first is the same
    one. What exists when it begins is not looked through for garbage until it ends
    (`gc.freeze`).

    Args:
        main: The coroutine of the program.
        debug: asyncio's debug mode; None is asyncio's default.

    Returns:
        What `main` returns.

    Raises:
        RuntimeError: A loop already runs in this thread.
        BaseException: What `main` raises.
    """
    gc.freeze()
    try:
        return _run(main, debug=debug)
    finally:
        gc.unfreeze()


def _run(main: Coroutine[Any, Any, T], *, debug: bool | None) -> T:
    with _Runner(debug=debug, loop_factory=_factory()) as runner:
        return runner.run(main)
