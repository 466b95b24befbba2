"""A machine that runs a node: its trees are started again with each new process.

As `irismq run` under an init system: a process that cannot connect, or whose tree gives up,
ends and is started again (see `host_keeper`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from irismq_runtime.simulation.errors import ProcessKilled
from irismq_runtime.simulation.host_keeper import HostKeeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.node import Node
    from irismq_runtime.simulation.host import SimulatedHost
    from irismq_runtime.simulation.invariants import Life
    from irismq_runtime.simulation.witness import Witness

__all__ = ["NodeMachine"]


class NodeMachine:
    """See the module.

    Args:
        host: What it runs on.
        make: Makes the node of a life; called on the machine's own loop.
        witness: Hears of its lives.
    """

    def __init__(self, host: SimulatedHost, make: Callable[[Life], Node], witness: Witness) -> None:
        self.keeper = HostKeeper(host, self._run, witness)
        self._make = make
        self._trees: list[Any] = []
        self._node: Node | None = None

    async def _run(self, life: Life) -> None:
        """One process, from its start to its orderly end."""
        node = self._make(life)
        try:
            async with node:
                started = 0
                while started < len(self._trees):  # one may be added meanwhile
                    await node.start(self._trees[started])
                    started += 1
                self._node, self.keeper.end = node, node.stop
                await node.stopping()
        finally:
            await node.stop()  # it may have been told to end on its way in

    @property
    def node(self) -> Node | None:
        """The node, while it is up with its trees; it belongs to another loop than the test."""
        return self._node if self.keeper.end is not None else None

    async def start(self, tree: Any) -> None:
        """Start a tree now, if the node is up, and with each process from now on.

        Args:
            tree: As of `Node.start`.

        Raises:
            Exception: What the start failed with.
        """
        node = self.node
        self._trees.append(tree)
        if node is not None:
            with contextlib.suppress(ProcessKilled):  # its next process starts it
                await self.keeper.host.call(node.start, tree)
