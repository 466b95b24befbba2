"""A network in memory with scripted brokers: no socket, no time of its own.

Each dial makes a `Peer`. It answers IDENTIFY, SUB and CLS by itself, keeps every
command it was sent, and does the rest as the test says: confirm, refuse, push,
cut. What it says arrives in a later turn of the loop, as on a real network.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from actors.events import Events
from actors.testing import ManualClock
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.protocols.nsq import (
    CommandDecoder,
    CommandLimits,
    NsqProtocolError,
    encode_error,
    encode_message,
    encode_response,
)
from irismq_runtime.protocols.nsq.records import Auth, Cls, Fin, Identify, Nop, Req, Sub, Touch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.endpoints import Endpoint


class FakeTransport(asyncio.Transport):
    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.closing = False

    def write(self, data: bytes) -> None:
        assert not self.closing, "a write on a closed transport (uvloop raises)"
        self.peer.too_late += self.peer.eof
        assert not self.peer.eof, "a write behind the end of all writes (uvloop raises)"
        self.peer.received(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.peer.eof = True
        if not self.peer.network.deaf:
            self.abort()

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.peer.protocol.connection_lost, None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Peer:
    """The broker's end of one connection."""

    def __init__(self, network: FakeNetwork, endpoint: Endpoint, protocol: Any) -> None:
        self.network = network
        self.endpoint = endpoint
        self.protocol = protocol
        self.commands: list[Any] = []
        self.writes: list[bytes] = []
        self.eof = False
        #: Writes behind the end of all writes.
        self.too_late = 0
        self._magic = False
        self._decoder = CommandDecoder(CommandLimits(**network.limits))
        self.transport = FakeTransport(self)

    def of(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    @property
    def alive(self) -> bool:
        return not self.transport.closing

    def received(self, data: bytes) -> None:
        self.writes.append(data)
        if not self._magic:
            assert data.startswith(b"  V2")
            self._magic = True
            data = data[4:]
        try:
            commands = self._decoder.feed(data)
        except NsqProtocolError as fault:  # what nsqd would refuse, it refuses
            self.send(encode_error(fault.code, fault.reason))
            self.cut()
            return
        while commands:
            for command in commands:
                self.commands.append(command)
                self._answer(command)
            commands = self._decoder.resume() if self._decoder.paused else []
        self.network.changed()

    def _answer(self, command: Any) -> None:
        network = self.network
        if isinstance(command, Identify):
            wish = json.loads(command.body)
            if wish.get("msg_timeout", 0) > network.terms["max_msg_timeout"]:
                self.send(encode_error("E_BAD_BODY", "IDENTIFY msg timeout (15000) is invalid"))
                self.cut()
                return
            if network.refuse_identify and "heartbeat_interval" in wish:
                self.send(encode_error("E_BAD_BODY", network.refuse_identify))
                self.cut()
                return
            terms = dict(network.terms)
            terms["msg_timeout"] = wish.get("msg_timeout", terms["msg_timeout"])
            if not network.deaf:
                self.send(encode_response(json.dumps(terms).encode()))
        elif isinstance(command, Sub | Auth):
            refusal = network.refuse_sub.pop(0) if network.refuse_sub else None
            if refusal:
                self.send(encode_error(*refusal))
                self.cut()
            else:
                self.ok()
        elif isinstance(command, Cls):
            self.send(encode_response(b"CLOSE_WAIT"))
        elif network.on_command is not None and not isinstance(command, Nop):
            network.on_command(self, command)

    def send(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if self.alive:
            self.protocol.data_received(data)

    def ok(self, count: int = 1) -> None:
        self.send(encode_response(b"OK") * count)

    def error(self, code: str, text: str = "") -> None:
        self.send(encode_error(code, text))

    def push(self, *numbers: int, attempts: int = 1, stamp: int = 0) -> None:
        self.send(
            b"".join(
                encode_message(stamp or n + 1, attempts, message_id(n), b"%d" % n) for n in numbers
            )
        )

    def heartbeat(self) -> None:
        self.send(encode_response(b"_heartbeat_"))

    def cut(self) -> None:
        asyncio.get_running_loop().call_soon(self.transport.abort)


def message_id(number: int) -> bytes:
    return b"%016x" % number


class FakeNetwork:
    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.down: set[Endpoint] = set()
        #: Takes connections and answers nothing.
        self.deaf = False
        #: Sends no heartbeats.
        self.mute = False
        #: What is said to an IDENTIFY that asks for a heartbeat.
        self.refuse_identify = ""
        self.refuse_sub: list[tuple[str, str] | None] = []
        self.on_command: Callable[[Peer, Any], None] | None = None
        self.answers: dict[Endpoint, Callable[[str], Awaitable[tuple[int, bytes]]]] = {}
        self.limits: dict[str, int] = {}
        self.dials: list[Endpoint] = []
        self.terms = {
            "max_rdy_count": 2500,
            "version": "fake",
            "max_msg_timeout": 900_000,
            "msg_timeout": 60_000,
        }
        self._changed = asyncio.Event()

    async def connect(self, factory: Callable[[], Any], endpoint: Endpoint) -> Any:
        self.dials.append(endpoint)
        self.changed()
        if endpoint in self.down:
            raise ConnectionRefusedError
        protocol = factory()
        peer = Peer(self, endpoint, protocol)
        self.peers.append(peer)
        protocol.connection_made(peer.transport)
        self.changed()
        return protocol

    async def start_tls(self, transport: Any, protocol: Any, context: Any, hostname: str) -> Any:
        raise AssertionError("no TLS here")

    async def get(self, endpoint: Endpoint, path: str, timeout: float) -> tuple[int, bytes]:
        return await self.answers[endpoint](path)

    def changed(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until `condition()` is true; it is looked at in every turn of the loop."""
        for _ in range(100_000):
            found = condition()
            if found:
                return found
            await asyncio.sleep(0)
        raise AssertionError(f"it never came to {condition}")

    def consumer(self, port: int = 4150) -> Peer | None:
        """The living consumer connection to that port, once subscribed."""
        for peer in self.peers:
            if peer.alive and peer.endpoint.port == port and peer.of(Sub):
                return peer
        return None

    def publisher(self, port: int = 4150) -> Peer | None:
        for peer in self.peers:
            if peer.alive and peer.endpoint.port == port and peer.commands and not peer.of(Sub):
                return peer
        return None


class ScriptedBrokers:
    """A mailbox on the fake network, with a clock that the test moves."""

    def __init__(
        self, *ports: int, lookupds: tuple[str, ...] = (), probe: bool = False, **options: Any
    ) -> None:
        if not probe:
            options = {"max_body": 1024 * 1024, "max_delay": 3600.0, **options}
        options.setdefault("adaptive_rdy", False)
        self.clock = ManualClock(1000.0)
        self.network = FakeNetwork()
        self.events = Events()
        self.mailbox = NsqMailbox(
            [f"127.0.0.1:{port}" for port in (ports or (4150,))],
            lookupds,
            clock=self.clock,
            rng=random.Random(1),
            events=self.events,
            config=MailboxConfig(**options),
            network=self.network,
        )
        self.messages: list[Any] = []
        self._beat_at = 0.0

    async def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass in small steps, each followed by some turns of the loop."""
        left = seconds
        while left > 1e-9:
            self.clock.advance(min(step, left))
            left -= step
            if self.clock.monotonic() >= self._beat_at and not self.network.mute:
                self._beat_at = self.clock.monotonic() + 5.0
                for peer in self.network.peers:
                    if peer.alive:
                        peer.heartbeat()
            await turns()

    async def consume(self, window: int = 10, topic: str = "t", channel: str = "c") -> Any:
        consumption = await self.mailbox.consume(
            topic, channel, self.messages.append, window=window
        )
        await self.network.until(self.network.consumer)
        await turns()
        return consumption

    async def close(self, drain: float = 1.0) -> None:
        task = asyncio.ensure_future(self.mailbox.close(drain))
        for _ in range(200):
            await turns(3)
            if task.done():
                break
            self.clock.advance(0.05)
        await task
        assert self.clock.pending == 0, "a timer was left behind"


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def settlements(peer: Peer) -> list[Any]:
    return [command for command in peer.commands if isinstance(command, Fin | Req | Touch)]
