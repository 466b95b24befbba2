"""What an observer shows: one frozen value for the whole system at one moment.

Everything in it is plain and JSON-able (`to_json`). Times are wall-clock seconds,
so that nothing changes by age alone and a difference between two snapshots holds
what happened; rates are per second, latencies in seconds. What is not known is
None, never 0.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from irismq_runtime.json_text import json_text
from irismq_runtime.safe_text import visible_json, without_logins

__all__ = [
    "BrokerView",
    "Crash",
    "EntitiesView",
    "LocalLetter",
    "MemberView",
    "NodeState",
    "NodeView",
    "PlaceView",
    "Point",
    "Problem",
    "ProblemKind",
    "ServiceView",
    "Snapshot",
    "StoreView",
    "to_json",
]

#: "new": heard of, has not answered yet. "up": answers. "silent": has not answered
#: for a while. "lost": not announced any more. "left": said goodbye.
NodeState: TypeAlias = Literal["new", "up", "silent", "lost", "left"]

ProblemKind: TypeAlias = Literal[
    "relay",
    "dead-node",
    "gave-up",
    "crash-loop",
    "growing-mailbox",
    "dead-letters",
    "unserved",
    "not-ready",
    "broker",
]


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """How a place last ended. `wall`: when; `traceback`: "" when it is not known."""

    reason: str
    error: str | None = None
    text: str | None = None
    message_type: str | None = None
    wall: float = 0.0
    traceback: str = ""


class PlaceView(msgspec.Struct, frozen=True, kw_only=True):
    """One place in a supervision tree.

    `path`: the names from the root down, unique in its node. `ref`: the urn of its
    slot. `inbox`: messages that wait in it; `rate`: handled per second. `hidden`:
    children that the node left out. `progress`: how far its handler says that it is.
    `loops`, `grows`: what is wrong with it now.
    """

    path: tuple[str, ...]
    name: str
    actor_class: str
    kind: Literal["supervisor", "worker"]
    state: str
    restarts: int
    inbox: int
    rate: float
    ref: str | None = None
    address: str | None = None
    strategy: str | None = None
    hidden: int = 0
    progress: str = ""
    last: Crash | None = None
    loops: bool = False
    grows: bool = False
    children: tuple[PlaceView, ...] = ()


class LocalLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A local message that nobody handled: to whom, of which type, and why."""

    target: str
    type: str
    reason: str
    wall: float


class StoreView(msgspec.Struct, frozen=True, kw_only=True):
    """The store of a node: what it commits now, and what waits in it.

    `commits`, `messages`: per second; `took`: seconds of a commit lately. `uncommitted`:
    messages handled and not committed yet. `lost`, `sent_again`: since its start. `outbox`,
    `handled`: rows and ids that the store keeps, of all its nodes.
    """

    url: str
    fault: str = ""
    commits: float = 0.0
    messages: float = 0.0
    took: float | None = None
    uncommitted: int = 0
    lost: int = 0
    sent_again: int = 0
    outbox: int = 0
    handled: int = 0


class EntitiesView(msgspec.Struct, frozen=True, kw_only=True):
    """The entities of one address on a node: how many are active, of how many shards.

    `owned`: shards of the node, of all the `shards`. `failing`: entities that wait after a crash.
    """

    address: str
    shards: int
    owned: int
    active: int
    failing: int


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `since`: when its state began. `error`: why it did not answer.

    `why`: what made it leave, by its own words; "" while it has not left, and when it
    was asked to.
    `lag`: seconds by which its loop was late. `handled`: messages handled per second,
    of all its places. `letters`: local messages that nobody handled, `latest` the last
    of them. `store`: None where it has none. `entities`: by address.
    """

    id: str
    name: str
    state: NodeState
    since: float
    why: str = ""
    ready: bool = False
    reasons: tuple[str, ...] = ()
    error: str = ""
    host: str = ""
    pid: int = 0
    actors: int = 0
    lag: float = 0.0
    handled: float = 0.0
    restarts: int = 0
    letters: int = 0
    latest: tuple[LocalLetter, ...] = ()
    trees: tuple[PlaceView, ...] = ()
    store: StoreView | None = None
    entities: tuple[EntitiesView, ...] = ()


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """One actor that serves an address: the id and name of its node, its urn."""

    node: str
    name: str
    urn: str


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """One address, or one topic that nobody serves now.

    `waiting`, `in_flight`, `deferred`: in the brokers; `dead`: letters in
    `<address>.dead`. `told`, `done`: stored and settled per second; `asked`: requests
    per second, `p50` and `p99` how long its handlers take. `served`: whether it is
    (or was) the address of a member, or only a topic.
    """

    address: str
    served: bool
    members: tuple[MemberView, ...] = ()
    waiting: int | None = None
    in_flight: int | None = None
    deferred: int | None = None
    dead: int | None = None
    told: float | None = None
    done: float | None = None
    asked: float | None = None
    failed: float | None = None
    p50: float | None = None
    p99: float | None = None
    grows: bool = False


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """One nsqd, as its HTTP side answers. `error` is "" when it does."""

    endpoint: str
    version: str = ""
    error: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong now. `key` names it as long as it lasts.

    `node` is an id or "", `subject` the path or the address that is meant.
    """

    key: str
    kind: ProblemKind
    severity: Literal["error", "warning"]
    text: str
    subject: str
    since: float
    node: str = ""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The whole system at one time, for charts. Counts per second, sums, seconds."""

    time: float
    told: float | None = None
    handled: float = 0.0
    asked: float | None = None
    failed: float | None = None
    waiting: int | None = None
    inboxes: int = 0
    p50: float | None = None
    p99: float | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The system at `time`. `version` grows by one with each.

    Order: problems the worst and latest first, nodes by name, services by address.
    """

    version: int
    time: float
    nodes: tuple[NodeView, ...] = ()
    services: tuple[ServiceView, ...] = ()
    problems: tuple[Problem, ...] = ()
    brokers: tuple[BrokerView, ...] = ()
    point: Point | None = None

    def node(self, node_id: str) -> NodeView | None:
        """The node of that id, or None."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def service(self, address: str) -> ServiceView | None:
        """The service of that address, or None."""
        return next((one for one in self.services if one.address == address), None)


_encode: Final = msgspec.json.Encoder().encode


def to_json(value: Any) -> bytes:
    """A snapshot, a part of one, or plain values around such, as JSON.

    What other nodes say passes here: no control leaves as it is, and no login of a URL.
    """
    try:
        document = _encode(value).decode()  # null for a number that is not finite
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):  # half of a character
        document = json_text(value)
    return visible_json(without_logins(document)).encode()
