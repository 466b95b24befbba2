"""Which node an actor runs in: for code that an actor calls.

A forked child has a copy of its parent's nodes that refuses: everything asked of one,
and of its refs, raises `ForkedProcess`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from actors import ForkedProcess, current_system
from actors.runtime import Gone

if TYPE_CHECKING:
    from actors import System
    from irismq_runtime.node.node import Node

__all__ = ["RUNNING", "current_node", "forget_closed"]

#: The nodes of this process that run, by their systems.
RUNNING: Final[dict[System, Node]] = {}


def forget_closed() -> None:
    """Let go of the nodes whose loop was closed under them: nobody stops them any more."""
    for gone in [each for each in RUNNING if _is_closed(each)]:
        del RUNNING[gone]


def _is_closed(system: System) -> bool:
    try:
        return system.loop.is_closed()
    except ForkedProcess:  # of the parent: it stays, so that who asks it is told so
        return False


def current_node() -> Node:
    """Return the node of the actor whose code calls this.

    Returns:
        The node, which runs.

    Raises:
        RuntimeError: It is called outside of actors that a node runs.
    """
    system = current_system()
    node = None if system is None else RUNNING.get(system)
    if node is None:
        raise RuntimeError("current_node() is for code that an actor of a running node calls")
    return node


def _in_child() -> None:
    for node in RUNNING.values():
        gone = Gone(f"the node {node.id}")
        node.parts.outbound.forked(gone)
        node.forked(gone)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
