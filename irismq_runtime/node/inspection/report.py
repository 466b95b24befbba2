"""What a node tells those who look at it: trees, mailboxes, counts, crashes.

Made only when somebody asks, from what is there anyway: nothing is kept for it.
Everything is capped, so that a report of the largest node is a message of some
hundred KiB: of a supervisor's children those in trouble are shown first, the rest
as a number. Bodies of messages are never in it; tracebacks are, of the crashes
since the asker's last report. Plain values, for any codec.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import socket
from typing import TYPE_CHECKING, Any, Final

import supervisors
from actors import Refused, message_name
from actors.errors import ActorError
from irismq_runtime.messaging import OffersRequest, ReportRequest, RestartRequest, TreeRequest
from irismq_runtime.node.assembly import ownership_in
from irismq_runtime.observe.logs import shorten
from irismq_runtime.observe.records import plain
from irismq_runtime.version import __version__
from irismq_runtime.wire import FaultBody
from supervisors import TreeNode
from supervisors.requests import executor_of
from supervisors.spec import Supervises

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from actors import ActorRef, DeadLetter
    from irismq_runtime.node.assembly import Parts
    from irismq_runtime.node.node import Node
    from irismq_runtime.observe.health import Health
    from irismq_runtime.observe.meter import Asks

__all__ = ["Reports"]

_LOG = logging.getLogger("irismq.node")

#: Children shown of each supervisor; the next when a report has too many places.
_MOST_CHILDREN: Final = (100, 20, 4)
_MOST_PLACES: Final = 2000
_MOST_REASONS: Final = 20
_MOST_OFFERS: Final = 500
_MOST_LETTERS: Final = 20
_MOST_TRACES: Final = 20
#: Classes of entities.
_MOST_CLASSES: Final = 50
_TRACE_SIZE: Final = 4000
#: A crash may show in the tree a moment after it happened; so far tracebacks overlap.
_OVERLAP: Final = 1.0
#: The name of the place above actors that no tree holds.
_IN_NO_TREE: Final = "(in no tree)"


class Reports:
    """Answers the requests of observers for one node. Loop thread only."""

    def __init__(self, node: Node, roots: dict[ActorRef[Any], None]) -> None:
        self._node = node
        self._roots = roots
        self._tasks: set[asyncio.Task[None]] = set()

    def control(self) -> dict[type, Callable[[Any], object]]:
        """The answers by the class of the request, as `PeerDispatch` takes them."""
        return {
            TreeRequest: lambda _: self.tree(),
            OffersRequest: lambda _: self.offers(),
            ReportRequest: lambda request: self.report(request.since),
            RestartRequest: lambda request: self.restart(request.supervisor, request.child),
        }

    def tree(self) -> dict[str, Any]:
        """See `Node.tree`."""
        return self._with_trees(self._trees())

    def offers(self) -> dict[str, Any]:
        """What the node is, and what its addresses take: by address, from the classes."""
        from irismq_runtime.schema import contract_of  # for those alone who are asked

        found: dict[str, Any] = {}
        for slot in self._node.system.slots():
            kind = getattr(slot.actor, "entity_class", slot.ref.actor_class)
            address = getattr(kind if slot.actor is None else slot.actor, "address", None)
            if not isinstance(address, str) or address in found or len(found) >= _MOST_OFFERS:
                continue
            if (contract := contract_of(kind, address)) is not None and contract.address:
                found[address] = contract.to_dict()
        return {
            "runtime": __version__,
            "python": platform.python_version(),
            "offers": found,
        }

    def report(self, since: float = 0.0) -> dict[str, Any]:
        """The report now. `since`: see `ReportRequest`."""
        parts = self._node.parts
        trees = self._capped_trees()
        return {
            **self._with_trees(trees),
            "health": _short(self._node.health()),
            "time": parts.system.clock.monotonic(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "actors": len(parts.system),
            "dead_letters": _dead_letters(parts),
            "lag": parts.meter.seconds[-1].lag if parts.meter.seconds else 0.0,
            "meters": {name: _asks(asks) for name, asks in parts.meter.served.items()},
            "store": _store(parts),
            "entities": _entities(parts),
            "tracebacks": _tracebacks(parts, trees, since - _OVERLAP),
        }

    def _trees(self, most: int | None = None) -> list[TreeNode]:
        """The tree of each root, and one more with the actors that no tree holds, if any.

        Those are what was started with `Actor.start` by a handler or by the program, roots
        that `Node.start` waits for, and what outlives its supervisor.
        """
        trees = [supervisors.tree_of(ref, most=most) for ref in self._roots]
        alone = [
            slot.ref
            for slot in self._node.system.slots()
            if slot.ref not in self._roots and (slot.parent is None or not slot.parent.is_alive())
        ]
        if alone:
            trees.append(_in_no_tree(alone, most))
        return trees

    def _capped_trees(self) -> list[TreeNode]:
        trees: list[TreeNode] = []
        for most in _MOST_CHILDREN:
            trees = self._trees(most)
            if sum(1 for tree in trees for _ in tree.walk()) <= _MOST_PLACES:
                break
        return trees

    def _with_trees(self, trees: list[TreeNode]) -> dict[str, Any]:
        parts = self._node.parts
        health = self._node.health().to_dict()
        return {
            "node": parts.node_id,
            "name": self._node.name,
            "trees": [_shown(tree.to_dict()) for tree in trees],
            "health": health,
            "counters": parts.dispatch.counters.to_dict(),
        }

    def restart(self, supervisor: str, child: str) -> bool:
        """End a child and start it again; True when that has begun.

        Raises `Refused` (code "not_found", or "forgotten" for a child that its
        supervisor would not keep on its list).
        """
        ref = self._node.system.find(supervisor)
        executor = None
        if ref is not None and issubclass(ref.actor_class, Supervises):
            executor = executor_of(ref)
        found = None if executor is None else executor.state.children.get(child)
        if ref is None or executor is None or found is None:
            raise Refused(f"no supervisor {supervisor} has a child {child!r}", code="not_found")
        if executor.state.policy.dynamic or found.spec.restart == "temporary":
            raise Refused(f"{child!r} would be forgotten by its supervisor", code="forgotten")
        task = self._node.parts.outbound.loop.create_task(_restart(ref, child))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True


async def _restart(supervisor: ActorRef[Any], child: str) -> None:
    try:
        await supervisors.terminate_child(supervisor, child)
        await supervisors.restart_child(supervisor, child)
    except ActorError as error:
        _LOG.error("Restarting %s of %s, as asked: %s", child, supervisor, error)


def _in_no_tree(alone: Sequence[ActorRef[Any]], most: int | None) -> TreeNode:
    """The heading of actors without a supervisor; each has a name of its own below it."""
    names: set[str] = set()
    places: list[TreeNode] = []
    for ref in alone[:most]:
        place = supervisors.tree_of(ref, most=most)
        if place.name in names:
            place = dataclasses.replace(
                place, name=f"{place.name} {ref.actor_urn.rpartition(':')[2]}"
            )
        names.add(place.name)
        places.append(place)
    return TreeNode(
        name=_IN_NO_TREE,
        actor_class="",
        kind="worker",
        state="running",
        children=tuple(places),
        hidden=len(alone) - len(places),
    )


def _shown(place: dict[str, Any]) -> dict[str, Any]:
    """A place of a tree whose last exit says what it says as it may be shown."""
    children = [_shown(below) for below in place["children"]]
    return {**place, "last_exit": plain(place["last_exit"]), "children": children}


def _short(health: Health) -> dict[str, Any]:
    """The health without its checks: there is one for each address and topic."""
    reasons = [shorten(reason) for reason in health.reasons[:_MOST_REASONS]]
    return {"live": health.live, "ready": health.ready, "reasons": reasons}


def _asks(asks: Asks) -> dict[str, Any]:
    ended = asks.outcomes.total()
    return {
        "asked": ended,
        "failed": ended - asks.outcomes["replied"],
        "buckets": list(asks.latencies.buckets),
    }


def _store(parts: Parts) -> dict[str, Any] | None:
    """What its durable actors have committed since its start; None without a store."""
    durable = parts.durable
    if durable is None:
        return None
    numbers, fault = durable.numbers, durable.committer.fault
    return {
        "url": shorten(durable.url, 200),
        "fault": "" if fault is None else shorten(str(fault)),
        "commits": numbers.commits,
        "messages": numbers.messages,
        "seconds": numbers.seconds,
        "lost": numbers.lost,
        "sent_again": numbers.sent_again,
        "uncommitted": durable.uncommitted,
        "outbox": numbers.sizes.outbox,
        "handled": numbers.sizes.handled,
    }


def _entities(parts: Parts) -> list[dict[str, Any]]:
    """What it does for the entities of each address that it runs."""
    ownership = ownership_in(parts.durable)
    numbers = [] if ownership is None else ownership.numbers()
    return [dataclasses.asdict(each) for each in numbers[:_MOST_CLASSES]]


def _dead_letters(parts: Parts) -> dict[str, Any]:
    letters = parts.system.dead_letters
    return {
        "total": letters.total,
        "latest": [_letter(letter) for letter in tuple(letters)[-_MOST_LETTERS:]],
    }


def _letter(letter: DeadLetter) -> dict[str, Any]:
    kind = type(letter.message)
    return {
        "target": shorten(letter.target.name, 100),
        "type": message_name(kind) or shorten(kind.__qualname__, 100),
        "reason": shorten(letter.reason, 200),
        "time": letter.time,
    }


def _tracebacks(parts: Parts, trees: list[TreeNode], since: float) -> dict[str, str]:
    """The latest crashes after `since`, by the urn of the slot."""
    found: list[tuple[float, str, BaseException]] = []
    for tree in trees:
        for place in tree.walk():
            ref = None if place.ref is None else parts.system.find(place.ref)
            exit_ = None if ref is None else ref.exit
            if exit_ is not None and exit_.error is not None and exit_.time >= since:
                found.append((exit_.time, place.ref or "", exit_.error))
    found.sort(key=lambda entry: entry[0])
    return {urn: _traceback(error) for _, urn, error in found[-_MOST_TRACES:]}


def _traceback(error: BaseException) -> str:
    text = FaultBody.of(error, crashed=True).traceback
    return text if len(text) <= _TRACE_SIZE else f"...\n{text[-_TRACE_SIZE:]}"
