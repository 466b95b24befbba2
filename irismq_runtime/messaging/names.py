"""The names that nodes agree on: topics, channels, private clusters, targets, shards of entities.

They are part of the wire format (docs/protocol.md): a program in another
language uses the same ones. Addresses are mapped to topics by `mailbox_topic`,
which keeps legal names as they are and shortens the others without collisions.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from actors.rules import Rule, count, need
from irismq_runtime.namespace import ADDRESS
from irismq_runtime.protocols.nsq import mailbox_topic

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
#: Into how many shards the keys of a class of entities are divided, unless it says otherwise.
DEFAULT_SHARDS: Final = 64
#: The key of the one entity of a singleton's address.
SINGLETON_KEY: Final = "only"
#: How many there may be.
SHARDS: Final = count(1, 4096)


def _is_key(value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


#: What the key of an entity may be.
ENTITY_KEY: Final = Rule("a text of 1 to 256 characters, without NUL and lone surrogates", _is_key)
#: What the address of entities may be: what stands between it and a shard, or a key, is not in it.
ENTITY_ADDRESS: Final = Rule(
    f"{ADDRESS.wanted}, without # and /",
    lambda value: ADDRESS.takes(value) and not {"#", "/"} & set(value),
)


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


@lru_cache(maxsize=8192)
def shard_of(key: str, shards: int) -> int:
    """Return the number of the shard that a key belongs to: 0 to `shards` - 1.

    Args:
        key: As `ENTITY_KEY` takes it.
        shards: How many there are.
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % shards


def shard_address(address: str, shard: int) -> str:
    """Return the address at which the entities of one shard of `address` are reached."""
    return f"{address}#{shard}"


def entity_name(address: str, key: str) -> str:
    """Return the text that names one entity: "address/key"."""
    return f"{address}/{key}"


def split_entity_name(text: str) -> tuple[str, str]:
    """Return address and key of an entity's name. Raises `ValueError` if it is none."""
    address, slash, key = text.partition("/")
    need(ENTITY_ADDRESS, "address", address)
    need(ENTITY_KEY, "key", key if slash else "")
    return address, key
