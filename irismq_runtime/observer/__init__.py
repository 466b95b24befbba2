"""Looking at running nodes from outside: what the observer page and `irismq top` show."""

from __future__ import annotations

from irismq_runtime.observer.changes import changes
from irismq_runtime.observer.gatherer import Gatherer
from irismq_runtime.observer.model import (
    Broker,
    Crash,
    Member,
    NodeView,
    Place,
    Point,
    Problem,
    Service,
    Snapshot,
    to_json,
)
from irismq_runtime.observer.problems import places
from irismq_runtime.observer.watch import Watch

__all__ = [
    "Broker",
    "Crash",
    "Gatherer",
    "Member",
    "NodeView",
    "Place",
    "Point",
    "Problem",
    "Service",
    "Snapshot",
    "Watch",
    "changes",
    "places",
    "to_json",
]
