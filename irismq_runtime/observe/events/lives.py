"""Events of nodes, connections, actors and trees: they start, fail, restart, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.observe.records import Record, event

if TYPE_CHECKING:
    from actors import ActorRef, BlockedLoop, DeadLetter, Exit, SlowHandler
    from supervisors import Report

__all__ = [
    "ActorCrash",
    "ActorDown",
    "ActorEnded",
    "ActorSlowHandler",
    "ActorStarted",
    "ActorStuck",
    "AskLateAnswer",
    "DeadLetterRecorded",
    "HealthChanged",
    "IrisConnected",
    "IrisLost",
    "LoopBlocked",
    "NodeBound",
    "NodeDraining",
    "NodeStarted",
    "NodeStopped",
    "NodeUnbound",
    "PresenceGone",
    "PresenceJoined",
    "PresenceLeft",
    "StoreFound",
    "StoreLost",
    "SupervisorChildTerminated",
    "SupervisorProgress",
    "SupervisorShutdown",
    "SupervisorShutdownError",
    "SupervisorStartError",
    "TellRefused",
]


# The node -------------------------------------------------------------------------


@event("node.started")
class NodeStarted(Record, frozen=True):
    """A node is connected and takes work. By node."""

    node: str
    name: str


@event("node.draining")
class NodeDraining(Record, frozen=True):
    """A node takes no more work. By node."""

    node: str
    reason: str


@event("node.stopped")
class NodeStopped(Record, frozen=True):
    """A node has ended; `seconds` is how long that took. By node."""

    node: str
    seconds: float


@event("node.bound")
class NodeBound(Record, frozen=True):
    """An actor serves an address. By node."""

    address: str
    urn: str


@event("node.unbound")
class NodeUnbound(Record, frozen=True):
    """It serves it no more. By node."""

    address: str
    urn: str


@event("health.changed")
class HealthChanged(Record, frozen=True):
    """Readiness changed, and stayed so for a second. By node."""

    ready: bool
    reasons: tuple[str, ...]


@event("presence.joined")
class PresenceJoined(Record, frozen=True):
    """A member of an address was heard of. By node."""

    node: str
    address: str
    urn: str


@event("presence.left")
class PresenceLeft(Record, frozen=True):
    """A member of an address has gone. By node."""

    node: str
    address: str
    urn: str


@event("presence.gone")
class PresenceGone(Record, frozen=True):
    """A node is not heard of any more. By node.

    `why`: what its goodbye said of an end that nobody asked for; "" of any other end.
    """

    node: str
    why: str


@event("iris.connected")
class IrisConnected(Record, frozen=True):
    """A connection to the relay stands; `cluster` "" is the outbound one. By pyiris."""

    peer: str
    cluster: str


@event("iris.lost")
class IrisLost(Record, frozen=True):
    """A connection to the relay was cut. By pyiris."""

    peer: str
    cluster: str
    reason: str


# The store ------------------------------------------------------------------------


@event("store.lost")
class StoreLost(Record, frozen=True):
    """The store cannot be used; durable actors handle nothing until it can. By durability."""

    store: str
    kind: str
    reason: str


@event("store.found")
class StoreFound(Record, frozen=True):
    """The store can be used again. By durability."""

    store: str


# Actors ---------------------------------------------------------------------------


@event("actor.started")
class ActorStarted(Record, frozen=True):
    """An incarnation takes messages. By actors."""

    ref: ActorRef[Any]
    incarnation: int


@event("actor.down")
class ActorDown(Record, frozen=True):
    """An incarnation is over. By actors."""

    ref: ActorRef[Any]
    exit: Exit


@event("actor.ended")
class ActorEnded(Record, frozen=True):
    """A slot has ended. By actors."""

    ref: ActorRef[Any]
    exit: Exit


@event("actor.crashed")
class ActorCrash(Record, frozen=True):
    """An exception left a handler. By actors."""

    ref: ActorRef[Any]
    exit: Exit


@event("actor.stuck")
class ActorStuck(Record, frozen=True):
    """Something did not end as asked and was abandoned: what, and where it stands. By actors."""

    ref: ActorRef[Any]
    what: str
    running: str


@event("actor.slow_handler")
class ActorSlowHandler(Record, frozen=True):
    """A handler has been running for very long. By actors."""

    slow: SlowHandler


@event("loop.blocked")
class LoopBlocked(Record, frozen=True):
    """A handler, or something else, holds the loop up. By actors, in the watchdog's thread."""

    blocked: BlockedLoop


@event("ask.late_answer")
class AskLateAnswer(Record, frozen=True):
    """A local answer came after its deadline. By actors."""

    ref: ActorRef[Any]
    message_type: str


@event("tell.refused")
class TellRefused(Record, frozen=True):
    """An actor refused a local tell. By actors."""

    ref: ActorRef[Any]
    message: Any
    error: BaseException


@event("dead_letter")
class DeadLetterRecorded(Record, frozen=True):
    """A local message that nobody will handle. By actors."""

    letter: DeadLetter


# Supervisors ----------------------------------------------------------------------


@event("supervisor.progress")
class SupervisorProgress(Record, frozen=True):
    """A child has started. By supervisors."""

    report: Report


@event("supervisor.child_terminated")
class SupervisorChildTerminated(Record, frozen=True):
    """A child ended. By supervisors."""

    report: Report


@event("supervisor.start_error")
class SupervisorStartError(Record, frozen=True):
    """A child did not start. By supervisors."""

    report: Report


@event("supervisor.shutdown")
class SupervisorShutdown(Record, frozen=True):
    """A supervisor gave up: too many restarts. By supervisors."""

    report: Report


@event("supervisor.shutdown_error")
class SupervisorShutdownError(Record, frozen=True):
    """A child did not end as asked. By supervisors."""

    report: Report
