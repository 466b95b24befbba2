"""The whole system as one node sees it: for tools that show it (observer, `top`, `tree`).

Who is there comes from presence, which this node hears anyway; what the others say of
themselves is asked at their private clusters, each ask with a deadline. Nothing is
kept here. Loop thread only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from actors.errors import ActorError
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.messaging import (
    NODE_TARGET,
    OffersRequest,
    ReportRequest,
    RestartRequest,
    TreeRequest,
)
from irismq_runtime.refs import PeerRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from irismq_runtime.node.assembly import Parts
    from irismq_runtime.node.inspection.report import Reports
    from irismq_runtime.ports import TransportHealth
    from irismq_runtime.refs import MemberInfo

__all__ = ["Overview"]

#: Nodes that are asked for their trees at a time.
_AT_ONCE: Final = 50


class Overview:
    """`parts`: gives those of the running node; `reports`: answers for this node itself."""

    def __init__(self, parts: Callable[[], Parts], reports: Reports) -> None:
        self._parts = parts
        self._reports = reports

    def relay(self) -> TransportHealth:
        """Return whether the relay is reached: what is known of others is old when not."""
        return self._parts().addresses.health()

    def services(self) -> dict[str, tuple[MemberInfo, ...]]:
        """Return every address that somebody is known to serve, with its members."""
        presence = self._parts().presence
        return {address: presence.members(address) for address in presence.addresses()}

    def goodbyes(self) -> dict[str, str]:
        """Return why the nodes went that said goodbye, by id: "" as they were asked to."""
        return self._parts().presence.goodbyes()

    async def report(self, node_id: str, since: float = 0.0, *, timeout: float) -> Any:
        """Ask a node for its report, as `Node.report` makes it. What it says is not checked.

        Args:
            node_id: The node; the own one answers without a request.
            since: Tracebacks are those after it, on that node's own clock, in seconds.
            timeout: Seconds to wait for the answer.

        Raises:
            AskTimeout: There was no answer in time.
            ActorError, RuntimeFault: As `PeerRef.ask`.
        """
        if node_id == self._parts().node_id:
            return self._reports.report(since)
        return await self._node(node_id).ask(ReportRequest(since), timeout=timeout)

    async def offers(self, node_id: str, *, timeout: float) -> Any:
        """Ask a node what it is and what its addresses take. What it says is not checked.

        Args:
            node_id: The node; the own one answers without a request.
            timeout: Seconds to wait for the answer.

        Raises:
            ActorError, RuntimeFault: As `PeerRef.ask`; nodes of 0.2 and before refuse it.
        """
        if node_id == self._parts().node_id:
            return self._reports.offers()
        return await self._node(node_id).ask(OffersRequest(), timeout=timeout)

    async def restart(
        self, node_id: str, supervisor: str, child: str, *, timeout: float = 3.0
    ) -> None:
        """Have a node end a child and start it again; returns when that has begun.

        Args:
            node_id: The node.
            supervisor: The urn of the child's supervisor there.
            child: The id of the child.
            timeout: Seconds to wait for the answer.

        Raises:
            Refused: There is no such child, or it would not come back.
            ActorDeadError: There is no such node.
            ActorError, RuntimeFault: As `PeerRef.ask`.
        """
        if node_id == self._parts().node_id:
            self._reports.restart(supervisor, child)
            return
        await self._node(node_id).ask(RestartRequest(supervisor, child), timeout=timeout)

    async def trees(
        self, *, timeout: float, wanted: AbstractSet[str] = frozenset()
    ) -> dict[str, dict[str, Any]]:
        """Return the reports of all nodes that presence hears, as `Node.trees` does."""
        parts = self._parts()
        found = {parts.node_id: self._reports.tree()}
        others = {i: n for i, n in parts.presence.nodes().items() if i != parts.node_id}
        if not wanted:
            return found | await self._trees(others, timeout)
        if not wanted & {parts.node_id, parts.config.name}:
            found = {}
        others = {i: n for i, n in others.items() if wanted & {i, n}}
        return found | await self._trees(others, timeout)

    async def _trees(self, nodes: dict[str, str], timeout: float) -> dict[str, dict[str, Any]]:
        """Ask so many at a time that no answer waits behind a thousand others."""
        clock = self._parts().outbound.clock
        end = clock.monotonic() + timeout
        waiting = iter(nodes.items())
        found: dict[str, dict[str, Any]] = {node_id: {} for node_id in nodes}

        async def work() -> None:
            for node_id, name in waiting:
                found[node_id] = await self._tree(node_id, name, end - clock.monotonic())

        await asyncio.gather(*(work() for _ in range(min(len(nodes), _AT_ONCE))))
        return found

    async def _tree(self, node_id: str, name: str, timeout: float) -> dict[str, Any]:
        report: dict[str, Any] = {"node": node_id, "name": name, "trees": []}
        if timeout <= 0:
            return report | {"error": "not asked: the time was over"}
        try:
            report = await self._node(node_id).ask(TreeRequest(), timeout=timeout)
        except (ActorError, RuntimeFault) as error:
            return report | {"error": str(error)}
        return report

    def _node(self, node_id: str) -> PeerRef:
        return PeerRef(self._parts().outbound, node_id, NODE_TARGET)
