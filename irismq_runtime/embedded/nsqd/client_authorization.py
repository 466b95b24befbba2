"""Whether this client may do what it asks, where authorization is switched on.

Without authorization servers everything passes. With them a client needs AUTH
first; each SUB and publish is checked against what the server said, and when
that has expired the server is asked again before the command goes on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from irismq_runtime.embedded.nsqd.authorization import (
    Authorization,
    AuthorizationFailed,
    ask_untrusted,
    parse_untrusted,
)
from irismq_runtime.protocols.nsq.errors import NsqProtocolError
from irismq_runtime.protocols.nsq.records import Dpub, Mpub, Pub, Sub

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.embedded.nsqd.context import ServerContext
    from irismq_runtime.protocols.nsq.records import Command

__all__ = ["ClientAuthorization"]

_log = logging.getLogger("irismq.embedded.nsqd")


class ClientAuthorization:
    """The authorization of one client. Loop thread only."""

    def __init__(self, context: ServerContext, who: Callable[[], tuple[str, bool, str]]) -> None:
        self.enabled = bool(context.options.auth_http_addresses)
        self._context = context
        self._who = who
        self._secret = b""
        self._authorization: Authorization | None = None

    def open(self, secret: bytes) -> None:
        """Check that AUTH is possible now, and keep the secret. Raises `NsqProtocolError`."""
        if self._authorization is not None:
            raise NsqProtocolError("AUTH already set")
        if not self.enabled:
            raise NsqProtocolError("AUTH disabled", code="E_AUTH_DISABLED")
        self._secret = secret

    def passes(self, command: Command) -> bool:
        """True: go on. False: `ask` first. Raises `NsqProtocolError` to refuse."""
        if not isinstance(command, Sub | Pub | Mpub | Dpub):
            return True
        verb = type(command).__name__.upper()
        if self._authorization is None:
            raise NsqProtocolError(f"AUTH required before {verb}", code="E_AUTH_FIRST")
        if self._authorization.expires <= self._context.clock.monotonic():
            return False
        channel = command.channel if isinstance(command, Sub) else ""
        if not self._authorization.allows(command.topic, channel):
            raise NsqProtocolError(
                f'AUTH failed for {verb} on "{command.topic}" "{channel}"',
                code="E_UNAUTHORIZED",
            )
        return True

    async def ask(self) -> bytes:
        """Ask the authorization servers; the answer to AUTH. Raises `NsqProtocolError`."""
        address, encrypted, common_name = self._who()
        options = self._context.options
        parameters = {
            "remote_ip": address,
            "tls": "true" if encrypted else "false",
            "secret": self._secret.decode("utf-8", "backslashreplace"),
            "common_name": common_name,
        }
        try:
            body = await ask_untrusted(
                options.auth_http_addresses, parameters, timeout=options.auth_http_timeout
            )
            found = parse_untrusted(body, self._context.clock.monotonic())
        except AuthorizationFailed as error:
            _log.warning("authorization of %s failed: %s", address, error)
            raise NsqProtocolError("AUTH failed", code="E_AUTH_FAILED") from error
        if not found.rules:
            raise NsqProtocolError("AUTH no authorizations found", code="E_UNAUTHORIZED")
        self._authorization = found
        return found.answer()

    def facts(self) -> dict[str, Any]:
        """What the statistics say of it."""
        if self._authorization is None:
            return {}
        return {
            "authed": True,
            "auth_identity": self._authorization.identity,
            "auth_identity_url": self._authorization.identity_url,
        }
