"""A GET of nsqd's HTTP API for the commands that look at a broker."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from irismq_runtime.errors import NotConnected

__all__ = ["get_json"]


async def get_json(endpoint: str, path: str, timeout: float = 3.0, **query: str) -> Any:
    """Return the JSON at `path` of `endpoint` ("host:port").

    Raises `NotConnected` when nothing answers there, or something that is no nsqd.
    """
    url = f"http://{endpoint}{path}?{urllib.parse.urlencode({'format': 'json', **query})}"
    return await asyncio.to_thread(_get, endpoint, url, timeout)


def _get(endpoint: str, url: str, timeout: float) -> Any:
    remedy = "give nsqd's HTTP address with --nsqd-http (4151 by default), or start `irismq dev`"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310  # http by construction
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise NotConnected(
            f"nsqd HTTP {endpoint}", f"it answers {error.code}", remedy=remedy
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotConnected(f"nsqd HTTP {endpoint}", str(reason), remedy=remedy) from error
