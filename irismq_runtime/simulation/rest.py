"""When nodes are at rest: all run and are ready, and each knows all others.

Nothing here waits: it is given what is to be seen, and says for a person what is missing
still. A cluster that does not come to rest after it was healed is broken, and the last
reason says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.simulation.invariants import Invariant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors import Event
    from irismq_runtime.node import Node
    from irismq_runtime.simulation.invariants import Complaint, Life

__all__ = ["Bindings", "unrest"]


class Bindings(Invariant):
    """Who serves what: the addresses and urns of each machine's present life."""

    holds = "what is bound is known"
    hears = frozenset({"node.bound", "node.unbound"})

    def __init__(self) -> None:
        self._served: dict[Life, set[tuple[str, str]]] = {}

    def saw(self, life: Life, event: Event, now: float) -> Complaint | None:
        """See the base."""
        del now
        served = self._served.setdefault(life, set())
        binding = (event.fields["address"], event.fields["urn"])
        if event.name == "node.bound":
            served.add(binding)
        else:
            served.discard(binding)
        return None

    def died(self, life: Life, now: float) -> None:
        """See the base."""
        del now
        self._served.pop(life, None)

    def by_machine(self) -> dict[str, set[tuple[str, str]]]:
        """Return address and urn of all that is served now, by the name of the machine."""
        return {life.host: served for life, served in self._served.items()}


def unrest(
    nodes: Mapping[str, Node | None],
    serving: Mapping[str, set[tuple[str, str]]],
) -> Iterator[str]:
    """Say what keeps a cluster from being at rest.

    Args:
        nodes: The node of each machine that is to run one; None: none runs there.
        serving: Address and urn of what each of them serves, by the name of the machine.

    Yields:
        Reasons, the most basic first.
    """
    yield from (f"no node runs on {machine}" for machine, node in nodes.items() if node is None)
    running = {machine: node for machine, node in nodes.items() if node is not None}
    for machine, node in running.items():
        health = node.health()
        if not health.ready:
            yield f"{machine} is not ready: {'; '.join(health.reasons)}"
    ids = {node.id: machine for machine, node in running.items()}
    for machine, node in running.items():
        yield from _unknown_nodes(machine, node, ids)
        yield from _unknown_members(machine, node, ids, serving)


def _unknown_nodes(machine: str, node: Node, ids: Mapping[str, str]) -> Iterator[str]:
    """Which nodes a node does not know, or knows wrongly."""
    known = node.nodes()
    yield from (f"{machine} does not know the node of {ids[i]}" for i in ids if i not in known)
    yield from (f"{machine} knows a node that is gone: {i}" for i in known if i not in ids)


def _unknown_members(
    machine: str, node: Node, ids: Mapping[str, str], serving: Mapping[str, set[tuple[str, str]]]
) -> Iterator[str]:
    """Who serves what, and a node does not know, or believes wrongly."""
    there = {(host, *each) for host in ids.values() for each in serving.get(host, ())}
    heard = {
        (ids.get(member.node, member.node), address, member.urn)
        for address in {address for _, address, _ in there}
        for member in node.members(address)
    }
    for host, address, urn in sorted(there - heard):
        yield f"{machine} does not know that {host} serves {address} ({urn})"
    for host, address, urn in sorted(heard - there):
        yield f"{machine} believes that {host} serves {address} ({urn})"
