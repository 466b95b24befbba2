"""What the connections of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from actors.clock import Clock
    from irismq_runtime.embedded.nsqd.broker import Broker
    from irismq_runtime.embedded.nsqd.client_connection import ClientConnection
    from irismq_runtime.embedded.nsqd.faults import NsqdFaultInjector
    from irismq_runtime.embedded.nsqd.options import NsqdOptions

__all__ = ["ServerContext"]


@dataclass(slots=True)
class ServerContext:
    """One running server, as its connections and its HTTP API see it."""

    broker: Broker
    options: NsqdOptions
    clock: Clock
    loop: asyncio.AbstractEventLoop
    #: When the server started, seconds since the epoch.
    started_at: float
    host: str
    tcp_port: int
    http_port: int = 0
    connections: dict[int, ClientConnection] = field(default_factory=dict)
    #: Clients dropped because they did not read.
    slow_dropped: int = 0
    #: What is done wrong on purpose; None: nothing.
    injector: NsqdFaultInjector | None = None
    #: The server has ended: who was accepted at its last moment is cut off.
    ended: bool = False
