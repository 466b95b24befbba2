"""What the broker tells its store, whatever the store is.

The broker decides in memory and on the loop; a journal makes it last. In
memory there is nothing to do, and a publish is done at once. A store that
writes elsewhere calls back on the loop when the write has been made safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Journal", "JournalRecord", "MemoryJournal"]


class JournalRecord(NamedTuple):
    """One stored copy: its row, the place that holds it, and the message."""

    row: int
    place: int
    id: bytes
    timestamp: int
    #: Unix time in ns before which it is not delivered, or 0.
    due: int
    body: bytes


class Journal(Protocol):
    """The store's side. All calls on the loop, none of them blocks."""

    #: Whether `append` calls back later; False means that there is no store.
    durable: bool
    #: Why the last write failed, for a person; empty while writing works.
    fault: str

    def append(
        self, records: Sequence[JournalRecord], done: Callable[[Exception | None], None]
    ) -> None:
        """Make `records` safe, then call `done(None)`, or `done(error)` if refused."""
        ...

    def copy(self, records: Sequence[JournalRecord]) -> None:
        """Copies of messages that are safe already; tried until it works."""
        ...

    def forget(self, row: int) -> None:
        """The message of `row` is finished. Row 0 is not stored."""
        ...

    def update(self, row: int, attempts: int, due: int) -> None:
        """The message of `row` went back to its channel."""
        ...

    def deliver(self, deliveries: Sequence[tuple[int, int]], done: Callable[[], None]) -> None:
        """Messages are about to be delivered: (row, attempts with this one).

        `done` is called once a kill of this process cannot make that forgotten; at
        once where that cannot be (a full disk): what is finished makes room.
        """
        ...

    def move(self, rows: Sequence[int], place: int) -> None:
        """The messages of `rows` belong to `place` from now on."""
        ...

    def define(self, place: int, topic: str, channel: str, *, paused: bool) -> None:
        """A topic (channel empty) or channel exists, and whether it is paused."""
        ...

    def remove(self, place: int) -> None:
        """A topic or channel is gone, with what it held."""
        ...


class MemoryJournal:
    """No store: nothing lasts, everything is done at once."""

    durable = False
    fault = ""

    def append(
        self, records: Sequence[JournalRecord], done: Callable[[Exception | None], None]
    ) -> None:
        """Nothing to write."""
        del records
        done(None)

    def copy(self, records: Sequence[JournalRecord]) -> None:
        """Nothing to write."""

    def forget(self, row: int) -> None:
        """Nothing to forget."""

    def update(self, row: int, attempts: int, due: int) -> None:
        """Nothing to update."""

    def deliver(self, deliveries: Sequence[tuple[int, int]], done: Callable[[], None]) -> None:
        """Nothing to note."""
        del deliveries
        done()

    def move(self, rows: Sequence[int], place: int) -> None:
        """Nothing to move."""

    def define(self, place: int, topic: str, channel: str, *, paused: bool) -> None:
        """Nothing to keep."""

    def remove(self, place: int) -> None:
        """Nothing to remove."""
