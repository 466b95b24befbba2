"""One end of a tunnel: cutting, joining, and the allowance, without any I/O.

A message longer than the chunk limit is cut; its first chunk carries the whole
message's size, the others 0. Each side sends only as many payload bytes as the
other has granted, and grants again what its user has consumed. A first chunk
that comes while a message is incomplete discards the incomplete one, and its
bytes are granted back. Ends with a peer that grants less than a chunk in all
still get on: no chunk is longer than the largest room the peer ever gave.

`TunnelSender` and `TunnelReceiver` are the two halves; both the client's end
and the relay's use them. Numbers are bytes. No lock: one thread.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from irismq_runtime.protocols.iris.primitives import IrisProtocolError

__all__ = [
    "CHUNK_LIMIT",
    "CLIENT_ALLOWANCE",
    "CONFIRM_SECONDS",
    "RELAY_ALLOWANCE",
    "TunnelReceiver",
    "TunnelSender",
    "chunks_of",
]

#: The longest chunk of the real relay.
CHUNK_LIMIT: Final = 65_536
#: What the bindings grant at the start.
CLIENT_ALLOWANCE: Final = 64 * 1024 * 1024
#: What the relay grants at the start.
RELAY_ALLOWANCE: Final = 4 * 1024 * 1024
#: How long an acceptor may take to confirm.
CONFIRM_SECONDS: Final = 3.0
_MAX_ALLOWANCE: Final = (1 << 63) - 1


def chunks_of(message: bytes, limit: int) -> list[tuple[int, bytes]]:
    """The (size_or_continuation, chunk) pairs that carry `message`.

    Raises `IrisProtocolError` (ours) when the message is empty: a size of 0
    means a continuation, so nothing on the wire can say it.
    """
    if not message:
        raise IrisProtocolError("a tunnel cannot carry an empty message", ours=True)
    if len(message) <= limit:
        return [(len(message), message)]
    pairs = [(0, message[at : at + limit]) for at in range(0, len(message), limit)]
    pairs[0] = (len(message), pairs[0][1])
    return pairs


class TunnelSender:
    """What waits to be sent, and how much of it the peer has room for."""

    __slots__ = ("_allowance", "_at", "_limit", "_queue", "_room", "pending")

    def __init__(self, chunk_limit: int = CHUNK_LIMIT) -> None:
        if chunk_limit < 1:
            raise IrisProtocolError(f"chunk limit {chunk_limit} lets nothing through")
        self._limit = chunk_limit
        self._allowance = 0
        self._room = 0
        self._queue: deque[bytes] = deque()
        self._at = 0
        #: Payload bytes that wait here for allowance.
        self.pending = 0

    @property
    def allowance(self) -> int:
        """Payload bytes that may be sent now."""
        return self._allowance

    def grant_untrusted(self, granted: int) -> None:
        """Take a grant of the peer; raises `IrisProtocolError` when the sum is absurd."""
        if granted > _MAX_ALLOWANCE - self._allowance:
            raise IrisProtocolError(f"allowance of {self._allowance} + {granted} bytes is absurd")
        self._allowance += granted
        self._room = max(self._room, self._allowance)

    def offer(self, message: bytes) -> None:
        """Queue one message; raises `IrisProtocolError` (ours) when it is empty."""
        if not message:
            raise IrisProtocolError("a tunnel cannot carry an empty message", ours=True)
        self._queue.append(message)
        self.pending += len(message)

    def pull(self) -> tuple[int, bytes] | None:
        """The next (size_or_continuation, chunk) that may go out; None while nothing may."""
        if not self._queue:
            return None
        message = self._queue[0]
        length = min(len(message) - self._at, self._limit, self._room)
        if length == 0 or length > self._allowance:
            return None
        size = len(message) if self._at == 0 else 0
        chunk = message[self._at : self._at + length]
        self._allowance -= length
        self.pending -= length
        self._at += length
        if self._at == len(message):
            self._queue.popleft()
            self._at = 0
        return size, chunk


class TunnelReceiver:
    """Joins chunks to messages, and holds the peer to what it was granted."""

    __slots__ = ("_allowance", "_max_message", "_parts", "_size", "_want")

    def __init__(self, allowance: int, max_message: int) -> None:
        self._allowance = allowance
        self._max_message = max_message
        self._parts: list[bytes] = []
        self._want = 0
        self._size = 0

    @property
    def allowance(self) -> int:
        """Payload bytes that the peer may still send."""
        return self._allowance

    @property
    def partial(self) -> int:
        """Bytes of an incomplete message held now."""
        return self._size - self._want

    @property
    def declared(self) -> int:
        """Bytes of the whole message of which a part is held; 0 when there is none."""
        return self._size

    def drop(self) -> None:
        """Forget the incomplete message: no more is to come."""
        self._parts.clear()
        self._want = self._size = 0

    def consumed(self, length: int) -> int:
        """Say that `length` bytes were taken; returns what to grant the peer."""
        self._allowance += length
        return length

    def take_untrusted(self, size: int, chunk: bytes) -> tuple[bytes | None, int]:
        """One chunk in: the message it completes (or None), and bytes to grant back.

        Bytes to grant back are those of a message that this chunk's beginning
        discarded; they are counted as consumed here. Raises `IrisProtocolError`
        when the peer goes over its allowance, over the longest message, beyond
        the message's own size, or continues what has not begun.
        """
        if len(chunk) > self._allowance:
            raise IrisProtocolError(
                f"chunk of {len(chunk)} bytes goes over the allowance of {self._allowance}"
            )
        discarded = 0
        if size:
            if size > self._max_message:
                raise IrisProtocolError(
                    f"tunnel message of {size} bytes is over the limit of {self._max_message}"
                )
            discarded = self.consumed(self.partial)
            self._parts.clear()
            self._size = self._want = size
        elif not self._want:
            raise IrisProtocolError("chunk continues a message that has not begun")
        if len(chunk) > self._want:
            raise IrisProtocolError(
                f"chunk of {len(chunk)} bytes where {self._want} complete the message"
            )
        self._allowance -= len(chunk)
        self._want -= len(chunk)
        self._parts.append(chunk)
        if self._want:
            return None, discarded
        message = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return message, discarded
