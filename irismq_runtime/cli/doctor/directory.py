"""Asks an nsqlookupd for its brokers, and whether each can be reached from here.

A broker registers under its broadcast address. One that only its own host can
resolve makes consumers wait for messages that they never get.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from irismq_runtime.cli.http import get_json
from irismq_runtime.cli.probes import examine
from irismq_runtime.cli.server_identification import Finding, Level, ServerKind
from irismq_runtime.config import Endpoint
from irismq_runtime.errors import NotConnected

if TYPE_CHECKING:
    from irismq_runtime.cli.server_identification import ServerIdentity

__all__ = ["judge_producers", "look_at_producers", "pairs_untrusted", "producers_untrusted"]

#: At most so many brokers of one directory are dialled.
_MOST = 32


def producers_untrusted(listing: Any) -> list[Endpoint]:
    """Read the TCP addresses of an answer to /nodes; what is none is left out."""
    return list(dict.fromkeys(_endpoints(listing, "tcp_port")))[:_MOST]


def pairs_untrusted(listing: Any) -> list[tuple[Endpoint, Endpoint]]:
    """Read where each broker of an answer to /nodes answers NSQ's protocol, and where HTTP.

    One that does not tell both is left out.
    """
    found: list[tuple[Endpoint, Endpoint]] = []
    for entry in _entries(listing):
        alone = {"producers": [entry]}
        tcp, http = _endpoints(alone, "tcp_port"), _endpoints(alone, "http_port")
        found += zip(tcp, http, strict=False)
    return list(dict.fromkeys(found))


def _endpoints(listing: Any, port_name: str) -> list[Endpoint]:
    found = []
    for entry in _entries(listing):
        host, port = entry.get("broadcast_address"), entry.get(port_name)
        if isinstance(host, str) and host and type(port) is int and 0 < port < 65536:
            found.append(Endpoint(host[:255], port))
    return found


def _entries(listing: Any) -> list[dict[str, Any]]:
    listed = listing.get("producers") if isinstance(listing, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [entry for entry in entries if isinstance(entry, dict)]


async def look_at_producers(
    lookupd: Endpoint, limit: float
) -> list[tuple[Endpoint, ServerIdentity]] | None:
    """Dial every broker that a directory lists, each within `limit`; None when it does not say."""
    try:
        listing = await get_json(str(lookupd), "/nodes", timeout=limit)
    except NotConnected:
        return None
    listed = producers_untrusted(listing)
    answers = await asyncio.gather(*(examine(one, limit=limit) for one in listed))
    return list(zip(listed, answers, strict=True))


def judge_producers(
    lookupd: Endpoint, producers: list[tuple[Endpoint, ServerIdentity]] | None
) -> list[Finding]:
    """One line for each broker that a directory lists and that is not there."""
    about = f"producers {lookupd}"
    if producers is None:
        text = f"{lookupd} does not say which brokers it knows"
        return [Finding(Level.WARN, about, text, "see its log", "server")]
    if not producers:
        text = f"{lookupd} knows no broker"
        advice = "start nsqd with --lookupd-tcp-address, or give brokers with --nsqd"
        return [Finding(Level.NOTE, about, text, advice, "server")]
    return [
        Finding(
            Level.BAD,
            about,
            f"{lookupd} lists a broker at {endpoint}, but there is {answer.words}",
            "give that nsqd a --broadcast-address which is reached from here, or restart it",
            "server",
        )
        for endpoint, answer in producers
        if answer.kind is not ServerKind.NSQD
    ]
