"""Refs inside messages: the text that stands for one on the wire, and back.

    ActorRef    "node/urn"   becomes a PeerRef elsewhere, and itself at home
    PeerRef     "node/urn"   keeps pointing to the same actor
    ServiceRef  "/address"   means the same everywhere
    EntityRef   "@address/key"   means the same everywhere

The text is made by `pack` and read by `unpack`, which the node registers with
its serializer. Local delivery never comes here: refs are values already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import ActorRef
from actors.rules import need
from irismq_runtime.messaging import peer_name, split_entity_name, split_peer_name
from irismq_runtime.namespace import ADDRESS
from irismq_runtime.refs.entity import EntityRef
from irismq_runtime.refs.middleware import entity_ref, peer_ref, service_ref
from irismq_runtime.refs.peer import PeerRef
from irismq_runtime.refs.service import ServiceRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from irismq_runtime.refs.outbound import Outbound

__all__ = ["RefPacking"]


class RefPacking:
    """Packs the refs of one node. `find`: a local ref by urn, None when gone."""

    __slots__ = ("_find", "_outbound")

    def __init__(self, outbound: Outbound, find: Callable[[str], ActorRef[Any] | None]) -> None:
        self._outbound = outbound
        self._find = find

    def pack(self, value: object) -> str | None:
        """Return the text for a ref, None for anything else."""
        if isinstance(value, ActorRef):
            return peer_name(self._outbound.packer.node_id, value.actor_urn)
        if isinstance(value, PeerRef):
            return str(value)
        if isinstance(value, ServiceRef):
            return f"/{value.address}"
        if isinstance(value, EntityRef):
            return f"@{value}"
        return None

    def unpack(self, text: str) -> ActorRef[Any] | PeerRef | ServiceRef | EntityRef:
        """Return the ref that `text` stands for. Raises `ValueError` for none."""
        if text.startswith("/"):
            need(ADDRESS, "address", text[1:])
            return service_ref(self._outbound, text[1:])
        if text.startswith("@"):
            return entity_ref(self._outbound, *split_entity_name(text[1:]))
        node_id, urn = split_peer_name(text)
        if node_id == self._outbound.packer.node_id:
            found = self._find(urn)
            if found is not None:
                return found
        return peer_ref(self._outbound, node_id, urn)
