"""The journal that writes: one thread, one transaction for all that waits.

The loop gathers what is decided into a batch; when the thread is free it gets
the batch, and while it commits the next one gathers. So a lone publish waits
for one commit, and many at once share one. Callbacks run on the loop.

When a write fails (disk full), the publishes of its batch are refused; what is
not a publish is kept and tried again. The journal is at fault from then on
until a write works; a probe is made every second, so that it finds out.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from irismq_runtime.embedded.nsqd.store import Batch, Store, StoredPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irismq_runtime.embedded.nsqd.journal import Record

__all__ = ["StoreRefused", "StoreWriter"]

_log = logging.getLogger("irismq.embedded.nsqd")
#: Seconds that settlements wait for a publish to share its commit with.
_LAZY = 0.02
#: Seconds between probes while writing fails.
_PROBE = 1.0


class StoreRefused(Exception):
    """A publish could not be made safe. Field: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class StoreWriter:
    """Fills `Journal` with a `Store`. Calls on the loop; the thread is its own."""

    durable = True

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.fault = ""
        self._store = store
        self._loop = loop
        self._batch = Batch()
        self._waiters: list[Callable[[Exception | None], None]] = []
        self._busy = False
        self._scheduled = False
        self._lazy: asyncio.TimerHandle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._work: SimpleQueue[Batch | None] = SimpleQueue()
        self._in_hand: tuple[Batch, list[Callable[[Exception | None], None]]] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = asyncio.Event()
        self._tidy = True
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="nsqd-store", daemon=True)
        self._thread.start()

    # -- Journal ---------------------------------------------------------------

    def append(self, records: Sequence[Record], done: Callable[[Exception | None], None]) -> None:
        """Write `records` with the next batch, then call `done`."""
        self._batch.records.extend(records)
        self._waiters.append(done)
        self._soon()

    def copy(self, records: Sequence[Record]) -> None:
        """Write copies with the next batch."""
        self._batch.copies.extend(records)
        self._soon()

    def forget(self, row: int) -> None:
        """Delete the row with the next batch."""
        if row:
            self._batch.forgotten.append(row)
            if self._lazy is None:
                self._later()

    def update(self, row: int, attempts: int, due: int) -> None:
        """Note attempts and due time with the next batch."""
        if row:
            self._batch.updates.append((attempts, due, row))
            if self._lazy is None:
                self._later()

    def move(self, rows: Sequence[int], place: int) -> None:
        """Give the rows to another place with the next batch."""
        self._batch.moves.extend([(place, row) for row in rows if row])
        self._soon()

    def define(self, place: int, topic: str, channel: str, *, paused: bool) -> None:
        """Note a topic or channel with the next batch."""
        self._batch.places.append(StoredPlace(place, topic, channel, int(paused)))
        self._soon()

    def remove(self, place: int) -> None:
        """Delete a topic or channel and its rows with the next batch."""
        self._batch.removed.append(place)
        self._soon()

    # -- the loop's side ---------------------------------------------------------

    def _soon(self) -> None:
        if not self._scheduled and not self._busy and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._hand_over)

    def _later(self) -> None:
        if not self._closed:
            self._lazy = self._loop.call_later(_LAZY, self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if self._busy or not self._batch or self._ended.is_set():
            return
        batch, self._batch = self._batch, Batch()
        waiters, self._waiters = self._waiters, []
        self._busy = True
        self._idle.clear()
        self._in_hand = (batch, waiters)
        self._work.put(batch)

    def _written(self, error: Exception | None) -> None:
        """The thread has done the batch in hand, or failed."""
        self._busy = False
        self._idle.set()
        in_hand, self._in_hand = self._in_hand, None
        batch, waiters = in_hand if in_hand is not None else (Batch(), [])
        if error is not None:
            self._batch.keep_from(batch)
            self._failed(error)
        elif self.fault:
            _log.warning("the store can be written again")
            self.fault = ""
        refusal = None if error is None else StoreRefused(str(error))
        for done in waiters:
            done(refusal)
        if self._batch.records or (self._batch and error is None):
            self._hand_over()

    def _failed(self, error: Exception) -> None:
        if not self.fault:
            _log.error("the store cannot be written: %s; publishes are refused", error)
        self.fault = str(error)
        if self._probe is None and not self._closed:
            self._probe = self._loop.call_later(_PROBE, self._try_again)

    def _try_again(self) -> None:
        self._probe = None
        if not self._busy and not self._closed:
            self._busy = True
            self._idle.clear()
            batch, self._batch = self._batch, Batch()
            waiters, self._waiters = self._waiters, []
            self._in_hand = (batch, waiters)
            self._work.put(batch)

    async def close(self, *, flush: bool = True) -> None:
        """Write what waits (unless `flush` is False), end the thread, close the file."""
        self._closed = True
        for timer in (self._lazy, self._probe):
            if timer is not None:
                timer.cancel()
        while flush and not self.fault and (self._busy or self._batch):
            self._hand_over()
            await self._idle.wait()
        self._tidy = flush and not self.fault
        self._work.put(None)
        await self._ended.wait()

    # -- the thread's side ---------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._work.get()) is not None:
            error: Exception | None = None
            try:
                self._store.write(batch)
                if not batch:
                    self._store.probe()
            except Exception as caught:
                # Whatever it is, the publishes of the batch must hear of it.
                error = caught
            self._tell(self._written, error)
        self._store.close(tidy=self._tidy)
        self._tell(self._ended.set)

    def _tell(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop was closed without `close`: there is nobody left to tell.
            return
