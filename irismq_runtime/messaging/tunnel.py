"""A tunnel of messages, over a tunnel of bytes; the same object at both ends.

Each message is one STREAM envelope, so that types, codecs, limits and signatures
hold here as everywhere. Order is kept, and a sender waits while the receiver has
not taken what was sent (the port below grants room in bytes). An END envelope
ends a stream of results in order, an ERROR envelope says what cut it short. One
loop only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from irismq_runtime.errors import TunnelClosed
from irismq_runtime.wire import (
    Envelope,
    Fault,
    Foreign,
    Kind,
    decode_fault_untrusted,
    encode_fault,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from irismq_runtime.messaging.packer import Packer
    from irismq_runtime.ports import TunnelPort

__all__ = ["Tunnel"]

_NO_ID = bytes(16)


class Tunnel:
    """An ordered, flow-controlled conversation with one actor.

    `async with` closes it at the end; `async for` takes messages until the peer
    closes. `address` is the one it was opened to.
    """

    __slots__ = ("_packer", "_port", "_pushed_back", "address")

    def __init__(self, port: TunnelPort, packer: Packer, address: str) -> None:
        self._port = port
        self._packer = packer
        self._pushed_back: bytes | None = None
        self.address = address

    async def send(self, message: object) -> None:
        """Send one message; waits while the peer has no room.

        Raises `TunnelClosed`, and `EncodeError` or `MessageTooLarge` before
        anything is sent.
        """
        await self._port.send(self._packer.answer(Kind.STREAM, _NO_ID, message))

    async def end(self, error: BaseException | None = None) -> None:
        """Say that no more messages follow, or what keeps them from coming."""
        if error is None:
            await self._port.send(self._packer.answer(Kind.END, _NO_ID, None))
        else:
            body = encode_fault(Fault.of(error))
            await self._port.send(self._packer.raw(Envelope(Kind.ERROR, _NO_ID, "", body, {})))

    async def first(self) -> Envelope | Foreign:
        """Return the envelope that says what the tunnel is for. For dispatch."""
        return self._packer.open_untrusted(await self._port.receive())

    def push_back(self, data: bytes) -> None:
        """Let `receive` return `data` next: it was none of ours to read."""
        self._pushed_back = data

    async def receive(self) -> Any:
        """Return the next message; bytes from a peer that knows no envelopes.

        Raises `TunnelClosed` when the peer has closed or ended its stream, and
        the error that cut the stream short.
        """
        if self._pushed_back is not None:
            data, self._pushed_back = self._pushed_back, None
            return data
        envelope = self._packer.open_untrusted(await self._port.receive())
        if not isinstance(envelope, Envelope):
            return envelope.data
        if envelope.kind == Kind.END:
            raise TunnelClosed
        if envelope.kind == Kind.ERROR:
            raise decode_fault_untrusted(envelope.body).to_exception(self.address)
        return self._packer.load_untrusted(envelope)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                message = await self.receive()
            except TunnelClosed as closed:
                if closed.reason:
                    raise
                return
            yield message

    async def close(self) -> None:
        """Close both ends, after what was sent has been taken. Idempotent."""
        await self._port.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
