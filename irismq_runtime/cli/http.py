"""nsqd's HTTP API for the commands that look at a broker, or prepare one."""

from __future__ import annotations

import json
import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import NotConnected
from irismq_runtime.http_client import NoAnswerError, NotHttpError, fetch

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
    answer = await _call("GET", endpoint, path, {"format": "json", **query}, timeout, tls)
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
    await _call("POST", endpoint, path, query, timeout, tls)


_REMEDY: Final = (
    "give nsqd's HTTP address with --nsqd-http (4151 by default), or start `irismq dev`"
)
#: Bytes of an answer: statistics of many thousand topics.
_LARGEST: Final = 256 * 1024 * 1024


async def _call(
    method: str,
    endpoint: str,
    path: str,
    query: dict[str, str],
    timeout: float,
    tls: ssl.SSLContext | None,
) -> bytes:
    where = endpoint if endpoint.startswith("https://") else f"http://{endpoint}"
    url = f"{where}{path}?{urllib.parse.urlencode(query)}"
    try:
        answer = await fetch(url, timeout=timeout, method=method, largest=_LARGEST, tls=tls)
    except (OSError, ValueError) as error:
        raise NotConnected(f"nsqd HTTP {endpoint}", _reason(error), remedy=_REMEDY) from error
    if answer.status == HTTPStatus.OK:
        return answer.body
    secured_only = answer.status == HTTPStatus.FORBIDDEN and b"TLS_REQUIRED" in answer.body[:1000]
    said = "it wants TLS" if secured_only else f"it answers {answer.status}"
    remedy = "give --nsqd-http https://HOST:4152" if secured_only else _REMEDY
    raise NotConnected(f"nsqd HTTP {endpoint}", said, remedy=remedy)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, NoAnswerError):
        return "it hangs up on HTTP"
    if isinstance(error, NotHttpError):
        return "what it says is not HTTP"
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error)
