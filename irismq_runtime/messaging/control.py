"""The messages that nodes exchange among themselves, registered as any other.

`Call` goes to an actor (an exposed method, see `ServiceRef.proxy`); the others go
to the node itself, at the target "@node" of its private cluster. Plain data;
what is done with them stands in dispatch and node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors import message

__all__ = [
    "Call",
    "Ended",
    "OffersRequest",
    "ReportRequest",
    "RestartRequest",
    "ServedRequest",
    "TreeRequest",
    "Unwatch",
    "Watch",
]


@message("irismq.call")
@dataclass(frozen=True, slots=True)
class Call:
    """Call the method `name`, which must be marked `@exposed`."""

    name: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)


@message("irismq.watch")
@dataclass(frozen=True, slots=True)
class Watch:
    """Tell the node `watcher` when the actor `urn` has ended. Repeating is harmless."""

    urn: str
    watcher: str


@message("irismq.unwatch")
@dataclass(frozen=True, slots=True)
class Unwatch:
    """The node `watcher` no longer wants to be told of the end of `urn`."""

    urn: str
    watcher: str


@message("irismq.ended")
@dataclass(frozen=True, slots=True)
class Ended:
    """The actor `urn` of the node `node` has ended, and how (see actors.Exit)."""

    node: str
    urn: str
    reason: str
    error: str = ""
    message_type: str | None = None
    wall: float = 0.0
    restarts: int = 0


@message("irismq.tree")
@dataclass(frozen=True, slots=True)
class TreeRequest:
    """Ask a node for its supervision trees."""


@message("irismq.offers")
@dataclass(frozen=True, slots=True)
class OffersRequest:
    """Ask a node what it is, and which messages and methods its addresses take."""


@message("irismq.report")
@dataclass(frozen=True, slots=True)
class ReportRequest:
    """Ask a node how it is: trees, mailboxes, counts (see `Node.overview`).

    Tracebacks are told of crashes after `since`, a time on that node's own clock.
    """

    since: float = 0.0


@message("irismq.restart")
@dataclass(frozen=True, slots=True)
class RestartRequest:
    """Ask a node to end the child `child` of the supervisor `supervisor` (a urn), and start it."""

    supervisor: str
    child: str


@message("irismq.served")
@dataclass(frozen=True, slots=True)
class ServedRequest:
    """Ask a node what it serves, as far as that changed after the version `since` of it."""

    since: int = 0
