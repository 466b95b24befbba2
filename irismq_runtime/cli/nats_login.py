"""Whether a NATS server would have a node: its login, TLS, and the rights it always needs.

Done as the node will do it, by its own back end, so that what is said here is what
will be. Which addresses a node will serve is not known here, nor NATS's rights to them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import ConfigError, NotConnected
from irismq_runtime.messaging.names import PRESENCE_CLUSTER, private_cluster

if TYPE_CHECKING:
    from irismq_runtime.cli.server_identification import ServerIdentity
    from irismq_runtime.config import Endpoint, NatsOverlay
    from irismq_runtime.namespace import Namespace

__all__ = ["each_server", "with_login"]

#: Of the time: to connect and log in; to hang up.
_CONNECT: Final = 0.6
_HANG_UP: Final = 0.1


def each_server(overlay: NatsOverlay) -> list[tuple[Endpoint, NatsOverlay]]:
    """Return where each server is, and the overlay as if it were the only one."""
    return [
        (login.endpoint, dataclasses.replace(overlay, servers=(server,)))
        for login, server in zip(overlay.logins, overlay.servers, strict=True)
    ]


async def with_login(
    answer: ServerIdentity, overlay: NatsOverlay, names: Namespace, *, limit: float
) -> ServerIdentity:
    """Return `answer` with what the one server of `overlay` objects to, within `limit` seconds.

    `names`: the namespace of the node.
    """
    try:
        reason, advice = await _tried(overlay, names, limit), "give this user the rights to iris.>"
    except ConfigError as error:
        reason, advice = error.problem, error.remedy
    except NotConnected as error:
        reason, advice = error.reason, error.remedy
    return dataclasses.replace(answer, reason=reason, advice=advice if reason else "")


async def _tried(overlay: NatsOverlay, names: Namespace, limit: float) -> str:
    from irismq_runtime.node.own_servers.nats_overlay import nats_back_end

    back_end = await asyncio.to_thread(
        nats_back_end, overlay, limit * _CONNECT, stop_seconds=limit * _HANG_UP
    )
    own = names.cluster(private_cluster(f"check-{secrets.token_hex(6)}"))
    try:
        async with asyncio.timeout(limit):
            return await back_end.check_permissions((names.cluster(PRESENCE_CLUSTER), own))
    except TimeoutError:
        return "nothing to a login in time"
