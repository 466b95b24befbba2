"""Refs: an address (`ServiceRef`), an entity, and one actor on another node (`PeerRef`)."""

from __future__ import annotations

from irismq_runtime.refs.carried import carrying
from irismq_runtime.refs.directory import MemberInfo, ServiceDirectory, Watching
from irismq_runtime.refs.entity import EntityRef
from irismq_runtime.refs.gather import Gather, Gathered, MemberError, MemberReply
from irismq_runtime.refs.middleware import (
    SendContext,
    SendMiddleware,
    SendNext,
    checked_send_middleware,
    entity_ref,
    publish_through,
    service_ref,
)
from irismq_runtime.refs.outbound import Outbound
from irismq_runtime.refs.packing import RefPacking
from irismq_runtime.refs.peer import PeerRef
from irismq_runtime.refs.receipt import TellReceipt
from irismq_runtime.refs.service import ServiceRef

__all__ = [
    "EntityRef",
    "Gather",
    "Gathered",
    "MemberError",
    "MemberInfo",
    "MemberReply",
    "Outbound",
    "PeerRef",
    "RefPacking",
    "SendContext",
    "SendMiddleware",
    "SendNext",
    "ServiceDirectory",
    "ServiceRef",
    "TellReceipt",
    "Watching",
    "carrying",
    "checked_send_middleware",
    "entity_ref",
    "publish_through",
    "service_ref",
]
