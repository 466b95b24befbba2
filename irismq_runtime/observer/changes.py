"""The difference between two snapshots, as plain values for a listener. Pure.

A listener starts with everything (`before` None) and merges what follows: nodes by
id and services by address, whole or None for one that is gone; problems and brokers
whole when anything in them changed; the latest point always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irismq_runtime.observer.model import Snapshot

__all__ = ["changes"]


def changes(before: Snapshot | None, after: Snapshot) -> dict[str, Any]:
    """What is new in `after`, for `model.to_json`."""
    found: dict[str, Any] = {"version": after.version, "time": after.time, "point": after.point}
    if before is None:
        before = type(after)(version=-1, time=0.0)
        found |= {"nodes": {}, "services": {}, "problems": (), "brokers": ()}
    nodes = _differing(
        {node.id: node for node in before.nodes}, {node.id: node for node in after.nodes}
    )
    services = _differing(
        {one.address: one for one in before.services}, {one.address: one for one in after.services}
    )
    if nodes:
        found["nodes"] = nodes
    if services:
        found["services"] = services
    if before.problems != after.problems:
        found["problems"] = after.problems
    if before.brokers != after.brokers:
        found["brokers"] = after.brokers
    return found


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    new = {key: value for key, value in after.items() if before.get(key) != value}
    return new | dict.fromkeys(key for key in before if key not in after)
