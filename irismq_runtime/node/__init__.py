"""The node: one process of the runtime."""

from __future__ import annotations

from irismq_runtime.node.binding.subscriptions import Subscription, durable, live
from irismq_runtime.node.current import current_node
from irismq_runtime.node.node import EXIT_FORCED, EXIT_GAVE_UP, Node
from irismq_runtime.node.own_servers.servers import OwnBroker, OwnRelay, Servers

__all__ = [
    "EXIT_FORCED",
    "EXIT_GAVE_UP",
    "Node",
    "OwnBroker",
    "OwnRelay",
    "Servers",
    "Subscription",
    "current_node",
    "durable",
    "live",
]
