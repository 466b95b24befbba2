"""The node: one process of the runtime."""

from __future__ import annotations

from irismq_runtime.node.current import current_node
from irismq_runtime.node.node import EXIT_FORCED, EXIT_GAVE_UP, Node
from irismq_runtime.node.servers import OwnBroker, OwnRelay, Servers
from irismq_runtime.node.topics import Subscription, durable, live

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
