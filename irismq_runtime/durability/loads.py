"""Loads of states that are wanted in one turn of the loop, as one read of the store.

Many activations begin together: after a start, a move, or a burst of messages to keys that
rest. Each waits for its own state; the store is asked once for all of them, and again for those
that it could not give, when it can be used. Loop thread only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import StoreUnavailable

if TYPE_CHECKING:
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports.state_store import StateKey, StoredState

__all__ = ["Loads"]

#: States that one read asks for.
_TOGETHER: Final = 256


class Loads:
    """The loads of one node that wait."""

    __slots__ = ("_engine", "_running", "_wanted")

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine
        self._wanted: dict[StateKey, list[asyncio.Future[StoredState]]] = {}
        self._running = False

    async def load(self, key: StateKey) -> StoredState:
        """What is stored for `key`, as soon as the store can be used."""
        future: asyncio.Future[StoredState] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(key, []).append(future)
        if not self._running:
            self._running = True
            self._engine.spawn(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._wanted:
                await self._engine.committer.usable()
                some = list(self._wanted)[:_TOGETHER]
                waiting = [self._wanted.pop(key) for key in some]
                try:
                    found = await self._engine.store.load(some)
                except StoreUnavailable as fault:
                    self._engine.committer.fault_seen(fault)
                    for key, futures in zip(some, waiting, strict=True):
                        self._wanted.setdefault(key, []).extend(futures)
                    continue
                except Exception as error:  # of the store's code: whoever waits learns of it
                    for futures in waiting:
                        _fail(futures, error)
                    raise
                for stored, futures in zip(found, waiting, strict=True):
                    for future in futures:
                        if not future.done():
                            future.set_result(stored)
        finally:
            self._running = False


def _fail(futures: list[asyncio.Future[StoredState]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
