"""The names that nodes agree on: topics, channels, private clusters, targets.

They are part of the wire format (docs/protocol.md): a program in another
language uses the same ones. Addresses are mapped to topics by `mailbox_topic`,
which keeps legal names as they are and shortens the others without collisions.
"""

from __future__ import annotations

from typing import Final

from irismq_runtime.protocols.nsq import mailbox_topic

__all__ = [
    "CALL_TYPE",
    "DEAD_CHANNEL",
    "MAILBOX_CHANNEL",
    "NODE_TARGET",
    "PRESENCE_CLUSTER",
    "dead_topic",
    "mailbox_topic",
    "peer_name",
    "private_cluster",
    "split_peer_name",
]

#: The channel of an address' topic that its members share.
MAILBOX_CHANNEL: Final = "mailbox"
#: The channel through which the command line reads dead letters.
DEAD_CHANNEL: Final = "dead"
#: The cluster that every node joins, and in which nodes announce themselves.
PRESENCE_CLUSTER: Final = "irismq.nodes"
#: The "to" header that means the node itself and none of its actors.
NODE_TARGET: Final = "@node"
#: The type name of a call of an exposed method: {"name", "args", "kwargs"}.
CALL_TYPE: Final = "irismq.call"


def dead_topic(address: str) -> str:
    """Return the topic that holds the dead letters of `address`."""
    return mailbox_topic(f"{address}.dead")


def private_cluster(node_id: str) -> str:
    """Return the cluster whose only member is the node `node_id`."""
    return f"irismq.node.{node_id}"


def peer_name(node_id: str, urn: str) -> str:
    """Return the text that names one actor on one node: "node_id/urn"."""
    return f"{node_id}/{urn}"


def split_peer_name(text: str) -> tuple[str, str]:
    """Return node id and urn of a peer name. Raises `ValueError` if it is none."""
    node_id, slash, urn = text.partition("/")
    if not (node_id and slash and urn) or len(text) > 400:
        raise ValueError(f"{text[:80]!r} does not name an actor on a node")
    return node_id, urn
