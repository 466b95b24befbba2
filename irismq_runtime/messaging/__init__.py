"""What the two halves of a node share: packing, tunnels, names, control messages."""

from __future__ import annotations

from irismq_runtime.messaging.control import (
    Call,
    Ended,
    ReportRequest,
    RestartRequest,
    ServedRequest,
    TreeRequest,
    Unwatch,
    Watch,
)
from irismq_runtime.messaging.names import (
    CALL_TYPE,
    DEAD_CHANNEL,
    DEFAULT_SHARDS,
    ENTITY_ADDRESS,
    ENTITY_KEY,
    MAILBOX_CHANNEL,
    NODE_TARGET,
    PRESENCE_CLUSTER,
    SHARDS,
    SINGLETON_KEY,
    dead_topic,
    entity_name,
    mailbox_topic,
    peer_name,
    private_cluster,
    shard_address,
    shard_of,
    split_entity_name,
    split_peer_name,
)
from irismq_runtime.messaging.packer import Packer
from irismq_runtime.messaging.tunnel import Tunnel

__all__ = [
    "CALL_TYPE",
    "DEAD_CHANNEL",
    "DEFAULT_SHARDS",
    "ENTITY_ADDRESS",
    "ENTITY_KEY",
    "MAILBOX_CHANNEL",
    "NODE_TARGET",
    "PRESENCE_CLUSTER",
    "SHARDS",
    "SINGLETON_KEY",
    "Call",
    "Ended",
    "Packer",
    "ReportRequest",
    "RestartRequest",
    "ServedRequest",
    "TreeRequest",
    "Tunnel",
    "Unwatch",
    "Watch",
    "dead_topic",
    "entity_name",
    "mailbox_topic",
    "peer_name",
    "private_cluster",
    "shard_address",
    "shard_of",
    "split_entity_name",
    "split_peer_name",
]
