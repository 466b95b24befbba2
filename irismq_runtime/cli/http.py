"""nsqd's HTTP API for the commands that look at a broker, or prepare one."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

from irismq_runtime.errors import NotConnected

__all__ = ["get_json", "get_totals", "post"]


async def get_json(endpoint: str, path: str, timeout: float = 3.0, **query: str) -> Any:
    """Return the JSON at `path` of `endpoint` ("host:port").

    Raises `NotConnected` when nothing answers there, or something that is no nsqd.
    """
    answer = await asyncio.to_thread(
        _call, "GET", endpoint, path, {"format": "json", **query}, timeout
    )
    try:
        return json.loads(answer)
    except ValueError as error:
        raise NotConnected(f"nsqd HTTP {endpoint}", str(error), remedy=_REMEDY) from error


async def get_totals(endpoint: str) -> Any:
    """Return the statistics of a broker without those of its clients: for frequent looks."""
    query = {"include_clients": "false", "include_mem": "false"}
    return await get_json(endpoint, "/stats", 1.0, **query)


async def post(endpoint: str, path: str, timeout: float = 3.0, **query: str) -> None:
    """Do what `path` of `endpoint` does, with no body. Raises as `get_json`."""
    await asyncio.to_thread(_call, "POST", endpoint, path, query, timeout)


_REMEDY: Final = (
    "give nsqd's HTTP address with --nsqd-http (4151 by default), or start `irismq dev`"
)


def _call(method: str, endpoint: str, path: str, query: dict[str, str], timeout: float) -> bytes:
    url = f"http://{endpoint}{path}?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  # http by construction
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise NotConnected(
            f"nsqd HTTP {endpoint}", f"it answers {error.code}", remedy=_REMEDY
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotConnected(f"nsqd HTTP {endpoint}", str(reason), remedy=_REMEDY) from error
