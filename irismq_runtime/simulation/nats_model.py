"""A model of a NATS server, and of a cluster of them: as much as the relay over NATS needs.

It speaks NATS's client protocol to real clients (nats-py in the relay): INFO, CONNECT,
PING and PONG, SUB with queue groups, UNSUB, PUB and HPUB, and "503" to who asks where
nobody is subscribed. Of a queue group one subscriber gets a message, which chance chooses,
one at this server before those at others. A client that does not read is dropped as a slow
consumer, and one that is silent for two pings is gone.

Servers of a cluster know of each other's subscriptions by *routes*: each dials each of the
others as a client would, subscribes to what its own clients are subscribed to, and hands
them what comes. A message goes over one route at most, and is lost with it; what a server
does not know of yet, or any more, it does not send. No login, no JetStream, no gateways;
what these do is for the tests with real servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from actors.chance import default_random

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["NATS_PORT", "NatsServerModel"]

NATS_PORT: Final = 4222
#: Bytes of a message, as NATS has it by default.
_MAX_PAYLOAD: Final = 1024 * 1024
#: Bytes that wait for a client that does not read, at most (NATS's is 64 MB).
_MAX_PENDING: Final = 16 * 1024 * 1024
#: Bytes of a line of the protocol, at most.
_MAX_LINE: Final = 4096
#: Seconds between two pings, of which two may stay without an answer.
_PING: Final = 20.0
#: Seconds until a route that could not be opened, or broke, is tried again.
_AGAIN: Final = 1.0
_NOBODY: Final = b"NATS/1.0 503\r\n\r\n"


@dataclass(eq=False, slots=True)
class _NatsSubscription:
    """What one client wants to hear. `left`: messages until it ends by itself; None: never.

    `number`: by which the other servers know it.
    """

    client: _NatsClient
    subject: str
    queue: str
    sid: str
    number: int
    left: int | None = None

    def command(self) -> bytes:
        """What subscribes to it at another server."""
        return f"SUB {self.subject} {self.queue} {self.number}\r\n".encode()


@dataclass(eq=False, slots=True)
class _NatsClient:
    """A connection: its subscriptions by their id, and pings that it has not answered."""

    writer: asyncio.StreamWriter
    subscriptions: dict[str, _NatsSubscription] = field(default_factory=dict)
    unanswered: int = 0
    no_responders: bool = False
    is_route: bool = False

    def send(self, *parts: bytes) -> None:
        """Write to it; one that does not read is dropped."""
        if self.writer.transport.get_write_buffer_size() > _MAX_PENDING:
            self.writer.transport.abort()
        elif not self.writer.is_closing():
            self.writer.write(b"".join(parts))


class NatsServerModel:
    """The server. `start` it on a host; it ends with the process, or with `stop`.

    Args:
        rng: Who of a queue group gets a message; None: chance of the running loop.
        name: Of the server.
        others: The hosts of the other servers of its cluster.
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        *,
        name: str = "model",
        others: Sequence[str] = (),
    ) -> None:
        self._random = default_random() if rng is None else rng
        self._name = name
        self._others = others
        self._clients: dict[_NatsClient, None] = {}
        self._ids = 0
        #: What the other servers are asked for, by its number.
        self._own: dict[int, _NatsSubscription] = {}
        self._numbers = itertools.count(1)
        #: To the other servers, those that are open.
        self._routes: dict[asyncio.StreamWriter, None] = {}
        self._dialling: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def start(self, port: int = NATS_PORT) -> None:
        """Listen on all addresses of the host, and reach the others. Raises `OSError`."""
        self._server = await asyncio.start_server(self._serve, None, port, limit=2 * _MAX_PAYLOAD)
        for host in self._others:
            self._dialling.append(asyncio.create_task(self._keep_route(host, port)))

    async def stop(self) -> None:
        """End all connections. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._dialling:
            task.cancel()
        for client in list(self._clients):
            client.writer.close()

    # -- one client ------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _NatsClient(writer)
        self._ids += 1
        client.send(b"INFO ", self._info(self._ids), b"\r\n")
        self._clients[client] = None
        pinging = asyncio.create_task(self._ping(client))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            while line := await reader.readline():
                if len(line) > _MAX_LINE:
                    break
                await self._obey_untrusted(client, line.decode().rstrip("\r\n"), reader)
        pinging.cancel()
        self._clients.pop(client, None)
        for one in client.subscriptions.values():
            self._ask_no_more(one)
        writer.close()

    def _info(self, client_id: int) -> bytes:
        told = {
            "server_id": self._name.upper(),
            "server_name": self._name,
            "version": "2.10.0",
            "proto": 1,
            "headers": True,
            "max_payload": _MAX_PAYLOAD,
            "client_id": client_id,
        }
        return json.dumps(told).encode()

    async def _ping(self, client: _NatsClient) -> None:
        while client.unanswered < 2:
            await asyncio.sleep(_PING)
            client.unanswered += 1
            client.send(b"PING\r\n")
        client.writer.transport.abort()

    async def _obey_untrusted(
        self, client: _NatsClient, line: str, reader: asyncio.StreamReader
    ) -> None:
        """Do what a client says; what has no meaning raises `ValueError` or `IndexError`."""
        verb, _, rest = line.partition(" ")
        words = rest.split()
        match verb.upper():
            case "PUB" | "HPUB":
                await self._take_untrusted(client, words, reader, headed=verb[0] in "Hh")
            case "SUB":
                queue = words[1] if len(words) > 2 else ""
                one = _NatsSubscription(client, words[0], queue, words[-1], next(self._numbers))
                client.subscriptions[one.sid] = one
                self._ask_others(one)
            case "UNSUB":
                self._unsubscribe(client, words)
            case "PING":
                client.send(b"PONG\r\n")
            case "PONG":
                client.unanswered = 0
            case "CONNECT":
                said = json.loads(rest)
                client.no_responders = bool(said.get("no_responders"))
                client.is_route = bool(said.get("route"))
            case _:
                raise ValueError(verb)

    def _unsubscribe(self, client: _NatsClient, words: list[str]) -> None:
        one = client.subscriptions.get(words[0])
        if one is not None and len(words) > 1:
            one.left = int(words[1])
        elif one is not None:
            self._forget(one)

    def _forget(self, one: _NatsSubscription) -> None:
        one.client.subscriptions.pop(one.sid, None)
        self._ask_no_more(one)

    async def _take_untrusted(
        self, client: _NatsClient, words: list[str], reader: asyncio.StreamReader, *, headed: bool
    ) -> None:
        sizes = [int(word) for word in words[-2 if headed else -1 :]]
        if not 0 <= sizes[0] <= sizes[-1] <= _MAX_PAYLOAD:
            client.send(b"-ERR 'Maximum Payload Violation'\r\n")
            raise ValueError(sizes)
        subject, *reply = words[: -len(sizes)]
        data = (await reader.readexactly(sizes[-1] + 2))[:-2]
        head = sizes[0] if headed else 0
        heard = self._deliver(subject, reply[0] if reply else "", data, head)
        if not heard and reply and client.no_responders:
            self._deliver(reply[0], "", _NOBODY, len(_NOBODY))

    # -- who gets what -----------------------------------------------------------------

    def _deliver(self, subject: str, reply: str, data: bytes, head: int) -> bool:
        """Hand a message on; False: nobody was there. `head`: bytes of it that are headers."""
        groups: dict[str, list[_NatsSubscription]] = {}
        chosen: list[_NatsSubscription] = []
        for client in self._clients:
            for one in client.subscriptions.values():
                if _matches(one.subject, subject):
                    (groups.setdefault(one.queue, []) if one.queue else chosen).append(one)
        for group in groups.values():
            here = [one for one in group if not one.client.is_route]
            chosen.append(self._random.choice(here or group))
        for one in chosen:
            self._hand(one, subject, reply, data, head)
        return bool(chosen)

    def _hand(
        self, one: _NatsSubscription, subject: str, reply: str, data: bytes, head: int
    ) -> None:
        verb, sizes = ("HMSG", f"{head} {len(data)}") if head else ("MSG", str(len(data)))
        words = [verb, subject, one.sid, *([reply] if reply else []), sizes]
        one.client.send(" ".join(words).encode(), b"\r\n", data, b"\r\n")
        if one.left is not None:
            one.left -= 1
            if one.left <= 0:
                self._forget(one)

    # -- the other servers of a cluster ------------------------------------------------

    def _ask_others(self, one: _NatsSubscription) -> None:
        """Have what a client here wants to hear sent from the other servers, too."""
        if not one.client.is_route:
            self._own[one.number] = one
            self._tell_others(one.command())

    def _ask_no_more(self, one: _NatsSubscription) -> None:
        if self._own.pop(one.number, None) is not None:
            self._tell_others(f"UNSUB {one.number}\r\n".encode())

    def _tell_others(self, command: bytes) -> None:
        for writer in self._routes:
            writer.write(command)

    async def _keep_route(self, host: str, port: int) -> None:
        """Keep a route to another server, until this is cancelled."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(host, port, limit=2 * _MAX_PAYLOAD)
                try:
                    writer.write(b'CONNECT {"route":true}\r\n')
                    writer.writelines(one.command() for one in self._own.values())
                    self._routes[writer] = None
                    while await self._hear_untrusted(reader, writer):
                        pass
                finally:
                    self._routes.pop(writer, None)
                    writer.close()
            await asyncio.sleep(_AGAIN)

    async def _hear_untrusted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Take one thing that another server says; False: it says no more."""
        async with asyncio.timeout(3 * _PING):  # it pings
            verb, *words = (await reader.readline()).decode().split() or [""]
            match verb:
                case "MSG" | "HMSG":
                    headed = verb == "HMSG"
                    subject, number, *reply = words[: -2 if headed else -1]
                    head = int(words[-2]) if headed else 0
                    data = (await reader.readexactly(int(words[-1]) + 2))[:-2]
                    one = self._own.get(int(number))
                    if one is not None:
                        self._hand(one, subject, reply[0] if reply else "", data, head)
                case "PING":
                    writer.write(b"PONG\r\n")
        return bool(verb)


def _matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to `pattern`, with `*` and `>`, hears `subject`."""
    if pattern == subject:
        return True
    wanted, parts = pattern.split("."), subject.split(".")
    for place, part in enumerate(wanted):
        if part == ">":
            return len(parts) > place
        if place >= len(parts) or part not in {"*", parts[place]}:
            return False
    return len(wanted) == len(parts)
