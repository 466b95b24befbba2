"""irismq-runtime: actors that are reached over NSQ and Iris.

`Node` runs a supervision tree and binds its actors to their addresses; refs tell,
ask and stream to them from anywhere. Actors themselves come from `actors`, trees
from `supervisors`.

The names load when they are first used, because parts of this package serve
alone: a program that imports `irismq_runtime.pyiris` must not load a broker's
client with it.
"""

from __future__ import annotations

import importlib
import typing

from irismq_runtime.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from irismq_runtime.config import NatsOverlay, NodeConfig
    from irismq_runtime.dispatch import RetryPolicy
    from irismq_runtime.durability import (
        Durable,
        NotInUnit,
        ReceiptNotDone,
        Reminder,
        StateTooLarge,
        StateUnreadable,
        outside,
    )
    from irismq_runtime.entities import Entity, Singleton
    from irismq_runtime.errors import (
        ConfigError,
        ConnectionLost,
        DecodeError,
        DeliveryError,
        EncodeError,
        MessageTooLarge,
        NoSuchService,
        NotConnected,
        RemoteError,
        RemoteFault,
        ResultExpired,
        ResultTimeout,
        RuntimeFault,
        TunnelClosed,
        TunnelTimeout,
        ValidationError,
    )
    from irismq_runtime.loop import run
    from irismq_runtime.messaging import Tunnel
    from irismq_runtime.node import Node, Subscription, current_node, durable, live
    from irismq_runtime.observe import Health
    from irismq_runtime.refs import (
        EntityRef,
        Gathered,
        MemberError,
        MemberInfo,
        MemberReply,
        PeerRef,
        SendContext,
        SendMiddleware,
        SendNext,
        ServiceRef,
        TellReceipt,
        carrying,
    )
    from irismq_runtime.schedules import Scheduled

__all__ = [
    "ConfigError",
    "ConnectionLost",
    "DecodeError",
    "DeliveryError",
    "Durable",
    "EncodeError",
    "Entity",
    "EntityRef",
    "Gathered",
    "Health",
    "MemberError",
    "MemberInfo",
    "MemberReply",
    "MessageTooLarge",
    "NatsOverlay",
    "NoSuchService",
    "Node",
    "NodeConfig",
    "NotConnected",
    "NotInUnit",
    "PeerRef",
    "ReceiptNotDone",
    "Reminder",
    "RemoteError",
    "RemoteFault",
    "ResultExpired",
    "ResultTimeout",
    "RetryPolicy",
    "RuntimeFault",
    "Scheduled",
    "SendContext",
    "SendMiddleware",
    "SendNext",
    "ServiceRef",
    "Singleton",
    "StateTooLarge",
    "StateUnreadable",
    "Subscription",
    "TellReceipt",
    "Tunnel",
    "TunnelClosed",
    "TunnelTimeout",
    "ValidationError",
    "carrying",
    "current_node",
    "durable",
    "live",
    "outside",
    "run",
]

_HOMES: typing.Final = {
    "NatsOverlay": "irismq_runtime.config",
    "NodeConfig": "irismq_runtime.config",
    "RetryPolicy": "irismq_runtime.dispatch",
    "Durable": "irismq_runtime.durability",
    "NotInUnit": "irismq_runtime.durability",
    "Reminder": "irismq_runtime.durability",
    "ReceiptNotDone": "irismq_runtime.durability",
    "StateTooLarge": "irismq_runtime.durability",
    "StateUnreadable": "irismq_runtime.durability",
    "outside": "irismq_runtime.durability",
    "Entity": "irismq_runtime.entities",
    "Singleton": "irismq_runtime.entities",
    "ConfigError": "irismq_runtime.errors",
    "ConnectionLost": "irismq_runtime.errors",
    "DecodeError": "irismq_runtime.errors",
    "DeliveryError": "irismq_runtime.errors",
    "EncodeError": "irismq_runtime.errors",
    "MessageTooLarge": "irismq_runtime.errors",
    "NoSuchService": "irismq_runtime.errors",
    "NotConnected": "irismq_runtime.errors",
    "RemoteError": "irismq_runtime.errors",
    "RemoteFault": "irismq_runtime.errors",
    "ResultExpired": "irismq_runtime.errors",
    "ResultTimeout": "irismq_runtime.errors",
    "RuntimeFault": "irismq_runtime.errors",
    "TunnelClosed": "irismq_runtime.errors",
    "TunnelTimeout": "irismq_runtime.errors",
    "ValidationError": "irismq_runtime.errors",
    "run": "irismq_runtime.loop",
    "Tunnel": "irismq_runtime.messaging",
    "Node": "irismq_runtime.node",
    "Subscription": "irismq_runtime.node",
    "current_node": "irismq_runtime.node",
    "durable": "irismq_runtime.node",
    "live": "irismq_runtime.node",
    "Health": "irismq_runtime.observe",
    "EntityRef": "irismq_runtime.refs",
    "Gathered": "irismq_runtime.refs",
    "MemberError": "irismq_runtime.refs",
    "MemberInfo": "irismq_runtime.refs",
    "MemberReply": "irismq_runtime.refs",
    "PeerRef": "irismq_runtime.refs",
    "SendContext": "irismq_runtime.refs",
    "SendMiddleware": "irismq_runtime.refs",
    "SendNext": "irismq_runtime.refs",
    "ServiceRef": "irismq_runtime.refs",
    "TellReceipt": "irismq_runtime.refs",
    "carrying": "irismq_runtime.refs",
    "Scheduled": "irismq_runtime.schedules",
}


def __getattr__(name: str) -> typing.Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
