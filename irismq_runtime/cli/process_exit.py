"""The end of the process of `irismq run`, at both sides of the node's own.

Before the node takes the signals (the tree is being imported, which may take
seconds) the first one ends the process with code 0: nothing has begun. After the
node has ended, what may still hold the process up is none of its business: a name
server that does not answer the resolver's thread, a thread of a handler that hangs.
That gets `GRACE` seconds, then the process ends with the code it was to end with; a
signal changes nothing: those seconds are how long a second one would not count.
All of it holds for PID 1 of a container too, where a signal without a handler does
nothing.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from irismq_runtime.cli import codes
from irismq_runtime.node.process.signals import say_and_exit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["exit_cleanly_on_signal", "exit_within_grace"]

#: Seconds for what does not belong to the node.
GRACE: Final = 1.0
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def exit_cleanly_on_signal() -> Iterator[None]:
    """End with code 0 at the first signal, while this is entered. Main thread only."""
    previous = {number: signal.signal(number, _end) for number in _STOPPING}
    try:
        yield
    except SystemExit:
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)  # it ends: one more changes nothing
        raise
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


def _end(*_: object) -> NoReturn:
    raise SystemExit(codes.OK)


def exit_within_grace(code: int, text: str = "") -> None:
    """Have the process end with `code` within `GRACE` seconds from now. Main thread only.

    `text` is what would have been said as its last line, and is said if it is cut.
    For a process that is the command's own: see `main.OWN_PROCESS`.
    """
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    timer = threading.Timer(GRACE, _cut, (code, text))
    timer.daemon = True
    timer.name = "process-exit"
    timer.start()


def _cut(code: int, text: str) -> NoReturn:
    names = ", ".join(
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and thread is not threading.current_thread()
    )
    held = f"irismq: ending without what still runs ({names or 'a look-up of a name'})"
    # RuntimeError: a signal has interrupted a write, which refuses another inside of it.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        sys.stdout.flush()
    say_and_exit(code, "".join(f"{line}\n" for line in (text, held) if line))
