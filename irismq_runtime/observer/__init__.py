"""Looking at running nodes from outside: what the observer page and `irismq top` show."""

from __future__ import annotations

from irismq_runtime.observer.changes import changes
from irismq_runtime.observer.gatherer import Gatherer
from irismq_runtime.observer.model import (
    BrokerView,
    Crash,
    EntitiesView,
    MemberView,
    NodeView,
    PlaceView,
    Point,
    Problem,
    ServiceView,
    Snapshot,
    StoreView,
    to_json,
)
from irismq_runtime.observer.problems import places
from irismq_runtime.observer.system_state import SystemState

__all__ = [
    "BrokerView",
    "Crash",
    "EntitiesView",
    "Gatherer",
    "MemberView",
    "NodeView",
    "PlaceView",
    "Point",
    "Problem",
    "ServiceView",
    "Snapshot",
    "StoreView",
    "SystemState",
    "changes",
    "places",
    "to_json",
]
