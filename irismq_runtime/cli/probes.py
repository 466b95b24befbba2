"""Finds out what answers at a port: nsqd's TCP or HTTP, nsqlookupd, a relay, NATS, or what.

Says the opening words of each protocol on connections of its own, so that one
line can name the likely mistake (the HTTP port given as the TCP port, the relay's
as the broker's). Changes nothing at the server. A NATS server is logged in to as a
node does it (nats_login.py). Nothing takes longer than `LIMIT` for one address:
names are resolved in a thread that nobody waits for, since a resolver that hangs
can neither be cancelled nor left to a pool that is joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from irismq_runtime.cli.advice import START_DEV
from irismq_runtime.cli.http import get_json
from irismq_runtime.cli.nats_login import each_server, with_login
from irismq_runtime.cli.options import SecureEndpoint, a_number, http_of
from irismq_runtime.cli.server_identification import (
    Openings,
    ServerIdentity,
    ServerKind,
    judge,
    recognize_untrusted,
    sentence,
)
from irismq_runtime.config import (
    DEFAULT_LOOKUPD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    parse_endpoints,
    parse_relay,
)
from irismq_runtime.errors import NotConnected
from irismq_runtime.mailbox import why_refused
from irismq_runtime.namespace import Namespace
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import CLIENT_MAGIC, VERSION, ClientInit
from irismq_runtime.protocols.nsq import MAGIC, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from irismq_runtime.cli.brokers import Brokers
    from irismq_runtime.config import Endpoint, NatsOverlay

__all__ = [
    "LIMIT",
    "Limit",
    "Target",
    "examine",
    "examine_all",
    "resolve",
    "targets",
    "targets_of",
    "wrong_servers",
]

#: Seconds for one address, all of it: a third each for the name, for the connection,
#: and for the answers. A person waits no longer than 3 s to be told what is wrong.
LIMIT: Final = 2.4

#: Of the time for a NATS server: to find out who it is; the rest is for the login.
_SHARE: Final = 0.6

Resolver = Any  # as socket.getaddrinfo: callable(host, port, type=...) -> list


#: For the commands that look at servers.
Limit = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.1,
        max=3600,
        callback=a_number,
        help="Seconds in which a server must answer.",
    ),
]


class Target(NamedTuple):
    """A server that is meant to be at an address."""

    role: ServerKind
    endpoint: Endpoint
    #: NATS as a node will use it, this server alone; None: only who it is matters.
    overlay: NatsOverlay | None = None


async def examine(
    endpoint: Endpoint, *, limit: float = LIMIT, resolver: Resolver = socket.getaddrinfo
) -> ServerIdentity:
    """Find out who answers at an address, within `limit` seconds."""
    step = limit / 3
    try:
        async with asyncio.timeout(step):
            host = await resolve(endpoint.host, endpoint.port, resolver)
    except TimeoutError:
        reason = f"the host {endpoint.host!r} is not resolved: the name server does not answer"
        return ServerIdentity(ServerKind.NOTHING, reason, late=True)
    except OSError as error:
        reason = f"the host {endpoint.host!r} is not known ({error.strerror or error})"
        return ServerIdentity(ServerKind.NOTHING, reason)
    problem = await _reach(host, endpoint.port, step)
    if problem is not None:
        return problem
    return recognize_untrusted(await _openings(host, endpoint.port, step))


async def resolve(host: str, port: int, resolver: Resolver = socket.getaddrinfo) -> str:
    """Return one numeric address of `host`. Raises `OSError`; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def settle(set_result: Callable[[Any], None], value: Any) -> None:
        if not found.done():
            set_result(value)

    def look_up() -> None:
        call: tuple[Callable[[Any], None], Any]
        try:
            call = (found.set_result, resolver(host, port, type=socket.SOCK_STREAM)[0][4][0])
        except (OSError, UnicodeError) as error:
            call = (found.set_exception, OSError(0, getattr(error, "strerror", "") or str(error)))
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, *call)

    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    return await found


async def _reach(host: str, port: int, limit: float) -> ServerIdentity | None:
    """Return why no connection stands; None when one does."""
    try:
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return ServerIdentity(ServerKind.NOTHING, "the connection is not answered", late=True)
    except OSError as error:
        return ServerIdentity(
            ServerKind.NOTHING, os.strerror(error.errno) if error.errno else str(error)
        )
    writer.close()
    return None


async def _openings(host: str, port: int, limit: float) -> Openings:
    async def say(words: bytes) -> bytes:
        return await _say(host, port, words, limit)

    async def ping() -> tuple[bytes, float, float]:
        asked = time.time()
        answer = await say(b"GET /ping HTTP/1.0\r\nHost: check\r\n\r\n")
        return answer, asked, time.time()

    nsq, iris, info, (pong, asked, answered) = await asyncio.gather(
        say(MAGIC + identify({"client_id": "check", "feature_negotiation": True})),
        say(encode_packet(ClientInit(CLIENT_MAGIC, VERSION, ""))),
        say(b"GET /info HTTP/1.0\r\nHost: check\r\n\r\n"),
        ping(),
    )
    return Openings(nsq, iris, pong, info, asked, answered)


async def _say(host: str, port: int, words: bytes, limit: float) -> bytes:
    """Return what comes back, up to `limit` seconds; of HTTP everything, else the first piece."""
    answer = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(words)
                while piece := await reader.read(4096):
                    answer += piece
                    if not answer.startswith(b"HTTP/") or len(answer) > 65536:
                        break
            finally:
                writer.close()
    return answer


def targets(
    *, nsqd: Iterable[str], nsqd_http: Iterable[str], iris: str, lookupd: Iterable[str] = ()
) -> list[Target]:
    """Read the options of a command. Raises `ConfigError`."""
    brokers = parse_endpoints(nsqd, option="nsqd", default_port=DEFAULT_NSQD_PORT)
    directories = parse_endpoints(lookupd, option="lookupd", default_port=DEFAULT_LOOKUPD_HTTP_PORT)
    found = [Target(ServerKind.NSQD, endpoint) for endpoint in brokers]
    found += [Target(ServerKind.NSQD_HTTP, at) for at in http_of(nsqd, nsqd_http)]
    found += [Target(ServerKind.LOOKUPD, endpoint) for endpoint in directories]
    relay = parse_relay(iris)
    if "nats" in relay:
        return found + [Target(ServerKind.NATS, *one) for one in each_server(relay["nats"])]
    return [*found, Target(ServerKind.IRIS, relay["iris"])]


async def examine_all(
    wanted: Iterable[Target], *, limit: float = LIMIT, brokers: Brokers | None = None
) -> list[tuple[Target, ServerIdentity]]:
    """Examine every target at the same time, each within `limit` seconds.

    `brokers`: a broker is greeted as a node with these options does it as well, with
    TLS and AUTH, in another `limit` seconds; one that refuses that is ill.
    """
    config = None if brokers is None else brokers.config(connect_timeout=limit)
    names = Namespace() if brokers is None else brokers.names
    tls = None if config is None else config.tls

    async def one(place: Target) -> ServerIdentity:
        if isinstance(place.endpoint, SecureEndpoint):
            return await _secured(place.endpoint, limit, tls)
        answer = await _examine(place, limit, names)
        if config is None or not place.role is ServerKind.NSQD is answer.kind:
            return answer
        reason = await why_refused(config, place.endpoint)
        return dataclasses.replace(answer, reason=reason) if reason else answer

    places = list(wanted)
    return list(zip(places, await asyncio.gather(*map(one, places)), strict=True))


async def _secured(endpoint: Endpoint, limit: float, tls: Any) -> ServerIdentity:
    """What answers HTTP inside TLS."""
    try:
        said = await get_json(str(endpoint), "/info", timeout=limit, tls=tls)
    except NotConnected as error:
        return ServerIdentity(ServerKind.NOTHING, error.reason)
    version = said.get("version") if isinstance(said, dict) else None
    return ServerIdentity(ServerKind.NSQD_HTTP, version=str(version or "?")[:40])


async def _examine(place: Target, limit: float, names: Namespace) -> ServerIdentity:
    """Find out who is there and, where that is NATS, whether it would have a node."""
    if place.overlay is None:
        return await examine(place.endpoint, limit=limit)
    answer = await examine(place.endpoint, limit=limit * _SHARE)
    if answer.kind is not ServerKind.NATS:
        return answer
    return await with_login(answer, place.overlay, names, limit=limit * (1 - _SHARE))


#: What a node calls the servers that it dials.
_ROLES: Final = {"nsqd": ServerKind.NSQD, "iris": ServerKind.IRIS, "nats": ServerKind.NATS}


def targets_of(dialled: Mapping[str, Iterable[Endpoint]]) -> list[Target]:
    """Return the servers that a node dials; see `Node.dialled`."""
    return [
        Target(_ROLES[name], endpoint) for name, places in dialled.items() for endpoint in places
    ]


async def wrong_servers(
    dialled: Mapping[str, Iterable[Endpoint]], *, start: str = START_DEV
) -> str:
    """Return what is to be said of the servers that a node dials and that are not there.

    "" when all are. `start`: see `judge`.
    """
    return sentence(
        judge(place.role, str(place.endpoint), answer, start=start)
        for place, answer in await examine_all(targets_of(dialled))
        if answer.kind is not place.role
    )
