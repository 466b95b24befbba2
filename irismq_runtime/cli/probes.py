"""What answers at a port: nsqd's TCP or HTTP, a relay, something else, or nothing.

Says the opening words of each protocol on connections of its own, so that one
line can name the likely mistake (the HTTP port given as the TCP port, the relay's
as the broker's). Each probe is bounded in time and changes nothing at the server.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import CLIENT_MAGIC, RELAY_MAGIC, VERSION, ClientInit
from irismq_runtime.protocols.nsq import MAGIC, identify

if TYPE_CHECKING:
    from irismq_runtime.config import Endpoint, NodeConfig

__all__ = ["IRIS", "NSQD", "NSQD_HTTP", "what_answers", "wrong_servers"]

NSQD: Final = "nsqd"
NSQD_HTTP: Final = "nsqd's HTTP"
IRIS: Final = "an Iris relay"
HTTP: Final = "an HTTP server that is no nsqd"
SILENT: Final = "something that says nothing to nsqd's, Iris's or HTTP's opening"

_LIMIT: Final = 0.8


async def what_answers(endpoint: Endpoint) -> str:
    """Return one of the constants above, or a sentence that begins with "nothing"."""
    problem = await _reach(endpoint)
    if problem:
        return problem
    openings: tuple[tuple[bytes, str], ...] = (
        (MAGIC + identify({"client_id": "check", "feature_negotiation": True}), "nsq"),
        (encode_packet(ClientInit(CLIENT_MAGIC, VERSION, "")), "iris"),
        (b"GET /ping HTTP/1.0\r\nHost: check\r\n\r\n", "http"),
    )
    answers = await asyncio.gather(*(_say(endpoint, words) for words, _ in openings))
    nsq, iris, http = answers
    if b'"max_rdy_count"' in nsq or nsq[4:8] == b"\x00\x00\x00\x00":
        return NSQD
    if RELAY_MAGIC.encode() in iris:
        return IRIS
    if http.startswith(b"HTTP/"):
        return NSQD_HTTP if http.rstrip().endswith(b"OK") else HTTP
    return SILENT


async def wrong_servers(config: NodeConfig) -> list[str]:
    """Return one sentence for each server of a node at whose address another one is."""
    wanted = [*((endpoint, NSQD) for endpoint in config.nsqd), (config.iris, IRIS)]
    found = await asyncio.gather(*(what_answers(endpoint) for endpoint, _ in wanted))
    return [
        f"{endpoint} should be {role}, but there is {answer}"
        for (endpoint, role), answer in zip(wanted, found, strict=True)
        if answer != role
    ]


async def _reach(endpoint: Endpoint) -> str:
    try:
        async with asyncio.timeout(_LIMIT):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except TimeoutError:
        return "nothing: the connection is not answered"
    except socket.gaierror as error:
        return f"nothing: the host {endpoint.host!r} is not known ({error.strerror})"
    except OSError as error:
        return f"nothing: {error.strerror or error}"
    writer.close()
    return ""


async def _say(endpoint: Endpoint, words: bytes) -> bytes:
    try:
        async with asyncio.timeout(_LIMIT):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            try:
                writer.write(words)
                return await reader.read(4096)
            finally:
                writer.close()
    except (TimeoutError, OSError):
        return b""
