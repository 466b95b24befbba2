"""When a held message is touched, and when its lease is lost. Pure.

nsqd starts a message's clock when it pushes it, whether or not a handler has
begun: every held message is touched at half of `msg_timeout`. A touch never
carries past `max_msg_timeout` after the push, and nsqd does not say so (it
answers nothing and delivers the message again), so the end is reckoned here, by
our own monotonic clock and a margin early.

Messages are kept in the order of their last renewal, so a look at the time
costs only what is due. Those whose last touch was cut short by the maximum can
only run out, and are kept apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Leased", "Leases"]


class Leased(Protocol):
    """What is kept about one message."""

    #: The earliest time at which the broker pushed it.
    received_at: float
    #: The last touch, or `received_at`.
    renewed_at: float


T = TypeVar("T", bound=Leased)


class Leases(Generic[T]):
    """The held messages of one connection, by id."""

    __slots__ = ("_longest", "_margin", "_timeout", "closing", "held")

    def __init__(self, msg_timeout: float, max_msg_timeout: float) -> None:
        self._timeout = msg_timeout
        self._longest = max(max_msg_timeout, msg_timeout)
        # More than a period, so that the look before the end sees it coming.
        self._margin = 1.2 * self.period
        #: Renewable, oldest renewal first.
        self.held: dict[bytes, T] = {}
        #: Not renewable any more.
        self.closing: dict[bytes, T] = {}

    @property
    def period(self) -> float:
        """How often to call `due`, in seconds, at least."""
        return min(1.0, self._timeout / 8)

    def __len__(self) -> int:
        return len(self.held) + len(self.closing)

    def find(self, message_id: bytes) -> T | None:
        """The held message of this id."""
        return self.held.get(message_id) or self.closing.get(message_id)

    def remove(self, message_id: bytes) -> None:
        """Settled, or not ours any more."""
        if self.held.pop(message_id, None) is None:
            self.closing.pop(message_id, None)

    def renew(self, message_id: bytes, message: T) -> None:
        """The broker has just delivered `message` again: a whole new lease."""
        self.remove(message_id)
        self.held[message_id] = message

    def clear(self) -> list[T]:
        """Give everything up (the connection is gone)."""
        messages = [*self.held.values(), *self.closing.values()]
        self.held.clear()
        self.closing.clear()
        return messages

    def all(self) -> Iterator[T]:
        """Everything held; not to be changed while iterating."""
        yield from self.held.values()
        yield from self.closing.values()

    def due(self, now: float) -> tuple[list[bytes], list[T]]:
        """What to touch now, and which leases are lost now.

        What is returned to be touched counts as touched at `now`; what is lost
        is not held here any more.
        """
        touch: list[bytes] = []
        late: list[tuple[bytes, T]] = []
        for message_id, message in self.held.items():
            if now - message.renewed_at < self._timeout / 2:
                break
            late.append((message_id, message))
        lost: list[T] = []
        for message_id, message in late:
            del self.held[message_id]
            if now >= self._end(message):
                lost.append(message)
                continue
            touch.append(message_id)
            message.renewed_at = now
            if now + self._timeout > message.received_at + self._longest:
                self.closing[message_id] = message
            else:
                self.held[message_id] = message
        for message_id, message in list(self.closing.items()):
            if now >= self._end(message):
                del self.closing[message_id]
                lost.append(message)
        return touch, lost

    def _end(self, message: T) -> float:
        """When our hold on the message is no longer sure."""
        renewed = message.renewed_at + self._timeout
        return min(renewed, message.received_at + self._longest) - self._margin
