"""One TCP connection to a relay, from init to its end: the only file with a socket.

Bytes that come in are fed to the sans-IO protocol and each packet is handed to
the handler of its type. Of what goes out, the first packet after a quiet turn, or
after a single packet came in, is written at once and the others of a loop turn
together, at its end: so a burst costs a few writes, and wakes nobody for its
first part alone, and who asks or answers one thing at a time neither waits nor
has the loop turn for it. While the socket is full nothing more is handed to it:
what still waits here has provably not left this process, and what has waited for too
long is not written (backlog.py).

Order of a life: made by the connector, `opened` (init answered), packets, then
`on_lost` exactly once, with the reason. One that has ended is never used again: the
connector makes another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Final, cast

from irismq_runtime.errors import ConnectionLost, NotConnected
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    VERSION,
    ClientClose,
    ClientInit,
    Deny,
    RelayClose,
    RelayInit,
    Role,
)
from irismq_runtime.protocols.iris.primitives import IrisProtocolError
from irismq_runtime.protocols.iris.states import IrisProtocol
from irismq_runtime.pyiris.backlog import Backlog, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from actors.clock import Clock
    from irismq_runtime.protocols.iris.packets import Packet
    from irismq_runtime.pyiris.backlog import RelayTooSlow

__all__ = ["Connection", "PacketHandlers"]

logger = logging.getLogger(__name__)

#: Record type -> what takes it. Any: each handler takes the one record it is listed under.
PacketHandlers = dict[type, "Callable[[Any], None]"]

#: Bytes that go to the socket before the turn ends, so that the relay works on
#: the first part of a burst while we make the rest; above as many unsent ones
#: the transport is full, and we keep bytes to ourselves.
_PIECE: Final = 16 * 1024

#: Bytes that the kernel holds for a relay that does not read. Without this it holds
#: megabytes, which are too late when they are read, and cannot be taken back.
_KERNEL: Final = 128 * 1024


class Connection(asyncio.Protocol):
    """A TCP connection as client (`cluster` empty) or as one member of `cluster`.

    `handlers` takes the packets. `on_up(connection)` is called when the relay has
    accepted us, before any other packet; `on_lost(connection, reason)` once, when one
    that was up has ended for whatever reason. One that never opened tells it by
    `opened`, which then fails with `NotConnected`. `clock` says how old is what waits.
    """

    def __init__(
        self,
        peer: str,
        cluster: str,
        handlers: Mapping[type, Callable[[Any], None]],
        on_up: Callable[[Connection], None],
        on_lost: Callable[[Connection, str], None],
        *,
        clock: Clock,
    ) -> None:
        self.peer = peer
        #: Flushes so far: bytes sent in turn `n` have left once `turn > n`.
        self.turn = 0
        #: True from the relay's init until the end of the connection is known.
        self.up = False
        #: True once anything was received; whoever watches resets it.
        self.heard = False
        self._cluster = cluster
        self._handlers = handlers
        self._on_up = on_up
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._protocol = IrisProtocol(Role.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        #: Bytes that have not been handed to the socket yet.
        self.waiting = 0
        self._flush_due = False
        #: What came last came alone, and what goes out next is likely to: it is written at once.
        self.fresh = True
        #: The socket is full, or was, and what waited since is not all written.
        self.backed_up = False
        self._full = False
        # Bytes handed to the socket so far.
        self._handed = 0
        self._clock = clock
        self._backlog = Backlog(peer)
        self._drained: asyncio.Future[None] | None = None
        #: Done when the connection is gone.
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._stood = False
        self._reason = ""
        #: True when what answers will not take this client, now or later.
        self.refused = False

    # asyncio.Protocol ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves; nothing else is sent until the relay has answered."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_PIECE)
        _hold_little(self._transport.get_extra_info("socket"))
        self._transport.write(
            self._protocol.encode(ClientInit(CLIENT_MAGIC, VERSION, self._cluster))
        )

    def data_received(self, data: bytes) -> None:
        """Hand on the packets that `data` completes, also those before a violation."""
        self.heard = True
        try:
            packets = self._protocol.feed_untrusted(data)
        except IrisProtocolError as error:
            self._dispatch(cast("list[Packet]", error.decoded))
            self.refused = not self._stood
            self.abort(str(error) if self.refused else f"the relay broke the protocol: {error}")
            return
        self.fresh = len(packets) == 1  # more are a burst, and so is what they cause
        self._dispatch(packets)

    def pause_writing(self) -> None:
        """The socket is full: keep what comes."""
        self._full = True
        if not self.backed_up:
            self.backed_up = True
            self._backlog.begin(self._clock.monotonic(), self._handed - self._buffered())

    def resume_writing(self) -> None:
        """The socket has room again: write what waits and is not too late."""
        self._full = False
        self._backlog.room(self._clock.monotonic(), self._handed - self._buffered())
        self._flush()
        self._catch_up()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: end what waits for it, and tell `on_lost` if it was up."""
        self.up = False
        reason = self._reason or (str(exc) if exc else "closed by the relay")
        self._reason = reason
        self._backlog.drop_all()
        self._wake()
        if not self.opened.done():
            self.opened.set_exception(NotConnected(self.peer, reason))
            self.opened.exception()  # whoever waits sees it; nobody has to
        if not self.ended.done():
            self.ended.set_result(None)
        if self._stood:
            self._on_lost(self, reason)

    # Sending ------------------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Write `packet`, within this loop turn unless the socket is full.

        Raises `ConnectionLost` ("not sent") when the connection is not up, and
        `IrisProtocolError` for a value that has no encoding.
        """
        if not self.up:
            raise self.lost()
        self.write(self._protocol.encode(packet))

    def lost(self) -> ConnectionLost:
        """The error of what cannot be sent as the connection is not up."""
        return ConnectionLost(self.peer, "not sent", self._reason)

    def write(self, data: bytes) -> None:
        """Write an encoded packet that changes no state (`WRITERS`), as `send` does.

        Only while the connection is `up`.
        """
        if self.backed_up:
            self._write_later(data)
            return
        self._out.append(data)
        self.waiting += len(data)
        if self.fresh:
            self.fresh = False
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._end_turn)
        elif self.waiting >= _PIECE:
            self._flush()

    def _write_later(self, data: bytes) -> None:
        # Apart from `write`, where the cell of a closure would cost every packet.
        self.enqueue(Waiting(len(data), lambda: data))

    def enqueue(self, waiting: Waiting) -> None:
        """Write it when its turn comes. Only while the connection is `up` and `backed_up`."""
        self._backlog.add(waiting)
        self.waiting += waiting.size

    def refusal(self, size: int, timeout: float, kind: str = "") -> RelayTooSlow | None:
        """Why so many bytes would be too late after `timeout` seconds; while `backed_up`."""
        now = self._clock.monotonic()
        self.waiting -= self._backlog.sweep(now)
        return self._backlog.refusal(
            now,
            ahead=self.waiting + self._buffered(),
            handed=self._handed,
            size=size,
            timeout=timeout,
            kind=kind,
        )

    def flush(self) -> None:
        """Hand everything to the socket now, full or not: before a close."""
        self._full = False
        self._flush()
        while len(self._backlog):
            self._write_piece()
        self.backed_up = False
        self._wake()

    async def drain(self) -> None:
        """Wait until the socket takes bytes; return at once when the connection is gone."""
        if self._full and self.up:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def _end_turn(self) -> None:
        self._flush_due = False
        self.fresh = True
        self._flush()

    def _flush(self) -> None:
        transport, out = self._transport, self._out
        if transport is None or self._full or transport.is_closing():
            return
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            size = len(data)
            self.waiting -= size
            self._handed += size
            self.turn += 1
            transport.write(data)

    def _catch_up(self) -> None:
        """Write what waits, until the socket is full again or nothing does."""
        if self._transport is None or self._transport.is_closing():
            return
        while len(self._backlog) and not self._full:
            self._write_piece()
        if not self._full:
            self.backed_up = False
            self._backlog.end(self._clock.monotonic())

    def _write_piece(self) -> None:
        data, gone = self._backlog.piece(self._clock.monotonic())
        self.waiting -= gone
        if data and self._transport is not None:
            self._handed += len(data)
            self.turn += 1
            self._transport.write(data)

    def _buffered(self) -> int:
        """Bytes that the transport holds for the socket."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _wake(self) -> None:
        """Whoever waits for room may write."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    # Ending -------------------------------------------------------------------

    def close(self) -> None:
        """Send what waits and then close: the relay finishes what is pending and hangs up."""
        if self.up and not self._closing:
            self._closing = True
            self._reason = "closed by this side"
            self.send(ClientClose())
            self.flush()

    def abort(self, reason: str) -> None:
        """Drop the connection now; what waits is not sent."""
        self.up = False
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    def _dispatch(self, packets: list[Packet]) -> None:
        handlers = self._handlers
        for packet in packets:
            handler = handlers.get(packet.__class__)
            if handler is not None:
                handler(packet)
            else:
                self._control(packet)

    def _control(self, packet: Packet) -> None:
        """Init, deny and close; anything else has no meaning on this connection."""
        if isinstance(packet, RelayInit):
            self.up = self._stood = True
            if not self.opened.done():
                self.opened.set_result(None)
            self._on_up(self)
        elif isinstance(packet, Deny):
            self.refused = True
            self.abort(f"the relay refuses this client: {packet.reason}")
        elif isinstance(packet, RelayClose):
            self.up = False
            self._reason = self._reason or packet.reason or "closed by the relay"
            if self._transport is not None:
                self._transport.close()
        else:
            logger.warning("%s sent a packet for no one here: %s", self.peer, type(packet).__name__)


def _hold_little(stream: Any) -> None:
    """Let the kernel hold few bytes that it has not sent, where it can be told."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if stream is None or option is None or stream.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # it then holds more, as without it
        stream.setsockopt(socket.IPPROTO_TCP, option, _KERNEL)
