"""nsqd's HTTP API for the commands that look at a broker, or prepare one."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import NotConnected

if TYPE_CHECKING:
    import ssl

__all__ = ["get_json", "get_totals", "post"]


async def get_json(
    endpoint: str,
    path: str,
    timeout: float = 3.0,
    *,
    tls: ssl.SSLContext | None = None,
    **query: str,
) -> Any:
    """Return the JSON at `path` of `endpoint` ("host:port", or "https://host:port").

    `timeout`: seconds. `tls`: for https; None trusts what the system trusts.
    Raises `NotConnected` when nothing answers there, or something that is not nsqd.
    """
    answer = await asyncio.to_thread(
        _call, "GET", endpoint, path, {"format": "json", **query}, timeout, tls
    )
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise NotConnected(f"nsqd HTTP {endpoint}", str(error), remedy=_REMEDY) from error


async def get_totals(endpoint: str, *, tls: ssl.SSLContext | None = None) -> Any:
    """Return the statistics of a broker without those of its clients: for frequent looks."""
    query = {"include_clients": "false", "include_mem": "false"}
    return await get_json(endpoint, "/stats", 1.0, tls=tls, **query)


async def post(
    endpoint: str,
    path: str,
    timeout: float = 3.0,
    *,
    tls: ssl.SSLContext | None = None,
    **query: str,
) -> None:
    """Do what `path` of `endpoint` does, with no body. Raises as `get_json`."""
    await asyncio.to_thread(_call, "POST", endpoint, path, query, timeout, tls)


_REMEDY: Final = (
    "give nsqd's HTTP address with --nsqd-http (4151 by default), or start `irismq dev`"
)
#: Never through a proxy that the environment names: nsqd is near, and its TCP port goes without.
_NO_PROXY: Final = urllib.request.ProxyHandler({})
_DIRECTLY: Final = urllib.request.build_opener(_NO_PROXY)


def _call(
    method: str,
    endpoint: str,
    path: str,
    query: dict[str, str],
    timeout: float,
    tls: ssl.SSLContext | None,
) -> bytes:
    peer = f"nsqd HTTP {endpoint}"
    where = endpoint if endpoint.startswith("https://") else f"http://{endpoint}"
    url = f"{where}{path}?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(url, method=method)  # noqa: S310  # http or https, as above
    opener = _DIRECTLY
    if tls is not None:
        secured = urllib.request.HTTPSHandler(context=tls)
        opener = urllib.request.build_opener(_NO_PROXY, secured)
    try:
        with opener.open(request, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        secured_only = error.code == 403 and b"TLS_REQUIRED" in error.read(1000)
        said = "it wants TLS" if secured_only else f"it answers {error.code}"
        remedy = "give --nsqd-http https://HOST:4152" if secured_only else _REMEDY
        raise NotConnected(peer, said, remedy=remedy) from error
    except http.client.RemoteDisconnected as error:
        raise NotConnected(peer, "it hangs up on HTTP", remedy=_REMEDY) from error
    except http.client.HTTPException as error:
        raise NotConnected(peer, "what it says is not HTTP", remedy=_REMEDY) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        text = getattr(reason, "strerror", None) or str(reason)
        raise NotConnected(peer, text, remedy=_REMEDY) from error
