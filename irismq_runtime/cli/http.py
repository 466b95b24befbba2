"""nsqd's HTTP API for the commands that look at a broker, or prepare one."""

from __future__ import annotations

import asyncio
import http.client
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
#: Never through a proxy that the environment names: nsqd is near, and its TCP port goes without.
_DIRECTLY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(method: str, endpoint: str, path: str, query: dict[str, str], timeout: float) -> bytes:
    peer = f"nsqd HTTP {endpoint}"
    url = f"http://{endpoint}{path}?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(url, method=method)
    try:
        with _DIRECTLY.open(request, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise NotConnected(peer, f"it answers {error.code}", remedy=_REMEDY) from error
    except http.client.RemoteDisconnected as error:
        raise NotConnected(peer, "it hangs up on HTTP", remedy=_REMEDY) from error
    except http.client.HTTPException as error:
        raise NotConnected(peer, "what it says is no HTTP", remedy=_REMEDY) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        text = getattr(reason, "strerror", None) or str(reason)
        raise NotConnected(peer, text, remedy=_REMEDY) from error
