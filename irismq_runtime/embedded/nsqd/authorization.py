"""AUTH: what an authorization server said a client may do, and asking one.

The server is asked over HTTP with nsqd's parameters (remote_ip, tls, secret,
common_name) and answers with nsqd's JSON. What it says holds for its TTL on the
monotonic clock. `Authorization` is pure; `ask_untrusted` is the one I/O here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from irismq_runtime.http_client import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Authorization", "AuthorizationFailed", "ask_untrusted", "parse_untrusted"]

#: As nsqd follows them, within reason.
_REDIRECTS = 5


class AuthorizationFailed(Exception):
    """No authorization server gave a usable answer. Its text is for the log only."""


@dataclass(frozen=True, slots=True)
class _AccessRule:
    topic: re.Pattern[str]
    channels: tuple[re.Pattern[str], ...]
    permissions: frozenset[str]

    def allows(self, topic: str, channel: str) -> bool:
        needed = "subscribe" if channel else "publish"
        return (
            needed in self.permissions
            and self.topic.search(topic) is not None
            and any(pattern.search(channel) for pattern in self.channels)
        )


@dataclass(frozen=True, slots=True)
class Authorization:
    """What one client may do until `expires` (monotonic)."""

    identity: str
    identity_url: str
    rules: tuple[_AccessRule, ...]
    expires: float

    def allows(self, topic: str, channel: str = "") -> bool:
        """Whether it may subscribe to the channel, or publish without one."""
        return any(rule.allows(topic, channel) for rule in self.rules)

    def answer(self) -> bytes:
        """The JSON that answers AUTH."""
        fields = {
            "identity": self.identity,
            "identity_url": self.identity_url,
            "permission_count": len(self.rules),
        }
        return json.dumps(fields, separators=(",", ":")).encode()


def parse_untrusted(body: bytes, now: float) -> Authorization:
    """The answer of an authorization server. Raises `AuthorizationFailed`."""
    try:
        value = json.loads(body)
        rules = tuple(_rule(entry) for entry in value.get("authorizations") or ())
        ttl = value.get("ttl", 0)
        if type(ttl) is not int or ttl <= 0:
            raise AuthorizationFailed(f"invalid TTL {ttl!r} (must be > 0)")
        return Authorization(
            str(value.get("identity", "")), str(value.get("identity_url", "")), rules, now + ttl
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, re.error) as error:
        raise AuthorizationFailed(f"not an authorization: {error}") from error


def _rule(entry: dict[str, Any]) -> _AccessRule:
    permissions = frozenset(entry.get("permissions") or ())
    if unknown := permissions - {"subscribe", "publish"}:
        raise AuthorizationFailed(f"unknown permission {min(unknown)}")
    channels = tuple(re.compile(pattern) for pattern in entry.get("channels") or ())
    return _AccessRule(re.compile(entry.get("topic") or ""), channels, permissions)


async def ask_untrusted(
    servers: Sequence[str], parameters: dict[str, str], *, timeout: float
) -> bytes:
    """The first usable HTTP answer of the servers, asked in their order.

    Raises `AuthorizationFailed` with what each of them said.
    """
    failures: list[str] = []
    for server in servers:
        endpoint = server if "://" in server else f"http://{server}/auth"
        url = f"{endpoint}?{urlencode(parameters)}"
        try:
            answer = await fetch(url, timeout=timeout, redirects=_REDIRECTS)
        except (OSError, ValueError) as error:  # the next one is asked
            failures.append(f"{server}: {str(error) or type(error).__name__}")
            continue
        if answer.status == HTTPStatus.OK:
            return answer.body
        failures.append(f"{server}: HTTP {answer.status}")
    raise AuthorizationFailed("; ".join(failures))
