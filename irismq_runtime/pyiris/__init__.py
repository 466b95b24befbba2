"""pyiris: a client of the Iris relay for asyncio.

A library of its own: it needs no actors, no node and no other server than a
relay. docs/pyiris.md is its guide. Inside the runtime `IrisAddresses` fills the
address transport of `irismq_runtime.ports` with it.
"""

from __future__ import annotations

import warnings

from actors.errors import AskTimeout, Overloaded
from irismq_runtime.errors import (
    ConnectionLost,
    MessageTooLarge,
    NotConnected,
    RemoteFault,
    TunnelClosed,
    TunnelTimeout,
)
from irismq_runtime.ports import LEAVING, OVERLOADED
from irismq_runtime.pyiris.addresses import IrisAddresses, IrisMember
from irismq_runtime.pyiris.backlog import RelayTooSlow
from irismq_runtime.pyiris.client import Iris, TunnelOpening, connect
from irismq_runtime.pyiris.event_stream import EventStream
from irismq_runtime.pyiris.limits import Allowance, Limits
from irismq_runtime.pyiris.managed_connection import ManagedConnection
from irismq_runtime.pyiris.options import DEFAULT_PORT, Options
from irismq_runtime.pyiris.reconnect import Backoff
from irismq_runtime.pyiris.service import Fault, Handler, Service, register
from irismq_runtime.pyiris.statistics import Statistics
from irismq_runtime.pyiris.tunnel import Tunnel

__all__ = [
    "DEFAULT_PORT",
    "LEAVING",
    "OVERLOADED",
    "Allowance",
    "AskTimeout",
    "Backoff",
    "ConnectionLost",
    "EventStream",
    "Fault",
    "Handler",
    "Iris",
    "IrisAddresses",
    "IrisMember",
    "Limits",
    "ManagedConnection",
    "MessageTooLarge",
    "NotConnected",
    "Options",
    "Overloaded",
    "RelayTooSlow",
    "RemoteFault",
    "Service",
    "Statistics",
    "Tunnel",
    "TunnelClosed",
    "TunnelOpening",
    "TunnelTimeout",
    "connect",
    "register",
]


def __getattr__(name: str) -> type[ManagedConnection]:
    if name == "Connection":  # its name until 0.2, which docs/pyiris.md showed
        warnings.warn(
            "pyiris.Connection is called pyiris.ManagedConnection",
            DeprecationWarning,
            stacklevel=2,
        )
        return ManagedConnection
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
