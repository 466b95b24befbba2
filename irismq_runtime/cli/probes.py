"""What answers at a port: nsqd's TCP or HTTP, a directory, a relay, NATS, something else.

Says the opening words of each protocol on connections of its own, so that one
line can name the likely mistake (the HTTP port given as the TCP port, the relay's
as the broker's). Changes nothing at the server. Nothing takes longer than `LIMIT`
for one address: names are resolved in a thread that nobody waits for, since a
resolver that hangs can neither be cancelled nor left to a pool that is joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from irismq_runtime.cli.answers import Answer, Kind, Openings, judge, recognize_untrusted
from irismq_runtime.config import (
    DEFAULT_LOOKUPD_HTTP_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    parse_endpoints,
    parse_relay,
)
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import CLIENT_MAGIC, VERSION, ClientInit
from irismq_runtime.protocols.nsq import MAGIC, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from irismq_runtime.config import Endpoint

__all__ = [
    "LIMIT",
    "Target",
    "examine",
    "examine_all",
    "reach",
    "resolve",
    "targets",
    "targets_of",
    "wrong_servers",
]

#: Seconds for the name, for the connection, and for the answers.
_STEP: Final = 0.8
#: Seconds for one address, all of it (case 127 allows 3).
LIMIT: Final = 3 * _STEP

Resolver = Any  # as socket.getaddrinfo: callable(host, port, type=...) -> list


class Target(NamedTuple):
    """A server that is meant to be at an address."""

    role: Kind
    endpoint: Endpoint


async def examine(endpoint: Endpoint, *, resolver: Resolver = socket.getaddrinfo) -> Answer:
    """Find out who answers at an address. Takes three steps of `_STEP` seconds at most."""
    try:
        async with asyncio.timeout(_STEP):
            host = await resolve(endpoint.host, endpoint.port, resolver)
    except TimeoutError:
        reason = f"the host {endpoint.host!r} is not resolved: the name server does not answer"
        return Answer(Kind.NOTHING, reason)
    except OSError as error:
        reason = f"the host {endpoint.host!r} is not known ({error.strerror or error})"
        return Answer(Kind.NOTHING, reason)
    problem = await reach(host, endpoint.port)
    if problem:
        return Answer(Kind.NOTHING, problem)
    return recognize_untrusted(await _openings(host, endpoint.port), time.time())


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


async def reach(host: str, port: int) -> str:
    """Return why no connection stands, or ""."""
    try:
        async with asyncio.timeout(_STEP):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return "the connection is not answered"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.close()
    return ""


async def _openings(host: str, port: int) -> Openings:
    words = (
        MAGIC + identify({"client_id": "check", "feature_negotiation": True}),
        encode_packet(ClientInit(CLIENT_MAGIC, VERSION, "")),
        b"GET /ping HTTP/1.0\r\nHost: check\r\n\r\n",
        b"GET /info HTTP/1.0\r\nHost: check\r\n\r\n",
    )
    nsq, iris, ping, info = await asyncio.gather(*(_say(host, port, word) for word in words))
    return Openings(nsq, iris, ping, info)


async def _say(host: str, port: int, words: bytes) -> bytes:
    """Return what comes back, up to `_STEP` seconds; of HTTP everything, else the first piece."""
    answer = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_STEP):
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
    read = (
        (Kind.NSQD, "nsqd", nsqd, DEFAULT_NSQD_PORT),
        (Kind.NSQD_HTTP, "nsqd-http", nsqd_http, DEFAULT_NSQD_HTTP_PORT),
        (Kind.LOOKUPD, "lookupd", lookupd, DEFAULT_LOOKUPD_HTTP_PORT),
    )
    found = [
        Target(role, endpoint)
        for role, option, texts, port in read
        for endpoint in parse_endpoints(texts, option=option, default_port=port)
    ]
    relay = parse_relay(iris)
    if "nats" in relay:
        return found + [Target(Kind.NATS, endpoint) for endpoint in relay["nats"].endpoints]
    return [*found, Target(Kind.IRIS, relay["iris"])]


async def examine_all(wanted: Iterable[Target]) -> list[tuple[Target, Answer]]:
    """Examine every target at the same time."""
    places = list(wanted)
    found = await asyncio.gather(*(examine(place.endpoint) for place in places))
    return list(zip(places, found, strict=True))


#: What a node calls the servers that it dials.
_ROLES: Final = {"nsqd": Kind.NSQD, "iris": Kind.IRIS, "nats": Kind.NATS}


def targets_of(dialled: Mapping[str, Iterable[Endpoint]]) -> list[Target]:
    """Return the servers that a node dials; see `Node.dialled`."""
    return [
        Target(_ROLES[name], endpoint) for name, places in dialled.items() for endpoint in places
    ]


async def wrong_servers(dialled: Mapping[str, Iterable[Endpoint]]) -> list[str]:
    """Return one sentence for each server that a node dials and at whose address another is."""
    return [
        judge(place.role, str(place.endpoint), answer).text
        for place, answer in await examine_all(targets_of(dialled))
        if answer.kind is not place.role
    ]
