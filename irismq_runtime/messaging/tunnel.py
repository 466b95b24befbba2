"""A tunnel of messages, over a tunnel of bytes; the same object at both ends.

Each message is one STREAM envelope, so that types, codecs, limits and signatures
hold here as everywhere. Order is kept, and a sender waits while the receiver has
not taken what was sent (the port below grants room in bytes). One loop only.

What ends in order says so: an END envelope follows the last message, an ERROR
envelope says what cut them short, and a close that neither came before is a cut
as well. A peer that knows this rule says so in the header `e` of what it opens
the tunnel with; the close of an older peer, without a reason, ends in order.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

from irismq_runtime.errors import NotFresh, RuntimeFault, TunnelClosed
from irismq_runtime.wire import (
    Envelope,
    FaultBody,
    Foreign,
    Kind,
    decode_fault_untrusted,
    encode_fault,
)
from irismq_runtime.wire.headers import ENDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from irismq_runtime.messaging.freshness import SignatureMemory
    from irismq_runtime.messaging.packer import Packer
    from irismq_runtime.ports import TunnelPort
    from irismq_runtime.wire import Verb

__all__ = ["Tunnel"]

_NO_ID: Final = bytes(16)

#: Seconds that the last word of this end waits for room at the other one.
_LAST_WORD: Final = 1.0

#: What is known of a stream whose sender has closed without a last word.
_CUT: Final = "the other end closed before it had ended what it was sending"


def _nothing_to_tell() -> None:
    """The port keeps no account of what has been verified."""


class Tunnel:
    """An ordered, flow-controlled conversation with one actor.

    Made by `ServiceRef.tunnel`, and given to an actor's `on_tunnel`. `async with` closes
    it at the end; `async for` takes messages until the peer ends them. Loop thread only.
    (`says_end`: this end tells the other one how its messages end; `hears_end`: the other
    one does so too.)

    Attributes:
        address: The one that it was opened to.
    """

    __slots__ = (
        "_hears_end",
        "_mine",
        "_opening",
        "_packer",
        "_port",
        "_pushed_back",
        "_read",
        "_read_to_end",
        "_said_last",
        "_says_end",
        "_sent",
        "_signatures",
        "_theirs",
        "_verified",
        "address",
    )

    def __init__(
        self,
        port: TunnelPort,
        packer: Packer,
        address: str,
        *,
        opening: bytes | None = None,
        signatures: SignatureMemory | None = None,
        says_end: bool = False,
        hears_end: bool = False,
    ) -> None:
        self._port = port
        self._packer = packer
        self._pushed_back: bytes | None = None
        #: The id of the envelope that opened it; at the member that accepts, once it is read.
        self._opening = opening
        self._mine: Verb = "accept" if opening is None else "open"
        self._theirs: Verb = "open" if opening is None else "accept"
        self._signatures = signatures
        #: Signed messages sent, and read, since the opening: none is left out or comes twice.
        self._sent = self._read = 0
        self._says_end = says_end
        self._hears_end = hears_end
        #: Whether END or ERROR has been sent, and whether END has been read.
        self._said_last = False
        self._read_to_end = False
        self._verified: Callable[[], None] = getattr(port, "verified", _nothing_to_tell)
        self.address = address

    async def send(self, message: object) -> None:
        """Send one message; waits while the peer has no room.

        Args:
            message: Any message.

        Raises:
            TunnelClosed: The tunnel is closed.
            EncodeError: The message cannot be written; nothing was sent.
            MessageTooLarge: It is larger than what a tunnel carries; nothing was sent.
        """
        await self._port.send(self._packed(Kind.STREAM, message))

    async def end(self, error: BaseException | None = None, *, crashed: bool = False) -> None:
        """Say that no more messages follow, or what keeps them from coming.

        `crashed`: the error left a handler.
        """
        if error is None:
            await self._port.send(self._packed(Kind.END, None))
        else:
            body = encode_fault(FaultBody.of(error, crashed=crashed))
            envelope = Envelope(Kind.ERROR, self._id, "", body, self._numbered({}))
            await self._port.send(self._packer.raw(envelope, self._mine, self.address))
        self._said_last = True

    async def first(self) -> Envelope | Foreign:
        """Return the envelope that says what the tunnel is for. For dispatch."""
        first = self._packer.open_untrusted(
            await self._port.receive(), self._theirs, self.address, self._signatures
        )
        self._verified()
        if isinstance(first, Envelope):
            self._opening = first.id
        return first

    @property
    def _id(self) -> bytes:
        return self._opening if self._packer.signs and self._opening else _NO_ID

    def _numbered(self, headers: dict[str, object]) -> dict[str, object]:
        if self._packer.signs:
            self._sent += 1
            headers["q"] = self._sent
        return headers

    def _packed(
        self, kind: Kind, message: object, headers: dict[str, object] | None = None
    ) -> bytes:
        """The bytes of what this end says next. Raises as `send`."""
        headers = self._numbered(headers or {})
        try:
            return self._packer.answer(
                kind, self._id, message, headers, None, self._mine, self.address
            )
        except Exception:
            self._sent -= self._packer.signs  # it was not said
            raise

    async def greet(self, hello: Envelope) -> None:
        """Answer the opening of a conversation, if the peer says how it ends. For dispatch."""
        if hello.headers.get(ENDS):
            self._says_end = self._hears_end = True
            word = self._packed(Kind.TELL, None, {ENDS: 1})
            with contextlib.suppress(TunnelClosed):  # what it said before it closed is read
                await self._port.send(word)

    def push_back(self, data: bytes) -> None:
        """Let `receive` return `data` next: it was none of ours to read."""
        self._pushed_back = data

    async def receive(self) -> Any:
        """Wait for the next message.

        Returns:
            The message; bytes from a peer that knows no envelopes.

        Raises:
            TunnelClosed: The peer has ended its messages (without a `reason`), or the
                tunnel was cut (with one).
            DecodeError: What came is not a message that can be read here.
            Exception: What the peer says cut its messages short.
        """
        if self._pushed_back is not None:
            data, self._pushed_back = self._pushed_back, None
            return data
        while True:
            if self._read_to_end:
                raise TunnelClosed
            envelope = self._opened_untrusted(await self._next_untrusted())
            if not isinstance(envelope, Envelope):
                return envelope.data
            if envelope.kind == Kind.END:
                self._read_to_end = True
            elif envelope.kind == Kind.ERROR:
                raise decode_fault_untrusted(envelope.body).to_exception(self.address)
            elif envelope.kind == Kind.TELL and envelope.headers.get(ENDS):
                self._hears_end = True  # the answer to our opening
            else:
                return self._packer.load_untrusted(envelope)

    async def _next_untrusted(self) -> bytes:
        try:
            return await self._port.receive()
        except TunnelClosed as closed:
            if self._hears_end and not closed.reason:
                raise TunnelClosed(_CUT) from closed
            raise

    def _opened_untrusted(self, data: bytes) -> Envelope | Foreign:
        envelope = self._packer.open_untrusted(data, self._theirs, self.address)
        self._verified()
        if isinstance(envelope, Envelope) and "m2" in envelope.headers and self._packer.signs:
            self._read += 1
            if envelope.id != self._id or envelope.headers.get("q") != self._read:
                raise NotFresh("it is not what follows in this tunnel")
        return envelope

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                message = await self.receive()
            except TunnelClosed as closed:
                if closed.reason:
                    raise
                return
            yield message

    async def until_gone(self) -> None:
        """Return when the other end has closed, or is gone. What it still says is not read."""
        with contextlib.suppress(TunnelClosed):
            while True:
                await self._port.receive()

    async def close(self) -> None:
        """End in order, and close both ends after what was sent has been taken. Idempotent.

        Waits a few seconds at most for a peer that does not take it.
        """
        if self._says_end:
            await self._last_word(None)
        await self._port.close()

    async def cut(self, error: BaseException, *, crashed: bool = False) -> None:
        """Close because of `error`, and tell the other end so if it can be told.

        `crashed`: the error left a handler.
        """
        await self._last_word(error, crashed=crashed)
        await self._port.close()

    async def _last_word(self, error: BaseException | None, *, crashed: bool = False) -> None:
        if self._said_last:
            return
        self._said_last = True
        # Without room, or with nobody there, the close alone says that it was cut.
        with contextlib.suppress(RuntimeFault, TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                await self.end(error, crashed=crashed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or not self._says_end:
            await self.close()
        else:
            await self.cut(TunnelClosed(f"its other end was left with {type(error).__name__}"))
