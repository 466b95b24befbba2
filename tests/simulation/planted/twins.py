"""Faulty twins of parts of the product, each of a kind that bit a public system.

A twin is put in the place of a function by pytest's monkeypatch, for one test; the product has
no switch and no branch for it. Each says which scenario is to find it, and as what.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irismq_runtime.dispatch import stored
from irismq_runtime.dispatch.delivery import DurableDelivery
from irismq_runtime.dispatch.settlement import FINISH, settlement
from irismq_runtime.embedded.relay.session import Session
from irismq_runtime.mailbox.consume.consumer import Consumer
from irismq_runtime.mailbox.consume.lease import Leases
from irismq_runtime.mailbox.publish.publisher_connection import PublisherConnection
from irismq_runtime.node.binding.binder import Binding
from irismq_runtime.node.membership.member_table import MemberTable
from irismq_runtime.pyiris.requests import OutgoingRequests
from irismq_runtime.pyiris.subscriptions import Subscriptions
from irismq_runtime.recent import Recent
from irismq_runtime.simulation.cluster import ClusterOptions
from tests.simulation.service import entries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from irismq_runtime.simulation.cluster import Cluster

Plant = "Callable[[pytest.MonkeyPatch], None]"
LOST = "every confirmed message is handled"
RESTS = "a cluster comes to rest"


@dataclass(frozen=True)
class Twin:
    """One faulty twin.

    `bit`: who met the kind. `found_as`: what the report must say. `faults`: whether faults of
    the plan are needed to see it.
    """

    plant: Callable[[pytest.MonkeyPatch], None]
    bit: str
    scenario: Callable[[Cluster], Awaitable[None]]
    found_as: str
    faults: bool = True
    options: ClusterOptions = field(default_factory=ClusterOptions)


def finished_before_the_handler_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = DurableDelivery.starting

    def starts(self: DurableDelivery) -> bool:
        begins = starting(self)
        if begins:
            self.stored.finish()
        return begins

    monkeypatch.setattr(DurableDelivery, "starting", starts)


def lease_renewed_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its end instead of at its half."""
    due = Leases.due

    def late(self: Leases[Any], now: float) -> Any:
        whole, self._timeout = self._timeout, 2 * self._timeout
        try:
            return due(self, now)
        finally:
            self._timeout = whole

    monkeypatch.setattr(Leases, "due", late)


def receipt_before_the_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written counts as stored."""
    send = PublisherConnection.send

    def sends(self: PublisherConnection, batch: Any, now: float) -> None:
        send(self, batch, now)
        self._publisher.confirmed(self, batch)

    monkeypatch.setattr(PublisherConnection, "send", sends)


def answers_paired_from_the_wrong_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Backwards(deque[Any]):
        def popleft(self) -> Any:
            return self.pop()

    init = PublisherConnection.__init__

    def inits(self: PublisherConnection, *args: Any) -> None:
        init(self, *args)
        self._unconfirmed = Backwards()

    monkeypatch.setattr(PublisherConnection, "__init__", inits)


def a_crash_is_taken_for_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def settles(outcome: Any, **counts: int) -> Any:
        return FINISH if outcome.kind == "crashed" else settlement(outcome, **counts)

    monkeypatch.setattr(stored, "settlement", settles)


def a_memory_that_forgets_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recent, "put", lambda *_: None)


def a_consumer_that_never_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first connection it asks for no message."""
    up = Consumer.connection_up
    seen: set[int] = set()

    def ups(self: Consumer, connection: Any, max_rdy: int) -> None:
        if id(connection) not in seen:
            seen.add(id(connection))
            up(self, connection, max_rdy)

    monkeypatch.setattr(Consumer, "connection_up", ups)


def a_restart_that_forgets_to_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Binding, "resume", lambda _: None)


def requests_forgotten_with_their_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who waits is told, by the connection or by a deadline."""

    def cuts(self: OutgoingRequests, replies: Any, *_: Any) -> None:
        for reply in list(replies):
            self._remove(reply)

    monkeypatch.setattr(OutgoingRequests, "cut", cuts)


def nodes_that_are_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemberTable, "expire", lambda *_: [])


def a_rejoin_that_forgets_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    connected = Subscriptions.connected

    def connects(self: Subscriptions) -> Any:
        again = self._steps > 0
        actions = connected(self)
        return [] if again else actions

    monkeypatch.setattr(Subscriptions, "connected", connects)


def a_relay_that_keeps_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members whose connection is gone stay members of their cluster."""
    monkeypatch.setattr(Session, "_leave_directory", lambda _: None)


_CALM = ClusterOptions(node={"lease": 2.0})

TWINS = {
    twin.plant.__name__: twin
    for twin in (
        Twin(
            finished_before_the_handler_returns,
            "celery acks_early, nsqio/pynsq#90",
            entries(kill=10.0),
            LOST,
        ),
        Twin(
            lease_renewed_late,
            "nsqio/go-nsq#226, dudleycarr/nsqjs#242",
            entries(longest=6.0, rate=2.0, asks=0.0),
            "no second handling of a message begins beside the first",
            faults=False,
            options=_CALM,
        ),
        Twin(
            receipt_before_the_confirmation,
            "wistia/nsq-ruby#51, wtolson/gnsq#31",
            entries(cut=60.0, rate=40.0, longest=0.01),
            LOST,
        ),
        Twin(
            answers_paired_from_the_wrong_end,
            "nsqio/go-nsq#171, nsqio/pynsq#240",
            entries(cut=60.0, slow=20.0, rate=40.0, longest=0.01),
            LOST,
        ),
        Twin(
            a_crash_is_taken_for_an_end,
            "celery/celery#5106, nsqio/pynsq#134",
            entries(crashes=0.2),
            "a message is finished when its handler has returned",
            faults=False,
        ),
        Twin(
            a_memory_that_forgets_at_once,
            "nsqio/nsq#592, cockroachdb duplicate retries",
            entries(cut=60.0, rate=40.0, longest=0.01, asks=0.0),
            "nor where it was finished",
            options=ClusterOptions(hosts=1, node={"lease": 2.0}),
        ),
        Twin(
            a_consumer_that_never_asks_again,
            "celery/celery#8030, Bogdanp/dramatiq#207, nsqio/go-nsq#131",
            entries(cut=20.0),
            RESTS,
        ),
        Twin(
            a_restart_that_forgets_to_resume,
            "nsqio/pynsq#89, #37",
            entries(crashes=0.2),
            RESTS,
            faults=False,
        ),
        Twin(
            requests_forgotten_with_their_connection,
            "ray-project/ray#15045, akka/akka-core#28650",
            entries(relay=10.0, asks=1.0),
            "no ask outlives its deadline",
        ),
        Twin(
            nodes_that_are_never_forgotten,
            "akka/akka#13875, hashicorp/serf#484",
            entries(kill=10.0),
            RESTS,
        ),
        Twin(
            a_rejoin_that_forgets_subscriptions,
            "nats-io/nats.go#195, redis/redis-py#1464",
            entries(relay=10.0),
            "== [True",
        ),
        Twin(
            a_relay_that_keeps_the_dead,
            "project-iris/iris#57",
            entries(kill=10.0),
            "AskTimeout",
        ),
    )
}
