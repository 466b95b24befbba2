"""Systems as an observer sees them, for tests of what is shown of them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from irismq_runtime.observer import (
    BrokerView,
    Crash,
    MemberView,
    NodeView,
    PlaceView,
    Point,
    Problem,
    ServiceView,
    Snapshot,
)

__all__ = ["NOW", "Scripted", "crash", "node", "place", "problem", "service", "snapshot"]

NOW = 1_000_000.0


def place(name: str, *children: PlaceView, above: tuple[str, ...] = (), **facts: Any) -> PlaceView:
    """A place; the paths of those below it are made right."""
    path = (*above, name)
    plain = {"actor_class": "shop.Worker", "state": "running", "restarts": 0, "inbox": 0}
    below = tuple(_below(one, path) for one in children)
    kind = "supervisor" if children else "worker"
    return PlaceView(
        **{"path": path, "name": name, "kind": kind, "rate": 0.0, "children": below, **plain}
        | facts
    )


def _below(one: PlaceView, above: tuple[str, ...]) -> PlaceView:
    path = (*above, one.name)
    children = tuple(_below(child, path) for child in one.children)
    return msgspec.structs.replace(one, path=path, children=children)


def crash(text: str = "no luck", *, ago: float = 5.0, **facts: Any) -> Crash:
    """An end by a ValueError, a while ago."""
    return Crash(
        **{"reason": "crash", "error": "builtins.ValueError", "text": text, "wall": NOW - ago}
        | facts
    )


def node(name: str, *trees: PlaceView, **facts: Any) -> NodeView:
    """A node that is well."""
    plain = {"id": f"{name}-1", "state": "up", "since": NOW - 60, "ready": True}
    return NodeView(**{"name": name, "trees": trees, **plain} | facts)


def service(address: str, *members: str, **facts: Any) -> ServiceView:
    """An address with members on the nodes of these names."""
    found = tuple(MemberView(node=f"{name}-1", name=name, urn="u") for name in members)
    return ServiceView(**{"address": address, "served": True, "members": found} | facts)


def problem(key: str, text: str, *, ago: float = 3.0, severity: str = "error") -> Problem:
    """Something wrong, for a while."""
    return Problem(
        key=key, kind="crash-loop", severity=severity, text=text, subject=key, since=NOW - ago
    )


def snapshot(version: int = 1, **parts: Any) -> Snapshot:
    """A snapshot at `NOW`."""
    return Snapshot(**{"version": version, "time": NOW, "point": Point(time=NOW)} | parts)


class Scripted:
    """A source of snapshots that a test gives one by one."""

    def __init__(self) -> None:
        self.latest = Snapshot(version=0, time=0.0)
        self.history: list[Point] = []
        self.restarted: list[tuple[str, str, str]] = []
        self.refuses = ""
        self._news = asyncio.Condition()

    async def show(self, **parts: Any) -> None:
        self.latest = snapshot(self.latest.version + 1, **parts)
        if self.latest.point is not None:
            self.history.append(self.latest.point)
        async with self._news:
            self._news.notify_all()

    async def changed(self, version: int) -> Snapshot:
        async with self._news:
            await self._news.wait_for(lambda: self.latest.version > version)
        return self.latest

    async def restart(self, node_id: str, supervisor: str, child: str) -> None:
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.restarted.append((node_id, supervisor, child))


BROKER = BrokerView(endpoint="127.0.0.1:4151", error="it answers 500")
