"""The trees of all nodes, each asked over its private cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from actors.errors import ActorError
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.messaging import NODE_TARGET, TreeRequest
from irismq_runtime.refs import PeerRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irismq_runtime.refs import Outbound

__all__ = ["gather_trees"]


async def gather_trees(
    outbound: Outbound, nodes: Mapping[str, str], timeout: float
) -> dict[str, dict[str, Any]]:
    """Ask each of `nodes` (id: name) for its report, all at the same time.

    A node that does not answer within `timeout` seconds has a report that holds
    "error" and no trees. See `Node.tree` for the shape of the others.
    """

    async def ask(node_id: str, name: str) -> dict[str, Any]:
        peer = PeerRef(outbound, node_id, NODE_TARGET)
        try:
            report: dict[str, Any] = await peer.ask(TreeRequest(), timeout=timeout)
        except (ActorError, RuntimeFault) as error:
            return {"node": node_id, "name": name, "trees": [], "error": str(error)}
        return report

    reports = await asyncio.gather(*(ask(*entry) for entry in nodes.items()))
    return dict(zip(nodes, reports, strict=True))
