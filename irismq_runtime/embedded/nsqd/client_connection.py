"""One TCP connection of the broker: the socket around a session.

It hands bytes to its session and writes what its reply queue has gathered.
It sends heartbeats and closes a client that was silent for two of them. A
client that does not read gets no messages above the high water, is not read
from while its answers pile up, and is dropped when that lasts for a heartbeat
interval. A refused client is closed after its error frame: the sending side
first, and its input is thrown away for a moment, because closing on unread
input would reset the connection and the error with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from irismq_runtime.embedded.nsqd.codings import CodingError, DeflateCoding, TlsCoding
from irismq_runtime.embedded.nsqd.negotiation import Grant
from irismq_runtime.embedded.nsqd.reply_queue import ReplyQueue
from irismq_runtime.embedded.nsqd.session import ClientSession
from irismq_runtime.protocols.nsq import frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.clock import TimerHandle
    from irismq_runtime.embedded.nsqd.context import ServerContext

__all__ = ["ClientConnection"]

_log = logging.getLogger("irismq.embedded.nsqd")
#: Seconds for which the input of a refused client is thrown away.
_LINGER = 1.0
#: Unsent bytes at which no more commands are read: answers nobody takes.
_ANSWERS = 1024 * 1024
#: Bytes of publishes not yet safe at which no more commands are read.
_PUBLISHES = 8 * 1024 * 1024
#: Seconds for a TLS handshake, as in nsqd.
_HANDSHAKE = 5.0


class ClientConnection(asyncio.Protocol):
    """The server's end of one connection. Loop thread only."""

    def __init__(self, context: ServerContext, client_id: int) -> None:
        self.replies = ReplyQueue(self._write, context.loop.call_soon)
        self.session = ClientSession(context, client_id, self, self.replies)
        self.connected_at = context.clock.time()
        self._context = context
        self._clock = context.clock
        self._transport: asyncio.Transport | None = None
        self._timer: TimerHandle | None = None
        self._slow_timer: TimerHandle | None = None
        self._handshake_timer: TimerHandle | None = None
        self._tls: TlsCoding | None = None
        self._deflate: DeflateCoding | None = None
        #: Codings that begin when the answers before them are sent.
        self._upgrade: Grant | None = None
        self._last_read = self._last_beat = context.clock.monotonic()
        self._ending = False
        self._closing = False
        self._reading = True

    # -- asyncio.Protocol -------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; not served when the server has ended since."""
        self._transport = cast("asyncio.Transport", transport)
        if self._context.ended:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=self._context.options.high_water)
        peer = self._transport.get_extra_info("peername")
        host, port = peer[:2] if peer else ("?", 0)
        self.session.remote_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.session.grant = Grant.default(self._context.options, host)
        self._context.connections[self.session.client_id] = self
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._last_read = self._clock.monotonic()
        if self.session.refused:
            return
        if self._tls is None and self._deflate is None:
            self.session.feed(data)
        else:
            self._feed_coded(data)
        if self.replies.held > _PUBLISHES:
            self._read_no_more()

    def eof_received(self) -> bool:
        """The client sends no more. Its publishes still get their answers."""
        self.replies.flush()
        self._ending = True
        self.session.end()
        return self.replies.waiting

    def pause_writing(self) -> None:
        """More than the high water is unsent: no more messages until the client reads."""
        if self.session.subscriber is not None:
            self.session.subscriber.blocked = True
        timeout = self.session.grant.heartbeat_interval or self._context.options.client_timeout
        self._slow_timer = self._clock.call_later(timeout, self._drop_slow)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None
        self._read_on()
        subscriber, channel = self.session.subscriber, self.session.channel
        if subscriber is not None and channel is not None:
            subscriber.blocked = False
            channel.pump_one(subscriber)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it (`exc` says no more than that)."""
        del exc
        self._closing = True
        self._stop_timers()
        self._context.connections.pop(self.session.client_id, None)
        self.session.end()

    @property
    def congested(self) -> bool:
        """Whether more is unsent than the high water."""
        return self._slow_timer is not None

    @property
    def reading(self) -> bool:
        """Whether commands are read now (not while answers or publishes pile up)."""
        return self._reading

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def tls_facts(self) -> dict[str, Any]:
        """What the statistics say of the connection's encryption."""
        return {
            "tls": False,
            "tls_cipher_suite": "",
            "tls_version": "",
            "tls_negotiated_protocol": "",
            "tls_negotiated_protocol_is_mutual": False,
            **(self._tls.facts() if self._tls is not None else {}),
        }

    # -- codings ------------------------------------------------------------------

    def _feed_coded(self, data: bytes) -> None:
        pieces: Iterable[bytes] = (data,)
        try:
            if self._tls is not None:
                pieces = self._tls.decode_untrusted(data)
            for piece in pieces:
                self._tls_ready()
                inner: Iterable[bytes] = (piece,)
                if self._deflate is not None:
                    inner = self._deflate.decode_untrusted(piece)
                for plain in inner:
                    self.session.feed(plain)
            self._tls_ready()
        except CodingError as error:
            _log.info("%s: %s; closed", self.session.remote_address, error)
            self._send_tls()
            self.close()
        else:
            self._send_tls()
            if self._tls is not None and self._tls.ended and not self.eof_received():
                self.close()

    def _send_tls(self) -> None:
        """Send what TLS itself has to say."""
        if self._tls is not None and self._transport is not None:
            said = self._tls.outgoing()
            if said and not self._transport.is_closing():
                self._transport.write(said)

    def _begin_codings(self, grant: Grant) -> None:
        self._upgrade = None
        self.replies.flush()
        rest = self.session.decoder.take_rest()
        if grant.tls and self._context.options.tls is not None:
            self._tls = TlsCoding(self._context.options.tls)
            self._handshake_timer = self._clock.call_later(_HANDSHAKE, self.abort)
        else:
            self._begin_deflate()
        if rest:
            self._feed_coded(rest)

    def _tls_ready(self) -> None:
        """The handshake may be over now: say so, and go on to deflate."""
        if self._tls is None or not self._tls.ready or self._handshake_timer is None:
            return
        self._handshake_timer.cancel()
        self._handshake_timer = None
        self.replies.answer(frames.OK_FRAME)
        if self.session.grant.deflate:
            self._begin_deflate()

    def _begin_deflate(self) -> None:
        self.replies.flush()
        self._deflate = DeflateCoding(self.session.grant.deflate_level)
        self.replies.answer(frames.OK_FRAME)

    # -- for the session ------------------------------------------------------

    def identified(self, grant: Grant) -> None:
        """Heartbeats follow what was agreed; TLS and deflate begin."""
        self._last_beat = self._clock.monotonic()
        self._watch()
        if not grant.negotiated or not (grant.tls or grant.deflate):
            self.session.resume()
        elif self.replies.waiting:
            self._upgrade = grant
        else:
            self._begin_codings(grant)

    def encryption(self) -> tuple[bool, str]:
        """Whether TLS is on, and the common name of the client's certificate."""
        if self._tls is None:
            return False, ""
        return self._tls.ready, self._tls.common_name()

    def refuse(self) -> None:
        """Close, once the answers that wait are sent."""
        self._ending = True
        if not self.replies.waiting:
            self.close()

    def settled(self) -> None:
        """A publish is safe or refused: go on, or end what waited for it."""
        self._read_on()
        if self.replies.waiting:
            return
        if self._upgrade is not None:
            self._begin_codings(self._upgrade)
        elif self._ending:
            self.close()

    # -- out ----------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or self._closing or transport.is_closing():
            return
        if self._deflate is not None:
            data = self._deflate.encode(data)
        if self._tls is not None:
            data = self._tls.encode(data)
        transport.write(data)
        if transport.get_write_buffer_size() > _ANSWERS:
            self._read_no_more()

    def _read_no_more(self) -> None:
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        transport = self._transport
        if (
            not self._reading
            and transport is not None
            and not transport.is_closing()
            and self.replies.held <= _PUBLISHES
            and transport.get_write_buffer_size() <= _ANSWERS
        ):
            self._reading = True
            transport.resume_reading()

    # -- time -----------------------------------------------------------------

    def _watch(self) -> None:
        """Order the next heartbeat, or the end of a client that never speaks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        interval = self.session.grant.heartbeat_interval
        if interval and not self._closing:
            due = min(self._last_beat + interval, self._last_read + 2 * interval)
            delay = max(0.001, due - self._clock.monotonic())
            self._timer = self._clock.call_later(delay, self._beat)

    def _beat(self) -> None:
        self._timer = None
        interval = self.session.grant.heartbeat_interval
        now = self._clock.monotonic()
        if now - self._last_read >= 2 * interval:
            _log.info("%s was silent for two heartbeats; closed", self.session.remote_address)
            self.close()
            return
        if now - self._last_beat >= interval:
            self._last_beat = now
            if self.session.opened and self._handshake_timer is None:
                self.replies.send(frames.HEARTBEAT_FRAME)
        self._watch()

    def _drop_slow(self) -> None:
        self._slow_timer = None
        _log.warning("%s does not read; dropped", self.session.remote_address)
        self._context.slow_dropped += 1
        self.abort()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._slow_timer, self._handshake_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._slow_timer = self._handshake_timer = None

    # -- end --------------------------------------------------------------------

    def close(self) -> None:
        """Send what is ready, then close; unread input is taken for a moment."""
        transport = self._transport
        self.session.end()
        if transport is None or self._closing or transport.is_closing():
            return
        self.replies.flush()
        if self._tls is not None:
            transport.write(self._tls.closing_bytes())
        self._closing = True
        self._stop_timers()
        if transport.can_write_eof():
            transport.write_eof()
            if not self._reading:
                transport.resume_reading()
            self._timer = self._clock.call_later(_LINGER, self.abort)
        else:
            transport.close()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        if self._transport is not None:
            self._transport.abort()
