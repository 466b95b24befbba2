"""Standard output as a pipe whose reader may be slow, or go away at any time.

Writing and watching happen in threads of their own, so that the event loop keeps
what it holds alive while nobody reads, and a signal ends the command though a
write hangs. Both threads are daemons: nobody waits for them. What `write` has
returned True for is with the operating system, every byte of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pipe"]


class Pipe:
    """Made inside a running loop. `on_gone` is called once on it, when no reader is left."""

    def __init__(self, descriptor: int, on_gone: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[bytes, asyncio.Future[bool]]] = queue.SimpleQueue()
        for target in (self._write_all, self._watch):
            threading.Thread(target=target, name=f"stdout {target.__name__}", daemon=True).start()

    def write(self, data: bytes) -> asyncio.Future[bool]:
        """Write all of `data` at once; False when the reader is gone. Raises `OSError`."""
        done: asyncio.Future[bool] = self._loop.create_future()
        self._work.put((data, done))
        return done

    def _write_all(self) -> None:
        while True:
            data, done = self._work.get()
            try:
                _write(self._descriptor, data)
            except BrokenPipeError:
                self._call(_settle, done, False)
            except OSError as error:
                self._call(_fail, done, error)
            else:
                self._call(_settle, done, True)

    def _watch(self) -> None:
        """Wait for the end of the reader: the one event that is reported unasked."""
        if not hasattr(select, "poll"):  # then the next write finds out
            return
        poll = select.poll()
        poll.register(self._descriptor, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll()):
            self._call(self._on_gone)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(function, *arguments)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody else made the descriptor non-blocking
            select.select([], [descriptor], [])


def _settle(done: asyncio.Future[bool], written: bool) -> None:
    if not done.done():
        done.set_result(written)


def _fail(done: asyncio.Future[bool], error: OSError) -> None:
    if not done.done():
        done.set_exception(error)
