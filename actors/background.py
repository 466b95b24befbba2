"""An event loop on a thread of its own, for programs that run none.

Started on demand. The thread is a daemon, so that a program can end; at exit
the system that owns it is asked to stop its actors, within a bounded time.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["BackgroundLoop"]


class BackgroundLoop:
    """One loop, one thread. `start` and `stop` from any other thread."""

    __slots__ = ("_factory", "_name", "_ready", "_thread", "loop", "thread_id")

    def __init__(self, name: str, factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
        self._name = name
        self._factory = factory if factory is not None else asyncio.new_event_loop
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread_id = 0

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the thread; returns when its loop runs."""
        loop = self.loop = self._factory()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name=f"actors-{self._name}", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        return loop

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run `coroutine` there and wait for its result."""
        if self.loop is None:
            raise RuntimeError("the background loop was not started")
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def stop(self) -> None:
        """Stop the loop, wait for its thread, close it."""
        if self.loop is None or self._thread is None or self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        self.thread_id = threading.get_ident()
        loop.call_soon(self._ready.set)
        loop.run_forever()
