"""One name, one class: a name that stands twice in the product has its reason here."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Final

from tests.architecture.sources import PRODUCT, ROOT, nodes

#: A leading underscore does not tell two names apart: a reader says them alike.
TWICE: Final = {
    "Backoff": "supervisors.Backoff between restarts, pyiris.Backoff between dials: each package "
    "is used without the other, and both are one formula",
    "ClientConnection": "the accepted socket of each of the two embedded servers",
    "Cluster": "three NATS servers of the demonstration; what a simulated test is given",
    "Connection": "one TCP connection: of the mailbox to nsqd, of pyiris to a relay",
    "Fault": "what a handler of pyiris raises; one thing that goes wrong in a simulation",
    "ManagedConnection": "what makes the next Connection: of the mailbox, of pyiris",
    "NodeStopped": "the error that a call raises, and the record of the event",
    "Options": "pyiris.Options is public; the other is a TypedDict for a signature",
    "Reply": "actors.Reply, and the Protocol that supervisors takes for it without an actor",
    "Retry": "what a handler raises, and an action of the pure decision of supervisors",
    "StartFailed": "the error that start raises, and an event of the pure decision of supervisors",
    "Statistics": "what `statistics()` returns: of a System, of pyiris",
    "Stop": "the request in the inbox of a slot, and an action of the pure decision of supervisors",
    "Tunnel": "of actors on two nodes; of bytes between two clients of a relay (Iris's word)",
}


def _places() -> dict[str, list[str]]:
    """Where each class name stands, without its underscores."""
    places = defaultdict(list)
    for path in PRODUCT:
        for node in nodes(path, ast.ClassDef):
            places[node.name.lstrip("_")].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return places


def test_a_class_name_stands_once_or_says_why_not() -> None:
    twice = {name: found for name, found in _places().items() if len(found) > 1}
    unexplained = {name: found for name, found in twice.items() if name not in TWICE}
    assert unexplained == {}, "rename one of the two, or give the reason in TWICE"
    assert TWICE.keys() - twice.keys() == set(), "these stand once by now: take them out of TWICE"
