"""Which node an actor runs in: for code that an actor calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors import current_system

if TYPE_CHECKING:
    from actors import System
    from irismq_runtime.node.node import Node

__all__ = ["RUNNING", "current_node"]

#: The nodes of this process that run, by their systems.
RUNNING: Final[dict[System, Node]] = {}


def current_node() -> Node:
    """Return the node of the actor whose code calls this.

    Raises `RuntimeError` outside of actors that a node runs.
    """
    system = current_system()
    node = None if system is None else RUNNING.get(system)
    if node is None:
        raise RuntimeError("current_node() is for code that an actor of a running node calls")
    return node
