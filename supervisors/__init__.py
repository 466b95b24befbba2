"""Supervisors with Erlang/OTP's semantics for the actors of `actors`."""

from __future__ import annotations

from supervisors.backoff import Backoff
from supervisors.dynamic import DynamicSupervisor
from supervisors.errors import ChildStartFailed, RestartLimitReached, SpecError
from supervisors.partition import PartitionSupervisor, partition
from supervisors.reports import Offender, Report
from supervisors.requests import (
    ChildCount,
    ChildInfo,
    count_children,
    delete_child,
    restart_child,
    sibling,
    start_child,
    terminate_child,
    which_children,
)
from supervisors.spec import (
    AutoShutdown,
    ChildSpec,
    Restart,
    Shutdown,
    check_children,
    child,
)
from supervisors.strategies import Strategy
from supervisors.supervisor import Supervisor
from supervisors.tree import TreeNode, start, tree_of

__all__ = [
    "AutoShutdown",
    "Backoff",
    "ChildCount",
    "ChildInfo",
    "ChildSpec",
    "ChildStartFailed",
    "DynamicSupervisor",
    "Offender",
    "PartitionSupervisor",
    "Report",
    "Restart",
    "RestartLimitReached",
    "Shutdown",
    "SpecError",
    "Strategy",
    "Supervisor",
    "TreeNode",
    "check_children",
    "child",
    "count_children",
    "delete_child",
    "partition",
    "restart_child",
    "sibling",
    "start",
    "start_child",
    "terminate_child",
    "tree_of",
    "which_children",
]
