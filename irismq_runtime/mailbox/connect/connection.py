"""One TCP connection to one nsqd: bytes in, frames out, nothing else.

Order of calls on the owner, all on the loop: `connection_ready` once the
handshake is through, then `frames` for each chunk, then `connection_ended`
exactly once, whatever happened, also when it never became ready. After `drop`
or `close` no frames come any more.

Silence is counted in beats: nsqd sends a heartbeat on an idle connection, so
2.5 intervals without a byte mean that it is gone, whatever TCP believes. A heartbeat that
comes alone is answered here: of thousands of connections at rest it is all there is to do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from irismq_runtime.mailbox.connect.compression import coding
from irismq_runtime.protocols.nsq import HEARTBEAT_FRAME, FrameDecoder, NsqProtocolError, nop

if TYPE_CHECKING:
    from actors.clock import Clock
    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.connect.compression import Coding
    from irismq_runtime.mailbox.connect.handshake import Handshake, HandshakeStep, Terms
    from irismq_runtime.protocols.nsq import Frame

__all__ = ["Connection", "ConnectionOwner"]

_LOOKUPD_HINT = "this is nsqlookupd (give its HTTP port 4161 as lookupd, and nsqd's 4150 as nsqd)"


class ConnectionOwner(Protocol):
    """Who a connection reports to."""

    def connection_ready(self, connection: Connection, terms: Terms) -> None:
        """The handshake is through."""
        ...

    def frames(self, frames: list[Frame]) -> None:
        """What the broker sent since."""
        ...

    def connection_ended(self, connection: Connection, reason: str) -> None:
        """The connection is of no more use."""
        ...

    def start_tls(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Upgrade `transport`, then call `connection.tls_ready`."""
        ...


class Connection(asyncio.Protocol):
    """The asyncio side of a dial, made fresh for each."""

    def __init__(
        self,
        owner: ConnectionOwner,
        endpoint: Endpoint,
        handshake: Handshake,
        *,
        clock: Clock,
        silence: float,
    ) -> None:
        self.endpoint = endpoint
        self.handshake = handshake
        self.heard_at = clock.monotonic()
        #: False while the socket's buffer is full.
        self.writable = True
        self._owner = owner
        self._clock = clock
        self._silence = silence
        self._decoder = FrameDecoder()
        self._feed = self._decoder.feed
        self._coding: Coding | None = None
        self._transport: asyncio.Transport | None = None
        self._raw: bytes | None = b""  # None once the handshake is through
        self._reason = ""
        self._ended = False
        #: Our side is closed: what is written now could not be sent.
        self._said_all = False

    # asyncio.Protocol ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the handshake (called again, without effect, after the TLS upgrade)."""
        if self._transport is not None:
            return
        if self._ended:
            transport.abort()  # type: ignore[attr-defined]  # TCP gives a full transport
            return
        self._transport = transport  # type: ignore[assignment]  # TCP gives a full transport
        self.heard_at = self._clock.monotonic()
        self.write(self.handshake.begin())

    def data_received(self, data: bytes) -> None:
        """Decode, and hand the frames over in one piece."""
        self.heard_at = self._clock.monotonic()
        if self._ended:
            return
        try:
            if self._raw is not None:
                self._shake(self._raw, data)
            elif self._coding is None:
                if data == HEARTBEAT_FRAME and not self._decoder.pending:
                    self.write(nop())
                else:
                    self._owner.frames(self._feed(data))
            else:
                for piece in self._coding.decode_untrusted(data):
                    self._owner.frames(self._feed(piece))
        except NsqProtocolError as fault:
            self._broken(fault)

    def eof_received(self) -> bool:
        """The broker closed; close our side too."""
        self._reason = self._reason or "closed by the broker"
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end, once."""
        self._end(self._reason or (str(exc) if exc else "closed"))

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.writable = False

    def resume_writing(self) -> None:
        """The socket's buffer has room again."""
        self.writable = True

    # For the owner ---------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data`; does nothing on a connection that is closed or has ended.

        uvloop raises on a closed transport where asyncio is silent: both are
        quiet here, the owner learns of the end by `connection_ended`.
        """
        transport = self._transport
        if transport is None or self._ended or self._said_all or transport.is_closing():
            return
        transport.write(data if self._coding is None else self._coding.encode(data))

    def drop(self, reason: str) -> None:
        """End now, without sending what waits."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()
        self._end(self._reason)

    def close(self) -> None:
        """Send what waits, then end."""
        self._reason = self._reason or "closed by us"
        if self._transport is None:
            self._end(self._reason)
        elif not self._transport.is_closing() and not self._said_all:
            self._said_all = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    @property
    def silent_at(self) -> float:
        """When the broker will have missed its heartbeats, if nothing comes until then."""
        return self.heard_at + self._silence

    def too_silent(self, now: float) -> bool:
        """Whether the broker has missed its heartbeats."""
        return not self._ended and now - self.heard_at > self._silence

    def tls_ready(self, transport: asyncio.Transport | None, reason: str = "") -> None:
        """The upgrade is done (or failed, with `reason`); the broker says OK next."""
        if transport is None:
            self.handshake.remedy = "see whether the certificates of both sides are right"
            self.drop(f"TLS failed: {reason}")
        else:
            self._transport = transport

    # Inside ----------------------------------------------------------------

    def _shake(self, waiting: bytes, data: bytes) -> None:
        """Take frames one at a time: an upgrade changes the coding of what follows."""
        if self._coding is not None:
            data = b"".join(self._coding.decode_untrusted(data))
        raw = waiting + data
        while self._raw is not None and not self._ended:
            size = int.from_bytes(raw[:4], "big") + 4
            # A size that cannot be is for the decoder to refuse, with its hints.
            whole = 8 <= size <= 1024 * 1024
            if len(raw) < 8 or (whole and len(raw) < size):
                self._raw = raw
                return
            frames = self._feed(raw[:size] if whole else raw)
            raw = raw[size:] if whole else b""
            for step in [step for frame in frames for step in self.handshake.feed(frame)]:
                raw = self._take(step, raw)
        if raw and not self._ended:
            self._owner.frames(self._feed(raw))

    def _take(self, step: HandshakeStep, rest: bytes) -> bytes:
        """Do one step; returns the bytes that follow, in the coding they now have."""
        if step.kind == "send":
            self.write(step.data)
        elif step.kind == "tls" and self._transport is not None:
            if rest:
                # Somebody on the way put it there: taken as nsqd's, its OK would have
                # the secret of AUTH sent before there is any TLS.
                self.drop("the broker went on in the clear where TLS was to begin")
                return b""
            self._transport.pause_reading()  # start_tls goes on reading, encrypted
            self._owner.start_tls(self, self._transport)
        elif step.kind == "compress":
            self._coding = coding(step.compression, step.level)
            return b"".join(self._coding.decode_untrusted(rest))
        elif step.kind == "failed":
            self.drop(step.reason)
        elif step.kind == "ready" and self.handshake.terms is not None:
            self._raw = None
            self._owner.connection_ready(self, self.handshake.terms)
        return rest

    def _broken(self, fault: NsqProtocolError) -> None:
        if fault.records and self._raw is None and not self._ended:
            self._owner.frames(fault.records)
        hint = _LOOKUPD_HINT if "E_BAD_PROTO" in fault.reason else fault.hint
        self.drop(f"{fault.reason}: {hint}" if hint else fault.reason)

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._owner.connection_ended(self, reason)
