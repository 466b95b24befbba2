"""What a lane needs of its consumer.

The consumer owns its lanes and is called back by them. Apart from the consumer,
so that a lane knows only these calls of it. All on the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.mailbox.lane import Lane
    from irismq_runtime.mailbox.stored import Stored
    from irismq_runtime.ports import StoredMessage

__all__ = ["LaneOwner"]


class LaneOwner(Protocol):
    """The consumer, as its lanes see it."""

    topic: str
    channel: str
    on_message: Callable[[StoredMessage], None]
    in_flight: int
    #: Nothing is handed on any more.
    stopping: bool

    def lane_ready(self, lane: Lane, max_rdy: int) -> None:
        """Messages can be asked for."""
        ...

    def lane_lost(self, lane: Lane) -> None:
        """The connection ended."""
        ...

    def finished(self, message: Stored) -> None:
        """A message left for good; called after the bookkeeping of the lane."""
        ...

    def given_up(self, message: Stored, *, failure: bool) -> None:
        """A message left to come again; called after the bookkeeping of the lane."""
        ...

    def handler_failed(self, message: Stored, error: Exception) -> None:
        """`on_message` raised."""
        ...

    def plan_soon(self) -> None:
        """What may be asked for has changed."""
        ...

    def move(self, message: Stored, topic: str, record: bytes, delay: float, channel: str) -> None:
        """Store `record` elsewhere, for `channel`, then call `lane.moved`."""
        ...

    def flush_soon(self, lane: Lane) -> None:
        """Call `lane.flush` at the end of this loop turn."""
        ...
