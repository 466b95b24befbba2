"""The journal that writes: one thread, one transaction for all that waits.

The loop gathers what is decided into a batch; when the thread is free it gets
the batch, and while it commits the next one gathers. So a lone publish waits
for one commit, and many at once share one. Callbacks run on the loop.

When a write fails (disk full), the publishes of its batch are refused, and the
store makes room for what is not a publish: what is finished is committed, so that
draining makes room. The journal is at fault from then on, and refuses publishes at
once, until room is kept anew; it looks every second.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from irismq_runtime.embedded.nsqd.store import Store, StoredPlace, WriteBatch
from irismq_runtime.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irismq_runtime.embedded.nsqd.journal import JournalRecord

__all__ = ["StoreRefused", "StoreWriter"]

_log = logging.getLogger("irismq.embedded.nsqd")
#: Seconds that settlements wait for a publish to share its commit with.
_LAZY = 0.002
#: Seconds between probes while writing fails.
_PROBE = 1.0


class StoreRefused(Exception):
    """A publish could not be made safe. Field: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class _Written(NamedTuple):
    """What became of a batch.

    `error`: why it was not written. `left`: what is neither written nor refused.
    `regained`: whether room is kept again, or why not; False when that was not tried.
    """

    error: Exception | None
    left: WriteBatch
    regained: Exception | bool


class StoreWriter:
    """Fills `Journal` with a `Store`. Calls on the loop; the thread is its own."""

    durable = True

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.fault = ""
        self._store = store
        self._loop = loop
        self._batch = WriteBatch()
        self._waiters: list[Callable[[Exception | None], None]] = []
        self._busy = False
        self._scheduled = False
        self._lazy: asyncio.TimerHandle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended: asyncio.Future[None] | None = None
        self._closed = False
        self._thread = WorkerThread("nsqd-store", loop)

    # -- Journal ---------------------------------------------------------------

    def append(
        self, records: Sequence[JournalRecord], done: Callable[[Exception | None], None]
    ) -> None:
        """Write `records` with the next batch, then call `done`."""
        if self.fault:
            self._loop.call_soon(done, StoreRefused(self.fault))
            return
        self._batch.records.extend(records)
        self._waiters.append(done)
        self._soon()

    def copy(self, records: Sequence[JournalRecord]) -> None:
        """Write copies with the next batch."""
        self._batch.copies.extend(records)
        self._soon()

    def forget(self, row: int) -> None:
        """Delete the row with the next batch."""
        if row:
            self._batch.forgotten.append(row)
            self._later_if_idle()

    def update(self, row: int, attempts: int, due: int) -> None:
        """Note attempts and due time with the next batch."""
        if row:
            self._batch.updates.append((attempts, due, row))
            self._later_if_idle()

    def deliver(self, deliveries: Sequence[tuple[int, int]], done: Callable[[], None]) -> None:
        """Write the attempts with the next batch, then call `done`."""
        self._batch.deliveries.extend(deliveries)
        if self.fault:
            self._later_if_idle()
            done()
            return
        self._waiters.append(lambda _error: done())
        self._soon()

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

    def _later_if_idle(self) -> None:
        if self._lazy is None and not self._closed:
            self._lazy = self._loop.call_later(_LAZY, self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if not self._busy and self._batch and self._ended is None:
            self._send(regain=False)

    def _send(self, *, regain: bool) -> None:
        batch, self._batch = self._batch, WriteBatch()
        waiters, self._waiters = self._waiters, []
        self._busy = True
        self._idle.clear()
        self._thread.submit(
            partial(self._write, batch, regain=regain),
            lambda written, _error: self._written(waiters, *written),
        )

    def _written(
        self,
        waiters: Sequence[Callable[[Exception | None], None]],
        error: Exception | None,
        left: WriteBatch,
        regained: Exception | bool,
    ) -> None:
        """The thread has done the batch in hand, or failed; see `_Written`."""
        self._busy = False
        self._idle.set()
        if error is not None:
            self._batch.keep_from(left)
            self._failed(error)
        elif isinstance(regained, Exception):
            self._failed(regained)
        elif self.fault and regained:
            _log.warning("the store can be written again")
            self.fault = ""
        refusal = None if error is None else StoreRefused(str(error))
        for done in waiters:
            done(refusal)
        if self._batch and not left:
            self._hand_over()
        if self.fault and self._probe is None and not self._closed:
            self._probe = self._loop.call_later(_PROBE, self._try_again)

    def _failed(self, error: Exception) -> None:
        if not self.fault:
            _log.error("the store cannot be written: %s; publishes are refused", error)
        self.fault = str(error)

    def _try_again(self) -> None:
        self._probe = None
        if not self._busy and not self._closed:
            self._send(regain=True)

    async def close(self, *, flush: bool = True) -> None:
        """Write what waits (unless `flush` is False), end the thread, close the file."""
        self._closed = True
        for timer in (self._lazy, self._probe):
            if timer is not None:
                timer.cancel()
        while flush and (self._busy or self._batch):
            failing = bool(self.fault)
            self._hand_over()
            await self._idle.wait()
            if failing:
                break
        if self._ended is None:
            tidy = flush and not self.fault
            self._ended = self._thread.call(partial(self._store.close, tidy=tidy))
            self._thread.end()
        await asyncio.shield(self._ended)

    # -- the thread's side ---------------------------------------------------------

    def _write(self, batch: WriteBatch, *, regain: bool) -> _Written:
        try:
            self._store.write(batch)
        except Exception as error:
            # Whatever it is, the publishes of the batch must hear of it.
            return _Written(error, self._write_rest(batch), regained=False)
        return _Written(None, WriteBatch(), regain and self._regain())

    def _regain(self) -> Exception | bool:
        """Whether room is kept again, or why not."""
        try:
            self._store.regain()
        except Exception as caught:
            return caught
        return True

    def _write_rest(self, batch: WriteBatch) -> WriteBatch:
        """Write what is not a publish of a batch that failed, or of that what is finished.

        Returns what is left; it is tried with the next batch.
        """
        whole = batch.without_records()
        light, left = whole.split()
        for part, rest in ((whole, WriteBatch()), (light, left)):
            try:
                self._store.make_room()
                self._store.write(part)
            except Exception as error:
                _log.debug("the store has no room for what is not a publish: %s", error)
            else:
                return rest
        return whole
