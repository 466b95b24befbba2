"""What could not be delivered, and why: a bounded ring and exact counts.

The ring holds the latest letters; the counts hold all of them, by reason. A
letter is a message that was taken and will not be handled, or one that was
sent to an actor that has ended. A message that a full inbox refused went back
to its sender with `MailboxFull`: it is counted, but is no letter.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actors.events import Events
    from actors.exits import Exit
    from actors.ref import ActorRef

__all__ = ["DeadLetter", "DeadLetters"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that nobody will handle. `time` is on the monotonic clock."""

    message: Any
    target: ActorRef[Any]
    reason: str
    time: float
    exit: Exit | None = None


class DeadLetters:
    """The dead letters of one system. Safe to use from any thread."""

    __slots__ = ("_counts", "_events", "_lock", "_now", "_ring")

    def __init__(self, limit: int, events: Events, now: Callable[[], float]) -> None:
        self._ring: deque[DeadLetter] = deque(maxlen=limit)
        self._counts: Counter[str] = Counter()
        self._events = events
        self._now = now
        self._lock = threading.Lock()

    def record(
        self,
        message: Any,
        target: ActorRef[Any],
        reason: str,
        exit: Exit | None = None,  # noqa: A002  # OTP's word
    ) -> None:
        """Keep a letter and tell the observers of `dead_letter`. Any thread.

        Args:
            message: What will not be handled.
            target: The ref that it was sent to.
            reason: Why, in words that are counted: "dead", "unhandled", "mailbox full", ...
            exit: How the actor ended, when that is why.
        """
        letter = DeadLetter(message, target, reason, self._now(), exit)
        with self._lock:
            self._ring.append(letter)
            self._counts[reason] += 1
        if self._events.active:
            self._events.emit("dead_letter", letter=letter)

    def __iter__(self) -> Iterator[DeadLetter]:
        with self._lock:
            return iter(tuple(self._ring))

    def __len__(self) -> int:
        """How many letters are kept now; see `total` for how many there were."""
        return len(self._ring)

    @property
    def total(self) -> int:
        """How many letters there were since the system began."""
        with self._lock:
            return self._counts.total()

    @property
    def counts(self) -> Mapping[str, int]:
        """How many letters there were for each reason."""
        with self._lock:
            return dict(self._counts)

    def clear(self) -> None:
        """Forget the kept letters; the counts stay."""
        with self._lock:
            self._ring.clear()
