"""The state of the whole system, as an observer knows it: reports in, snapshots out. No I/O.

Fed by the gatherer (or by a test) with what presence, nodes and brokers say, and
asked for a `Snapshot` every now and then. `now` is monotonic seconds, `wall` the
clock on the wall; both are arguments. The history is a bounded ring of points.
"""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from irismq_runtime.namespace import Namespace
from irismq_runtime.observer.model import Point, Snapshot
from irismq_runtime.observer.nodes import SILENCE, WatchedNode
from irismq_runtime.observer.problems import kept_since, places, problems
from irismq_runtime.observer.services import WatchedServices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from irismq_runtime.observer.model import NodeView, ServiceView
    from irismq_runtime.observer.reports import BrokerStats, MeterReport, NodeReport
    from irismq_runtime.refs import MemberInfo

__all__ = ["SystemState"]

#: Points kept: ten minutes of two a second.
MOST_POINTS: Final = 1200
#: Seconds for which a node that left, or was lost, is shown; and how many such.
LEFT_SHOWN: Final = 30.0
LOST_SHOWN: Final = 600.0
MOST_DEAD: Final = 50
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class SystemState:
    """Nodes, services and brokers, and the points of the last ten minutes. One loop only.

    `names`: the namespace of the nodes; that of all who have none by default.
    """

    def __init__(self, names: Namespace | None = None) -> None:
        self._nodes: dict[str, WatchedNode] = {}
        self._services = WatchedServices(names or Namespace())
        self._points: deque[Point] = deque(maxlen=MOST_POINTS)
        self._latest = Snapshot(version=0, time=0.0)
        self._cut_off = ""
        self._patience = SILENCE

    @property
    def latest(self) -> Snapshot:
        """The snapshot made last; version 0 before the first."""
        return self._latest

    @property
    def history(self) -> tuple[Point, ...]:
        """The points of the last ten minutes, oldest first."""
        return tuple(self._points)

    # What happens -------------------------------------------------------------

    def present(
        self,
        nodes: Mapping[str, str],
        members: Mapping[str, Iterable[MemberInfo]],
        now: float,
        wall: float,
        goodbyes: Mapping[str, str] = _NONE,
    ) -> None:
        """What presence says: ids and names of all nodes, and who serves what.

        `goodbyes`: of those that said one, what made them go unasked, or "".
        """
        for node_id, name in nodes.items():
            if node_id not in self._nodes:
                self._nodes[node_id] = WatchedNode(node_id, name, now, wall)
        if self._cut_off:
            return  # it is we who do not hear
        for node_id, node in self._nodes.items():
            if node_id not in nodes:
                node.gone(now, goodbyes.get(node_id))
        self._services.serve(members)

    def cut_off(self, reason: str) -> None:
        """The observer does not reach the relay, because of `reason`; "": it does (again)."""
        self._cut_off = reason

    def asks_each(self, seconds: float) -> None:
        """Each node is asked once in so many seconds: it is silent after as many more."""
        self._patience = SILENCE + seconds

    def overslept(self, seconds: float) -> None:
        """The observer did not run for so many seconds: the others were not silent meanwhile."""
        for node in self._nodes.values():
            node.excused(seconds)

    def reported(self, node_id: str, report: NodeReport, now: float, wall: float) -> None:
        """Take the report of a node; one that was never present is ignored."""
        node = self._nodes.get(node_id)
        if node is not None:
            node.reported(report, now, wall)

    def unanswered(self, node_id: str, error: str) -> None:
        """A node was asked and did not answer."""
        node = self._nodes.get(node_id)
        if node is not None:
            node.failed(error)

    def since(self, node_id: str) -> float:
        """The time of a node's latest report, on its own clock: for the next request."""
        node = self._nodes.get(node_id)
        return 0.0 if node is None else node.since

    def broker_told(self, endpoint: str, stats: BrokerStats, now: float) -> None:
        """Take the statistics of a broker."""
        self._services.broker_told(endpoint, stats, now)

    def broker_failed(self, endpoint: str, error: str) -> None:
        """A broker was asked and did not answer."""
        self._services.broker_failed(endpoint, error)

    # What it means ------------------------------------------------------------

    def holding(self, address: str) -> set[str]:
        """The brokers, by endpoint, that have dead letters of `address`."""
        return self._services.holding(address)

    def make_snapshot(self, now: float, wall: float) -> Snapshot:
        """Make the next snapshot, and add its point to the history."""
        self._forget(wall)
        nodes = tuple(
            sorted(
                (node.view(now, wall, self._patience) for node in self._nodes.values()),
                key=lambda view: (view.name, view.id),
            )
        )
        self._services.used(self._meters(nodes), now)
        services = self._services.views(now)
        found = problems(
            nodes,
            services,
            self._services.brokers,
            arrived=self._services.arrived(now),
            unattended=self._services.unattended(now),
            letters=self._services.letters(now),
            unready={node.id: node.is_unready(now) for node in self._nodes.values()},
            cut_off=self._cut_off,
            now=round(wall, 1),
        )
        point = _point(nodes, services, wall)
        self._points.append(point)
        self._latest = Snapshot(
            version=self._latest.version + 1,
            time=round(wall, 2),
            nodes=nodes,
            services=services,
            problems=kept_since(self._latest.problems, found),
            brokers=self._services.brokers,
            point=point,
        )
        return self._latest

    def _meters(self, nodes: Sequence[NodeView]) -> list[Mapping[str, MeterReport]]:
        up = (self._nodes[node.id].report for node in nodes if node.state == "up")
        return [report.meters for report in up if report is not None]

    def _forget(self, wall: float) -> None:
        """Drop the nodes that are gone for long, and the oldest of too many."""
        dead = []
        for node_id, node in list(self._nodes.items()):
            gone = node.dead_for(wall)
            shown = LEFT_SHOWN if node.has_left else LOST_SHOWN
            if gone > shown:
                del self._nodes[node_id]
            elif gone:
                dead.append((gone, node_id))
        for _, node_id in sorted(dead)[MOST_DEAD:]:
            del self._nodes[node_id]


def _point(nodes: Sequence[NodeView], services: Sequence[ServiceView], wall: float) -> Point:
    up = [node for node in nodes if node.state == "up"]
    latencies = [service for service in services if service.p50 is not None]
    return Point(
        time=round(wall, 2),
        told=_sum(service.told for service in services),
        handled=round(sum(node.handled for node in up), 1),
        asked=_sum(service.asked for service in services),
        failed=_sum(service.failed for service in services),
        waiting=_count(service.waiting for service in services),
        inboxes=sum(place.inbox for node in up for place in places(node.trees)),
        p50=max((service.p50 or 0.0 for service in latencies), default=None),
        p99=max((service.p99 or 0.0 for service in latencies), default=None),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if known else None


def _count(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
