"""Gathers what a turn of the loop produced for NATS, so that few large messages go out. Pure.

Sources keep what they have for one place until the connection takes it all, once a
turn. What waits is counted in bytes, so that senders can be slowed down before
the limit and nothing is taken past it. Order within a source is kept; between
sources there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.embedded.relay.nats.connection import NatsMessage
from irismq_runtime.embedded.relay.nats.frames import (
    ANSWER_OVERHEAD,
    answer_item,
    answers_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from irismq_runtime.embedded.relay.nats.context import NatsContext
    from irismq_runtime.embedded.relay.nats.frames import Status
    from irismq_runtime.embedded.relay.nats.options import NatsOptions

__all__ = ["AnswerQueue", "MessageSource", "Outgoing", "portions", "too_large"]

#: Bytes from which on a message takes no further item.
_FULL: Final = 64 * 1024


class MessageSource(Protocol):
    """Has something to send to one place."""

    def take(self) -> Iterable[NatsMessage]:
        """All that it has, as messages; it keeps nothing of it."""
        ...

    def trim(self) -> int:
        """Forget what nobody waits for any more; the bytes that are left."""
        ...


class Outgoing:
    """Everything that waits for the connection. Loop thread only."""

    def __init__(self, options: NatsOptions, overrun: Callable[[], None]) -> None:
        self._options = options
        self._overrun = overrun
        self._sources: dict[MessageSource, None] = {}
        #: Bytes that wait.
        self.waiting = 0
        #: Called when something has come to be taken; set by the overlay.
        self.wake: Callable[[], None] = _nothing

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may wait; slows the sender down before that ends."""
        waiting = self.waiting + size
        if waiting > self._options.stall_mark:
            self._overrun()
        return waiting <= self._options.waiting_limit

    def add(self, source: MessageSource, size: int) -> None:
        """`source` has `size` bytes more."""
        self.waiting += size
        if not self._sources:
            self.wake()
        self._sources[source] = None

    def trim(self) -> None:
        """Forget what nobody waits for any more: there has been nobody to take it."""
        self.waiting = sum(source.trim() for source in self._sources)

    def take(self) -> list[NatsMessage]:
        """All that waits, as messages."""
        sources, self._sources = self._sources, {}
        self.waiting = 0
        messages: list[NatsMessage] = []
        for source in sources:
            messages += source.take()
        return messages


class AnswerQueue:
    """The answers that go to one relay."""

    def __init__(self, subject: str, context: NatsContext) -> None:
        self._subject = subject
        self._relay_id = context.relay_id
        self._outgoing = context.outgoing
        self._stats = context.stats
        self._largest = context.largest
        self._log = context.log
        self._items: list[bytes] = []

    def send(self, call_id: int, status: Status, data: bytes) -> None:
        """Send an answer, unless too much waits already: its caller then times out."""
        item = answer_item(call_id, status, data)
        size = len(item) + ANSWER_OVERHEAD
        if not self._outgoing.has_room(size):
            self._stats.dropped += 1
            self._log.note("dropped", "an answer is dropped: too much waits for NATS")
            return
        self._items.append(item)
        self._outgoing.add(self, size)

    def take(self) -> Iterator[NatsMessage]:
        """The messages."""
        items, self._items = self._items, []
        for portion in portions(items, min(_FULL, self._largest() - ANSWER_OVERHEAD)):
            yield NatsMessage(self._subject, "", answers_message(self._relay_id, portion))

    def trim(self) -> int:
        """The bytes of all answers: their callers are elsewhere and may wait."""
        return sum(map(len, self._items))


def portions(items: Sequence[bytes], full: int) -> Iterator[Sequence[bytes]]:
    """Items in order, cut into runs that reach `full` bytes with their last item at most.

    A run holds one item at least, and stays below `full` unless that one is longer.
    """
    begin = size = 0
    for index, item in enumerate(items):
        if size and size + len(item) > full:
            yield items[begin:index]
            begin, size = index, 0
        size += len(item)
    if begin < len(items):
        yield items[begin:] if begin else items


def too_large(what: str, size: int, limit: int) -> str:
    """The text of a refusal, with both sizes."""
    return f"the {what} of {size} bytes is larger than the {limit} bytes that NATS carries"


def _nothing() -> None:
    """In place of `wake` until the overlay sets it."""
