"""A bare NSQ client for tests: it sends bytes and waits for frames, no more."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import ErrorFrame, Frame, FrameDecoder, Message, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["NsqClient", "nsq_client"]

WAIT = 10.0


class NsqClient:
    """One raw connection. Every wait ends after ten seconds at the latest."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.decoder = FrameDecoder()
        self.heartbeats = 0
        #: 1 while the coding may change after the next frame.
        self.most = sys.maxsize
        self._frames: list[Frame] = []

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def any_frame(self) -> Frame | None:
        """The next frame, heartbeats included; None at the end of the stream."""
        while not self._frames:
            self._frames.extend(self.decoder.feed(b"", self.most))
            if self._frames:
                break
            data = await asyncio.wait_for(self.reader.read(256 * 1024), WAIT)
            if not data:
                return None
            self._frames.extend(self.decoder.feed(data, self.most))
        return self._frames.pop(0)

    async def frame(self) -> Frame | None:
        """The next frame that is no heartbeat; heartbeats are answered."""
        while isinstance(frame := await self.any_frame(), nsq.frames.Heartbeat):
            self.heartbeats += 1
            self.send(nsq.nop())
        return frame

    async def response(self) -> bytes:
        frame = await self.frame()
        assert isinstance(frame, Response), frame
        return frame.data

    async def message(self) -> Message:
        frame = await self.frame()
        assert isinstance(frame, Message), frame
        return frame

    async def messages(self, count: int) -> list[Message]:
        return [await self.message() for _ in range(count)]

    async def error(self) -> ErrorFrame:
        frame = await self.frame()
        assert isinstance(frame, ErrorFrame), frame
        return frame

    async def closed(self) -> bool:
        """Whether the server closes the connection now (frames before are an error)."""
        try:
            return await self.frame() is None
        except ConnectionError:
            return True

    async def frame_after(self, *data: bytes) -> Frame | None:
        self.send(*data)
        return await self.frame()

    async def ask(self, *data: bytes) -> bytes:
        self.send(*data)
        return await self.response()

    async def identify(self, **fields: Any) -> bytes:
        return await self.ask(nsq.identify({"feature_negotiation": True, **fields}))

    async def subscribe(
        self, topic: str, channel: str = "ch", *, ready: int = 0, **fields: Any
    ) -> None:
        if fields:
            await self.identify(**fields)
        assert await self.ask(nsq.sub(topic, channel)) == b"OK"
        if ready:
            self.send(nsq.rdy(ready))

    async def synced(self) -> None:
        """Wait until everything sent before has been read by the server.

        An empty question with a sure answer: a publish to a topic nobody reads.
        """
        assert await self.ask(nsq.pub("sync#ephemeral", b"x")) == b"OK"

    async def ask_around_messages(self, data: bytes, ids: list[bytes]) -> bytes:
        """Ask, and note the ids of messages that come before the answer."""
        self.send(data)
        while isinstance(frame := await self.frame(), Message):
            ids.append(frame.id)
        assert isinstance(frame, Response), frame
        return frame.data

    async def synced_around_messages(self) -> None:
        """`synced`, whatever messages come meanwhile."""
        await self.ask_around_messages(nsq.pub("sync#ephemeral", b"x"), [])

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, OSError):
            return

    def abort(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def nsq_client(
    port: int, *, magic: bool = True, host: str = "127.0.0.1"
) -> AsyncIterator[NsqClient]:
    """A connected client, closed when the context is left."""
    reader, writer = await asyncio.open_connection(host, port)
    client = NsqClient(reader, writer)
    if magic:
        client.send(nsq.MAGIC)
    try:
        yield client
    finally:
        await client.close()
