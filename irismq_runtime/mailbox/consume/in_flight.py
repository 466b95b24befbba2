"""One delivery of a stored message, as the actor's side holds it.

    HELD -claim-> CLAIMED         either -finish/requeue/bury/defer-> SETTLED
    CLAIMED -disclaim-> HELD
    HELD -lease lost-> SETTLED    CLAIMED -lease lost-> LOST -settle-> SETTLED

A message whose handler has not begun is given up with its lease: it comes again
as a new delivery, and this one costs no attempt. One whose handler runs is kept
as LOST: when it comes again to this consumer, no second run begins, the running
one takes the new lease over and finishes that.
"""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.mailbox.consume.consumer_connection import ConsumerConnection

__all__ = ["InFlightMessage", "InFlightState"]

_log = logging.getLogger("irismq.mailbox")


class InFlightState(IntEnum):
    """Where a delivery is in its life."""

    HELD = 0
    CLAIMED = 1
    LOST = 2
    SETTLED = 3


_HELD, _CLAIMED, _LOST, _SETTLED = InFlightState


class InFlightMessage:
    """Fills `ports.StoredMessage`."""

    __slots__ = (
        "attempts",
        "body",
        "connection",
        "id",
        "lease_lost",
        "on_lease_lost",
        "raw_id",
        "received_at",
        "renewed_at",
        "stamp",
        "state",
        "timestamp",
    )

    def __init__(  # noqa: PLR0917  # one is made for every message: keywords cost
        self,
        connection: ConsumerConnection,
        stamp: int,
        attempts: int,
        raw_id: bytes,
        body: bytes,
        received_at: float,
    ) -> None:
        self.body = body
        self.id = raw_id.decode("latin-1")
        self.attempts = attempts
        self.timestamp = stamp / 1e9
        self.lease_lost = False
        self.on_lease_lost: Callable[[], None] | None = None
        self.connection = connection
        #: The broker's own time stamp: with the id it names the message for good.
        self.stamp = stamp
        self.raw_id = raw_id
        self.received_at = received_at
        self.renewed_at = received_at
        self.state = _HELD

    def finish(self) -> bool:
        """See `ports.StoredMessage.finish`."""
        state = self.state
        if state is _SETTLED:
            return False
        self.state = _SETTLED
        return self.connection.finish(self, lost=state is _LOST)

    def requeue(self, delay: float | None = None, *, penalty: bool = True) -> bool:
        """See `ports.StoredMessage.requeue`."""
        state = self.state
        if state is _SETTLED:
            return False
        if state is _HELD and not penalty:
            self.connection.discount(self)
        self.state = _SETTLED
        return self.connection.requeue(self, delay, penalty=penalty, lost=state is _LOST)

    def bury(self, topic: str, record: bytes, *, channel: str = "") -> bool:
        """See `ports.StoredMessage.bury`."""
        return self._move(self.connection.topic_of(topic), record, 0.0, channel)

    def defer(self, delay: float, body: bytes | None = None) -> bool:
        """Store the message in its own topic again, to come in `delay` seconds.

        For a message that is not due yet. Unlike `requeue` it costs no attempt
        and may be repeated for ever; `delay` is cut to the broker's longest, so
        the receiver looks at the due time and defers again. It reaches every
        channel of the topic: for mailboxes, which have one.
        """
        data = self.body if body is None else body
        return self._move(self.connection.topic, data, delay, self.connection.channel)

    def _move(self, topic: str, record: bytes, delay: float, channel: str) -> bool:
        state = self.state
        if state is _SETTLED:
            return False
        self.state = _SETTLED
        self.connection.move(self, topic, record, delay, channel, lost=state is _LOST)
        return state is not _LOST

    def claim(self) -> bool:
        """The handler starts now; False: it must not."""
        if self.state is not _HELD:
            return False
        self.state = _CLAIMED
        return True

    def disclaim(self) -> bool:
        """The handler's work came to nothing: it is held again, as before `claim`."""
        if self.state is not _CLAIMED:
            return False
        self.state = _HELD
        return True

    def lose(self) -> bool:
        """The lease is gone; True when a running handler still holds the message."""
        running = self.state is _CLAIMED
        self.state = _LOST if running else _SETTLED
        self.lease_lost = True
        callback, self.on_lease_lost = self.on_lease_lost, None
        if callback is not None:
            try:
                callback()
            except Exception:  # a stranger's code; the lease of the next message is looked at too
                _log.exception("on_lease_lost of message %s failed", self.id)
        return running

    def take_over(self, attempts: int, received_at: float) -> None:
        """The same message came again: hold the new lease."""
        self.attempts = attempts
        self.received_at = self.renewed_at = received_at
        if self.state is _LOST:
            self.state = _CLAIMED
