"""A connection that the relay has accepted: bytes to its session, its session's bytes out.

The socket and nothing else. What a turn of the loop produced for a client goes
out in one write; broadcasts to many may wait for more of them (turns.py). When
the socket is full, bytes are kept in the write queue and go out by turns
(write_queue.py); past the limit the client is dropped. A drop that is decided
while others are being served is carried out at the end of the turn, so nobody's
list changes while it is walked. All on the loop's thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from irismq_runtime.embedded.relay.write_queue import Traffic, WriteQueue

if TYPE_CHECKING:
    from actors.clock import TimerHandle
    from irismq_runtime.embedded.relay.server import EmbeddedRelay
    from irismq_runtime.embedded.relay.session import Session

__all__ = ["ClientConnection"]

# On every packet: to look it up in its class costs as much as the comparison.
_BROADCAST: Final = Traffic.BROADCAST


class ClientConnection(asyncio.Protocol):
    """The accepted socket of one client, which a session serves."""

    def __init__(self, relay: EmbeddedRelay) -> None:
        self._relay = relay
        self._queue = WriteQueue()
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._full = False
        self._touched = False
        self._finishing = False
        self._drop_reason: str | None = None
        self._holds: set[str] = set()
        self._linger: TimerHandle | None = None

    @property
    def congested(self) -> bool:
        """True while bytes are kept because the client does not read."""
        return self._queue.congested

    @property
    def waiting(self) -> int:
        """Bytes kept for this client outside the socket."""
        return self._queue.waiting

    def push(self, kind: Traffic, data: bytes) -> None:
        """Add a packet's bytes; they go out at the end of the turn."""
        queue = self._queue
        if queue.congested:
            queue.push(kind, data)
            if queue.waiting > self._relay.options.stall_mark:
                self._relay.overrun = True
            if queue.waiting > self._relay.options.slow_reader_limit:
                self.schedule_drop("slow reader")
        elif self._transport is not None:
            if kind is _BROADCAST:
                self._relay.turns.gather(self, len(data), first=not queue.ready)
            elif not self._touched:
                self._touch()
            queue.ready.append(data)

    def _touch(self) -> None:
        """There is something to do at the end of this turn."""
        if not self._touched:
            self._touched = True
            self._relay.turns.touch(self)

    def flush(self) -> None:
        """End of the turn: write what is ready, or carry a drop out."""
        self._touched = False
        if self._drop_reason is not None:
            self._drop()
            return
        ready = self._queue.ready
        if ready:
            data = ready[0] if len(ready) == 1 else b"".join(ready)
            ready.clear()
            self._write(data)
        if self._finishing:
            self._close_when_empty()

    def _close_when_empty(self) -> None:
        if not self._queue.congested and self._transport is not None:
            self._transport.close()

    def schedule_drop(self, why: str) -> None:
        """Drop this connection at the end of the turn; `why` is a short fixed word."""
        if self._drop_reason is None:
            self._drop_reason = why
            self._touch()

    def finish(self) -> None:
        """Close when everything pushed so far is written; read no more."""
        if self._finishing or self._transport is None:
            return
        self._finishing = True
        self.hold("finishing")
        self._linger = self._relay.clock.call_later(self._relay.options.linger_seconds, self.abort)
        self._touch()

    def abort(self) -> None:
        """Cut the connection now; what waits is not sent."""
        if self._transport is not None:
            self._transport.abort()

    def hold(self, why: str) -> None:
        """Stop reading from this client until `release(why)`."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds.add(why)

    def release(self, why: str) -> None:
        """Take one reason not to read back."""
        if why in self._holds:
            self._holds.discard(why)
            if not self._holds and self._transport is not None:
                self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start a session, unless there are too many."""
        # A listener gives no other kind; uvloop's is not a subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._relay.options.high_water)
        self._session = self._relay.admit(self)
        if self._session is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Serve what came, and write what that produced for anyone."""
        if self._session is not None and self._drop_reason is None:
            self._session.feed_untrusted(data)
            if self._relay.overrun:
                self._stall()
        self._relay.turns.end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The connection is over, whoever ended it."""
        self._transport = None
        self._queue.clear()
        if self._linger is not None:
            self._linger.cancel()
        session, self._session = self._session, None
        if session is not None:
            session.lost(self._drop_reason)
        self._relay.gone(self)
        self._relay.turns.end()

    def pause_writing(self) -> None:
        """The socket is full: keep what comes."""
        self._full = True
        self._queue.congested = True

    def resume_writing(self) -> None:
        """The socket has room: write what was kept, by turns."""
        self._full = False
        self._drain()

    def _drain(self) -> None:
        if self._full or self._transport is None:
            return
        data = b"".join(self._queue.pull(self._relay.options.high_water))
        if data:
            self._write(data)
        if self._queue.congested:
            if not self._full:
                asyncio.get_running_loop().call_soon(self._drain)
            return
        if self._session is not None:
            self._session.drained()
        self.flush()
        self._relay.turns.end()

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._relay.wrote(len(data))
        transport.write(data)

    def _stall(self) -> None:
        """This client's traffic overran a slow reader: read it again in a moment."""
        self._relay.overrun = False
        self._relay.stalled()
        self.hold("stall")
        self._relay.clock.call_later(self._relay.options.stall_seconds, self.release, "stall")

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
