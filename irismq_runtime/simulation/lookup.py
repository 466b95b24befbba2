"""nsqlookupd for a simulation: which brokers have which topics, told by the brokers.

`LookupDaemon` speaks nsqlookupd's protocol V1 to brokers and its HTTP API to who looks a
topic up; `register_with` is the side of nsqd: it keeps a connection to a lookup daemon,
says which topics and channels there are, also later ones, and pings. As in nsqlookupd a
producer is forgotten when its connection ends, and is not named when it was silent for
`INACTIVE` seconds; a daemon that was started again knows nothing until brokers have come
back. One loop each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from irismq_runtime.embedded.nsqd import EmbeddedNsqd

__all__ = ["LOOKUPD_HTTP_PORT", "LOOKUPD_TCP_PORT", "LookupDaemon", "register_with"]

LOOKUPD_TCP_PORT: Final = 4160
LOOKUPD_HTTP_PORT: Final = 4161
#: Seconds of silence after which a producer is not named (nsqlookupd's default).
INACTIVE: Final = 300.0
#: Seconds between two pings, as nsqd's.
_PING: Final = 15.0
#: Seconds between two looks for new topics, and between two tries to connect.
_LOOK: Final = 0.1
_AGAIN: Final = 1.0
#: Bytes of what a broker says of itself, and of a line, at most.
_LARGEST: Final = 64 * 1024
_MAGIC: Final = b"  V1"
_SIZE: Final = struct.Struct(">I")


@dataclass(slots=True)
class _Producer:
    """One broker: what it said of itself, when it was heard, and what it has."""

    facts: dict[str, Any]
    heard: float
    #: (topic, channel); the channel is empty for the topic alone.
    has: dict[tuple[str, str], None] = field(default_factory=dict)


class LookupDaemon:
    """One nsqlookupd: started on a host, ended with its process."""

    def __init__(self) -> None:
        self._producers: dict[asyncio.StreamWriter, _Producer] = {}
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listen at both ports, on all addresses of the host. Raises `OSError`."""
        for serve, port in (
            (self._serve_broker, LOOKUPD_TCP_PORT),
            (self._serve_http, LOOKUPD_HTTP_PORT),
        ):
            self._servers.append(await asyncio.start_server(serve, None, port, limit=_LARGEST))

    async def stop(self) -> None:
        """Take no more connections, and end those there are. Idempotent."""
        while self._servers:
            self._servers.pop().close()
        for writer in list(self._producers):
            writer.close()

    # -- brokers -------------------------------------------------------------------

    async def _serve_broker(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            if await reader.readexactly(4) == _MAGIC:
                while line := await reader.readline():
                    answer = await self._obey_untrusted(line, reader, writer)
                    writer.write(_SIZE.pack(len(answer)) + answer)
        self._producers.pop(writer, None)
        writer.close()

    async def _obey_untrusted(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Do what a broker says; what has no meaning ends the connection with `ValueError`."""
        now = asyncio.get_running_loop().time()
        verb, *words = line.decode("ascii").split()
        if verb == "IDENTIFY":
            (size,) = _SIZE.unpack(await reader.readexactly(4))
            if size > _LARGEST:
                raise ValueError(size)
            facts = json.loads(await reader.readexactly(size))
            self._producers[writer] = _Producer(dict(facts), now)
            return b'{"tcp_port":%d,"http_port":%d}' % (LOOKUPD_TCP_PORT, LOOKUPD_HTTP_PORT)
        producer = self._producers.get(writer)
        if producer is None:
            raise ValueError("IDENTIFY comes first")
        producer.heard = now
        if verb == "REGISTER":
            producer.has[words[0], words[1] if len(words) > 1 else ""] = None
        elif verb == "UNREGISTER":
            producer.has.pop((words[0], words[1] if len(words) > 1 else ""), None)
        elif verb != "PING":
            raise ValueError(verb)
        return b"OK"

    # -- who looks up ----------------------------------------------------------------

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            head = await reader.readuntil(b"\r\n\r\n")
            status, value = self._answer_untrusted(head.split(b"\r\n", 1)[0].decode("ascii"))
            body = json.dumps(value).encode()
            writer.write(b"HTTP/1.0 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    def _answer_untrusted(self, line: str) -> tuple[bytes, object]:
        method, _, rest = line.partition(" ")
        url = urlsplit(rest.partition(" ")[0])
        topic = parse_qs(url.query).get("topic", [""])[0]
        if method != "GET" or url.path != "/lookup":
            return b"404 Not Found", {"message": "NOT_FOUND"}
        since = asyncio.get_running_loop().time() - INACTIVE
        having = [each for each in self._producers.values() if (topic, "") in each.has]
        if not having:
            return b"404 Not Found", {"message": "TOPIC_NOT_FOUND"}
        channels = {name: None for each in having for of, name in each.has if of == topic and name}
        producers = [each.facts for each in having if each.heard >= since]
        return b"200 OK", {"channels": list(channels), "producers": producers}


async def register_with(host: str, broker: EmbeddedNsqd, *, name: str) -> None:
    """Keep a lookup daemon told of what a broker has, until it is cancelled.

    Args:
        host: Where the daemon is.
        broker: The broker, started, in the same process.
        name: The host at which the broker is reached.
    """
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(host, LOOKUPD_TCP_PORT)
            try:
                await _tell(reader, writer, broker, name)
            finally:
                writer.close()
        await asyncio.sleep(_AGAIN)


async def _tell(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, broker: EmbeddedNsqd, name: str
) -> None:
    loop = asyncio.get_running_loop()

    async def ask(data: bytes) -> None:
        writer.write(data)
        (size,) = _SIZE.unpack(await reader.readexactly(4))
        await reader.readexactly(size)

    facts = {"broadcast_address": name, "hostname": name, "tcp_port": broker.port}
    body = json.dumps({**facts, "http_port": broker.http_port or 0, "version": "1.3.0"}).encode()
    await ask(_MAGIC + b"IDENTIFY\n" + _SIZE.pack(len(body)) + body)
    told: dict[str, None] = {}
    spoke = loop.time()
    while True:
        has = _topics_and_channels(broker)
        for verb, words in (
            *(("REGISTER", each) for each in has if each not in told),
            *(("UNREGISTER", each) for each in told if each not in has),
        ):
            await ask(f"{verb} {words}\n".encode())
            spoke = loop.time()
        told = has
        if loop.time() - spoke >= _PING:
            await ask(b"PING\n")
            spoke = loop.time()
        await asyncio.sleep(_LOOK)


def _topics_and_channels(broker: EmbeddedNsqd) -> dict[str, None]:
    """What is registered, in order: topics before their channels."""
    found: dict[str, None] = {}
    for topic in broker.context.broker.topics.values():
        found[topic.name] = None
        found.update((f"{topic.name} {channel}", None) for channel in topic.channels)
    return found
