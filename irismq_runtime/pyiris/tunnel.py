"""One end of an open tunnel: messages in order, both ways, with flow control.

Cutting, joining and the allowance are decided by protocols/iris/tunnel; this
file waits where they say "not yet" and grants what its reader has taken.

Why nothing here can deadlock: bytes are granted back when their message is
taken, several messages at a time, and everything taken has been granted
whenever nothing waits for the reader. Then the peer may send all of the window
but what an incomplete message holds, and the window is as long as the message
that is under way: a longer one than it makes it grow, or is refused. So the
rest of any message always fits. A reader that does not read stops its peer,
which is the point. tunnel_memory.py says how large the window may be.

A close first lets what was sent be taken by the relay: a close that follows
its data too closely overtakes it there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from actors.errors import Overloaded
from irismq_runtime.errors import MessageTooLarge, TunnelClosed
from irismq_runtime.protocols.iris.packets import ClientTunnelClose, TunnelAllow, TunnelTransfer
from irismq_runtime.protocols.iris.primitives import IrisProtocolError
from irismq_runtime.protocols.iris.tunnel import TunnelReceiver, TunnelSender
from irismq_runtime.pyiris.tunnel_memory import fixed_window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.errors import ConnectionLost
    from irismq_runtime.protocols.iris.packets import Packet
    from irismq_runtime.pyiris.connection import Connection
    from irismq_runtime.pyiris.tunnel_memory import TunnelWindow

__all__ = ["Tunnel"]

#: Taken bytes that are granted back in one packet while more waits to be taken.
_GRANT: Final = 256 * 1024

#: Seconds that a close gives the relay to take what was sent, and to answer it.
_LINGER: Final = 2.0

_OURS: Final = "closed by this side"


class Tunnel:
    """This end of a tunnel. Made by `ManagedConnection.tunnel` or by accepting one.

    `buffer`: bytes of the longest message. `window`: what it may hold; as much as
    `buffer` when there is none given.

    Loop thread only. One task may read while others send; messages of several
    senders go out whole, in the order of their calls.
    """

    def __init__(
        self,
        tunnel_id: int,
        connection: Connection,
        *,
        chunk_limit: int,
        buffer: int,
        clock: Clock,
        on_end: Callable[[Tunnel], None],
        window: TunnelWindow | None = None,
    ) -> None:
        self.id = tunnel_id
        self._connection = connection
        self._clock = clock
        self._on_end = on_end
        self._buffer = buffer
        self._sender = TunnelSender(chunk_limit)
        self._held = fixed_window(buffer) if window is None else window
        self._receiver = TunnelReceiver(self._held.size, buffer)
        self._offered = self._pulled = self._granted = 0
        self._window: int | None = None
        self._inbox: deque[bytes] = deque()
        self._taken = 0
        self._loop = asyncio.get_running_loop()
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: TimerHandle | None = None
        self._error: TunnelClosed | None = None
        #: Why what comes is not kept any more.
        self._refused: Overloaded | None = None
        self._closing = self._close_sent = False
        if self._held.size:
            connection.send(TunnelAllow(tunnel_id, self._held.size))

    def __del__(self) -> None:
        # One that the other end has closed keeps what was not read, as long as it lives.
        held = getattr(self, "_held", None)
        if held is not None:
            held.close()

    async def send(self, body: bytes) -> None:
        """Send one message; returns when all of it is on its way.

        Waits while the peer has granted no room. When the caller is cancelled the
        message may still go out.

        Args:
            body: at least one byte: Iris cannot carry an empty message.

        Raises:
            TunnelClosed: either end has closed.
            MessageTooLarge: it is above the buffer's size.
            ValueError: it is empty.
        """
        if not body:
            raise ValueError("Iris cannot carry an empty message; send at least one byte")
        if len(body) > self._buffer:
            raise MessageTooLarge(len(body), self._buffer, limit_of="a tunnel's buffer")
        self._check_open()
        self._sender.offer(body)
        self._offered += len(body)
        mark = self._offered
        self._pump()
        while self._pulled < mark:
            await self._change()
            self._check_open()
        await self._connection.drain()

    async def receive(self) -> bytes:
        """Wait for the next message, and return it.

        Raises:
            TunnelClosed: there is none and the tunnel has ended; at once after our own
                `close`. Its `__cause__` is the `ConnectionLost` when the connection took
                the tunnel with it.
            Overloaded: a message came for which there is no room.
        """
        while not self._inbox or self._closing:
            if self._refused is not None and not self._closing:
                raise self._refused
            self._check_open()
            await self._change()
        body = self._inbox.popleft()
        self._give_back(len(body))
        return body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The messages, until the peer closes gracefully.

        Raises `TunnelClosed` when the tunnel ended in any other way.
        """
        while True:
            try:
                body = await self.receive()
            except TunnelClosed as closed:
                if closed.reason:
                    raise
                return
            yield body

    async def close(self) -> None:
        """Close both ends after what was sent has been taken. Idempotent.

        Waits a few seconds at most for a peer that does not take it; then the
        tunnel is closed all the same. A cancelled close goes on by itself.
        """
        self.begin_close()
        while self._error is None:
            await self._change()

    def verified(self) -> None:
        """What came was from somebody who is known: its messages may fill the window."""
        more = self._held.verify()
        if more and self._error is None:
            self._say(TunnelAllow(self.id, self._receiver.consumed(more)))

    def begin_close(self) -> None:
        """Begin what `close` waits for."""
        self._inbox.clear()  # nobody may read it any more
        if self._error is not None:
            self._held.close()
        elif not self._closing:
            self._closing = True
            self._timer = self._clock.call_later(_LINGER, self._send_close)
            self._advance_close()
            self._wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # What the connection tells ------------------------------------------------

    def on_allow(self, granted: int) -> None:
        """The relay has room for `granted` more bytes."""
        try:
            self._sender.grant_untrusted(granted)
        except IrisProtocolError as error:
            self._break(error)
            return
        if self._window is None:
            self._window = granted
        self._granted += granted
        self._pump()
        self._advance_close()
        self._wake()

    def on_transfer(self, size: int, chunk: bytes) -> None:
        """Join a chunk to the message that it is a part of."""
        if self._closing or self._refused is not None or not self._has_room_untrusted(size):
            return
        try:
            message, discarded = self._receiver.take_untrusted(size, chunk)
        except IrisProtocolError as error:
            self._break(error)
            return
        if discarded:
            self._say(TunnelAllow(self.id, discarded))
        if message is not None:
            self._inbox.append(message)
            self._wake()

    def on_close(self, reason: str, cause: ConnectionLost | None = None) -> None:
        """The tunnel is closed at the other end, or gone with its connection."""
        if self._error is not None:
            return
        self._error = TunnelClosed(_OURS if self._closing else reason)
        self._error.__cause__ = cause
        if self._timer is not None:
            self._timer.cancel()
        self._receiver.drop()
        self._held.close(sum(map(len, self._inbox)))
        self._on_end(self)
        self._wake()

    # Inside ---------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closing:
            raise TunnelClosed(_OURS)
        if self._error is not None:
            raise self._error

    def _pump(self) -> None:
        """Put on the wire what the allowance lets pass."""
        pull, say, tunnel_id = self._sender.pull, self._say, self.id
        while (piece := pull()) is not None:
            size, chunk = piece
            self._pulled += len(chunk)
            say(TunnelTransfer(tunnel_id, size, chunk))

    def _say(self, packet: Packet) -> None:
        """Send, unless the connection is about to be told lost, and this tunnel with it."""
        if self._connection.up:
            self._connection.send(packet)

    def _has_room_untrusted(self, size: int) -> bool:
        """Whether a message of the size that its first chunk declares can be kept."""
        more = size - self._held.size
        if more <= 0 or size > self._buffer:  # the receiver says what is wrong with it
            return True
        if self._held.grow(size):
            self._say(TunnelAllow(self.id, self._receiver.consumed(more)))
            return True
        self._refused = Overloaded(
            f"no room for a tunnel's message of {size:,} bytes: the tunnels of this node hold "
            "what they may already"
        )
        self._wake()
        return False

    def _give_back(self, length: int) -> None:
        """Note that `length` bytes were taken, and grant what is due."""
        if self._error is not None:
            self._held.shrink(min(length, self._held.size))
            return
        self._taken += length
        if self._inbox and self._taken < min(_GRANT, self._held.size // 4):
            return
        taken, self._taken = self._taken, 0
        larger = self._held.size - max(self._held.base, self._receiver.declared)
        if larger > 0:
            self._held.shrink(min(larger, taken))
            taken -= min(larger, taken)
        if taken:
            self._say(TunnelAllow(self.id, self._receiver.consumed(taken)))

    def _advance_close(self) -> None:
        """Send the close as soon as the relay has granted back all that was sent."""
        taken = self._granted - (self._window or 0) >= self._pulled and not self._sender.pending
        if self._closing and not self._close_sent and taken:
            self._send_close()

    def _send_close(self) -> None:
        """Close at the relay, and wait for its close no longer than `_LINGER`."""
        self._close_sent = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(_LINGER, self.on_close, _OURS)
        self._say(ClientTunnelClose(self.id))

    def _break(self, error: IrisProtocolError) -> None:
        """The other end broke the rules of tunnels: end this one, and nothing else."""
        if not self._close_sent:
            self._close_sent = True
            self._say(ClientTunnelClose(self.id))
        self.on_close(f"the other end broke the protocol: {error}")

    async def _change(self) -> None:
        """Wait until something has happened to this tunnel."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
