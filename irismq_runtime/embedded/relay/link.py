"""One socket of a relay: bytes to its session, and its session's bytes out.

The I/O of a connection and nothing else. What a turn of the loop produced for a
client goes out in one write. When the socket is full, bytes are kept in the
outbox and go out by turns (outbox.py); past the limit the client is dropped. A
drop that is decided while others are being served is carried out at the end of
the turn, so nobody's list changes while it is walked. All on the loop's thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from irismq_runtime.embedded.relay.outbox import Outbox

if TYPE_CHECKING:
    from actors.clock import Clock, TimerHandle
    from irismq_runtime.embedded.relay.options import RelayOptions
    from irismq_runtime.embedded.relay.outbox import Lane
    from irismq_runtime.embedded.relay.session import Session

__all__ = ["Hub", "Link"]


class Hub(Protocol):
    """What a link wants of its relay."""

    options: RelayOptions
    clock: Clock
    #: Set by a link whose slow reader has fallen far behind in this turn.
    overrun: bool

    def admit(self, link: Link) -> Session | None:
        """A session for a new connection; None when there are too many."""
        ...

    def touched(self, link: Link) -> None:
        """The link has bytes to write at the end of this turn."""
        ...

    def end_turn(self) -> None:
        """Write what this turn has produced."""
        ...

    def wrote(self, length: int) -> None:
        """Count bytes written."""
        ...

    def stalled(self) -> None:
        """Count a sender held back for a slow reader's sake."""
        ...

    def gone(self, link: Link) -> None:
        """The connection is over."""
        ...


class Link(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._outbox = Outbox()
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._full = False
        self._finishing = False
        self._doom: str | None = None
        self._holds: set[str] = set()
        self._linger: TimerHandle | None = None

    @property
    def congested(self) -> bool:
        """True while bytes are kept because the client does not read."""
        return self._outbox.congested

    @property
    def waiting(self) -> int:
        """Bytes kept for this client outside the socket."""
        return self._outbox.waiting

    def push(self, lane: Lane, data: bytes) -> None:
        """Add a packet's bytes; they go out at the end of the turn."""
        outbox = self._outbox
        if outbox.congested:
            outbox.push(lane, data)
            if outbox.waiting > self._hub.options.stall_mark:
                self._hub.overrun = True
            if outbox.waiting > self._hub.options.slow_reader_limit:
                self.doom("slow reader")
        elif self._transport is not None:
            if not outbox.ready:
                self._hub.touched(self)
            outbox.ready.append(data)

    def flush(self) -> None:
        """End of the turn: write what is ready, or carry a drop out."""
        if self._doom is not None:
            self._drop()
            return
        ready = self._outbox.ready
        if ready:
            data = ready[0] if len(ready) == 1 else b"".join(ready)
            ready.clear()
            self._write(data)
        if self._finishing:
            self._close_when_empty()

    def _close_when_empty(self) -> None:
        if not self._outbox.congested and self._transport is not None:
            self._transport.close()

    def doom(self, why: str) -> None:
        """Drop this connection at the end of the turn; `why` is a short fixed word."""
        if self._doom is None:
            self._doom = why
            self._hub.touched(self)

    def finish(self) -> None:
        """Close when everything pushed so far is written; read no more."""
        if self._finishing or self._transport is None:
            return
        self._finishing = True
        self.hold("finishing")
        self._linger = self._hub.clock.call_later(self._hub.options.linger_seconds, self.abort)
        self._hub.touched(self)

    def abort(self) -> None:
        """Cut the connection now."""
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
        # A listener gives no other kind; uvloop's is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._hub.options.high_water)
        self._session = self._hub.admit(self)
        if self._session is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Serve what came, and write what that produced for anyone."""
        if self._session is not None and self._doom is None:
            self._session.feed_untrusted(data)
            if self._hub.overrun:
                self._stall()
        self._hub.end_turn()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The connection is over, whoever ended it."""
        self._transport = None
        self._outbox.clear()
        if self._linger is not None:
            self._linger.cancel()
        session, self._session = self._session, None
        if session is not None:
            session.lost(self._doom)
        self._hub.gone(self)
        self._hub.end_turn()

    def pause_writing(self) -> None:
        """The socket is full: keep what comes."""
        self._full = True
        self._outbox.congested = True

    def resume_writing(self) -> None:
        """The socket has room: write what was kept, by turns."""
        self._full = False
        self._drain()

    def _drain(self) -> None:
        if self._full or self._transport is None:
            return
        data = b"".join(self._outbox.pull(self._hub.options.high_water))
        if data:
            self._write(data)
        if self._outbox.congested:
            if not self._full:
                asyncio.get_running_loop().call_soon(self._drain)
            return
        if self._session is not None:
            self._session.drained()
        self.flush()
        self._hub.end_turn()

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._hub.wrote(len(data))
        transport.write(data)

    def _stall(self) -> None:
        """This client's traffic overran a slow reader: read it again in a moment."""
        self._hub.overrun = False
        self._hub.stalled()
        self.hold("stall")
        self._hub.clock.call_later(self._hub.options.stall_seconds, self.release, "stall")

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
