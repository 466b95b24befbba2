"""What one connection sends: frames gathered for one write, answers in order.

Frames that are ready in one turn of the loop leave in one write at its end, so
a lone message never waits and a burst costs one system call. Answers keep the
order of their commands: while the publish before them is being made safe they
wait behind it. Messages and heartbeats wait for nobody.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PendingReply", "ReplyQueue"]

#: Bytes after which a turn's frames are written before its end.
_BURST = 64 * 1024


class PendingReply:
    """The place of one answer that is not known yet."""

    __slots__ = ("frame", "size")

    def __init__(self, size: int) -> None:
        self.frame: bytes | None = None
        #: Bytes that the publish behind it holds in memory until then.
        self.size = size


class ReplyQueue:
    """Gathers frames and hands them to `write`. Loop thread only."""

    __slots__ = ("_call_soon", "_frames", "_scheduled", "_size", "_waiting", "_write", "held")

    def __init__(
        self, write: Callable[[bytes], None], call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._write = write
        self._call_soon = call_soon
        self._frames: list[bytes] = []
        self._size = 0
        self._scheduled = False
        self._waiting: deque[PendingReply | bytes] = deque()
        #: Bytes of publishes whose answers are not known yet.
        self.held = 0

    @property
    def waiting(self) -> bool:
        """Whether answers wait for a publish to be made safe."""
        return bool(self._waiting)

    def send(self, frame: bytes) -> None:
        """Send a message or heartbeat."""
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > _BURST:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._call_soon(self._turn)

    def answer(self, frame: bytes) -> None:
        """Send an answer, after those that wait."""
        if self._waiting:
            self._waiting.append(frame)
        else:
            self.send(frame)

    def reserve(self, size: int) -> PendingReply:
        """Keep the place of an answer that comes later, for `size` bytes held."""
        pending = PendingReply(size)
        self._waiting.append(pending)
        self.held += size
        return pending

    def fill(self, pending: PendingReply, frame: bytes) -> None:
        """The answer of `pending` is known."""
        pending.frame = frame
        self.held -= pending.size
        waiting = self._waiting
        while waiting:
            first = waiting[0]
            if isinstance(first, PendingReply):
                if first.frame is None:
                    return
                self.send(first.frame)
            else:
                self.send(first)
            waiting.popleft()

    def _turn(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._frames:
            data = b"".join(self._frames)
            self._frames.clear()
            self._size = 0
            self._write(data)
