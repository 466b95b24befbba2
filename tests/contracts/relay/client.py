"""A bare client of a relay: sends any packet or bytes, and waits for any packet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from irismq_runtime.protocols.iris import IrisProtocol, encode_packet
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Packet,
    Publish,
    RelayBroadcast,
    RelayInit,
    RelayReply,
    RelayRequest,
    RelayTunnelConfirm,
    RelayTunnelInit,
    Role,
    TunnelAllow,
)

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.iris_relay import IrisRelay

P = TypeVar("P", bound=Packet)

#: How long a packet may take that must come; far above what a busy machine needs.
PATIENCE = 10.0
#: A subscription of the real relay takes hold a moment after it was sent.
SETTLE_ROUNDS = 200
#: How long to listen for what must not come.
SILENCE = 0.15


class Over(Exception):
    """The relay ended the connection."""


class Client(asyncio.Protocol):
    """One connection; received packets wait in order."""

    def __init__(self, *, heedless: bool = False) -> None:
        self._heedless = heedless
        self._protocol = IrisProtocol(Role.CLIENT)
        self._received: asyncio.Queue[Packet | None] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    @classmethod
    async def connect(cls, relay: IrisRelay, cluster: str = "") -> Client:
        """An accepted connection, a member of `cluster` unless that is empty."""
        client = await cls.raw(relay)
        client.send(ClientInit(CLIENT_MAGIC, VERSION, cluster))
        await client.expect(RelayInit)
        return client

    @classmethod
    async def raw(cls, relay: IrisRelay, *, heedless: bool = False) -> Client:
        """A connection that has said nothing; a heedless one reads and forgets."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: cls(heedless=heedless), relay.host, relay.port
        )
        return client

    def send(self, *packets: Packet) -> None:
        """Send packets in one write."""
        self.send_raw(self.encode(*packets))

    def encode(self, *packets: Packet) -> bytes:
        """The bytes of packets that are to be sent by other means."""
        return b"".join(map(self._protocol.encode, packets))

    def send_raw(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        assert self._transport is not None
        self._transport.write(data)

    def send_blindly(self, *packets: Packet) -> None:
        """Send packets that this side may not send now."""
        self.send_raw(b"".join(map(encode_packet, packets)))

    async def receive(self, patience: float = PATIENCE) -> Packet:
        """The next packet. Raises `Over` at the end, TimeoutError in vain."""
        async with asyncio.timeout(patience):
            packet = await self._received.get()
        if packet is None:
            self._received.put_nowait(None)
            raise Over
        return packet

    async def expect(self, record: type[P], patience: float = PATIENCE) -> P:
        """The next packet, which must be of this kind."""
        packet = await self.receive(patience)
        assert isinstance(packet, record), f"{packet} instead of a {record.__name__}"
        return cast("P", packet)

    async def expect_all(self, *records: type[Any]) -> list[Packet]:
        """One packet of each kind, in whatever order they come; returned as asked for."""
        packets = [await self.receive() for _ in records]
        by_kind = {type(packet): packet for packet in packets}
        assert set(by_kind) == set(records), packets
        return [by_kind[record] for record in records]

    async def expect_end(self) -> None:
        """The relay must end the connection, and say nothing before."""
        try:
            packet = await self.receive()
        except Over:
            return
        raise AssertionError(f"{packet} instead of the end")

    async def expect_silence(self, seconds: float = SILENCE) -> None:
        """Nothing may come, and the connection must live on."""
        try:
            packet = await self.receive(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"{packet} instead of silence")

    async def ask(self, call_id: int, cluster: str, body: bytes, timeout_ms: int) -> RelayReply:
        """Send a request and wait for its result."""
        self.send(ClientRequest(call_id, cluster, body, timeout_ms))
        return await self.expect(RelayReply, timeout_ms / 1000 + PATIENCE)

    async def answer_one(self, body: bytes) -> RelayRequest:
        """Wait for a request and answer it."""
        request = await self.expect(RelayRequest)
        self.send(ClientReply(request.id, body, None))
        return request

    def cut(self) -> None:
        """End the connection without a word."""
        assert self._transport is not None
        self._transport.abort()

    def stop_reading(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def read_again(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._heedless:
            return
        for packet in self._protocol.feed_untrusted(data):
            self._received.put_nowait(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        self._received.put_nowait(None)
        self.closed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()
        await self.closed.wait()


async def settle_subscription(client: Client, topic: str) -> None:
    """Publish until the first event comes back, then take what is under way."""
    await settle_event(client, client, topic)


async def settle_event(publisher: Client, listener: Client, topic: str) -> None:
    """Publish until the first event reaches the listener, then take what is under way."""
    for _ in range(SETTLE_ROUNDS):
        publisher.send(Publish(topic, b"probe"))
        try:
            await listener.expect(Publish, 0.05)
        except TimeoutError:
            continue
        break
    publisher.send(Publish(topic, b"last"))
    while (await listener.expect(Publish)).body != b"last":
        pass


async def settle_member(caller: Client, member: Client, cluster: str) -> None:
    """Send broadcasts until one arrives: the membership stands."""
    for _ in range(SETTLE_ROUNDS):
        caller.send(ClientBroadcast(cluster, b"probe"))
        try:
            await member.expect(RelayBroadcast, 0.05)
        except TimeoutError:
            continue
        break
    caller.send(ClientBroadcast(cluster, b"last"))
    while (await member.expect(RelayBroadcast)).body != b"last":
        pass


async def open_tunnel(caller: Client, member: Client, cluster: str) -> None:
    """Build a tunnel that the caller calls 5 and the member 7, and take the first grants."""
    caller.send(ClientTunnelInit(5, cluster, 5000))
    offer = await member.expect(RelayTunnelInit)
    assert offer.chunk_limit == 65_536
    member.send(ClientTunnelConfirm(offer.init_id, 7))
    confirm, granted = await caller.expect_all(RelayTunnelConfirm, TunnelAllow)
    assert confirm == RelayTunnelConfirm(5, False, 65_536)
    assert granted == TunnelAllow(5, 4 * 1024 * 1024)
    assert await member.expect(TunnelAllow) == TunnelAllow(7, 4 * 1024 * 1024)
