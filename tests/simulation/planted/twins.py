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
from irismq_runtime.dispatch.settlement import FINISH
from irismq_runtime.durability.held_state import HeldState
from irismq_runtime.embedded.nsqd.writer import StoreWriter
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
from tests.simulation.bank import STORE, money
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
    the plan are needed to see it. `seed`: one that found it.
    """

    plant: Callable[[pytest.MonkeyPatch], None]
    bit: str
    scenario: Callable[[Cluster], Awaitable[None]]
    found_as: str
    faults: bool = True
    seed: int = 0
    options: ClusterOptions = field(default_factory=lambda: _SMALL)


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
    settled = stored.settled

    def settles(policy: Any, outcome: Any, **more: Any) -> Any:
        return FINISH if outcome.kind == "crashed" else settled(policy, outcome, **more)

    monkeypatch.setattr(stored, "settled", settles)


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
    monkeypatch.setattr(MemberTable, "_remove", lambda *_, **__: [])


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


def a_broker_that_confirms_before_it_has_written(monkeypatch: pytest.MonkeyPatch) -> None:
    append = StoreWriter.append

    def appends(self: StoreWriter, records: Any, done: Callable[[None], None]) -> None:
        append(self, records, lambda _: None)
        self._loop.call_soon(done, None)

    monkeypatch.setattr(StoreWriter, "append", appends)


def a_crash_that_keeps_what_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldState, "restore", lambda _: None)
    monkeypatch.setattr(HeldState, "load", lambda *_: None)


#: Small, and quick to say that something is wrong.
_SMALL = ClusterOptions(hosts=2, node={"lease": 2.0}, rest=60.0)
_ALONE = ClusterOptions(hosts=1, node={"lease": 2.0}, rest=60.0)
_BANK = ClusterOptions(
    hosts=2, node={"store": STORE, "lease": 2.0, "republish_after": 2.0}, rest=60.0
)
#: Cuts under load, in a plan of some ten faults.
_CUTS = entries(cut=60.0, rate=40.0, seconds=10.0, longest=0.01, asks=0.0)

TWINS = {
    twin.plant.__name__: twin
    for twin in (
        Twin(
            finished_before_the_handler_returns,
            "Celery as it is set up: tasks are acknowledged before they run (acks_late)",
            entries(kill=20.0, seconds=10.0),
            LOST,
        ),
        Twin(
            lease_renewed_late,
            "nsqio/go-nsq#226, dudleycarr/nsqjs#242",
            entries(longest=6.0, rate=0.5, seconds=30.0, asks=0.0),
            "no second handling of a message begins beside the first",
            faults=False,
        ),
        Twin(
            receipt_before_the_confirmation,
            "wistia/nsq-ruby#51, wtolson/gnsq#31",
            _CUTS,
            LOST,
        ),
        Twin(
            answers_paired_from_the_wrong_end,
            "nsqio/go-nsq#171, nsqio/pynsq#240",
            entries(cut=40.0, slow=40.0, rate=40.0, seconds=10.0, longest=0.01, asks=0.0),
            LOST,
            seed=9,
        ),
        Twin(
            a_crash_is_taken_for_an_end,
            "nsqio/pynsq#134, #142, nsqio/go-nsq#359",
            entries(crashes=0.2, seconds=10.0),
            "a message is finished when its handler has returned",
            faults=False,
        ),
        Twin(
            a_memory_that_forgets_at_once,
            "nsqio/nsq#592, #645",
            _CUTS,
            "nor where it was finished",
            options=_ALONE,
            seed=2,
        ),
        Twin(
            a_consumer_that_never_asks_again,
            "celery/celery#8030, Bogdanp/dramatiq#207, nsqio/go-nsq#131",
            entries(cut=20.0, seconds=10.0),
            RESTS,
            options=_ALONE,
            seed=1,
        ),
        Twin(
            a_restart_that_forgets_to_resume,
            "nsqio/pynsq#89, #37",
            entries(crashes=0.3, seconds=10.0),
            RESTS,
            faults=False,
            options=_ALONE,
        ),
        Twin(
            requests_forgotten_with_their_connection,
            "ray-project/ray#15045, akka/akka-core#28650",
            entries(relay=20.0, seconds=10.0, asks=1.0),
            "no ask outlives its deadline",
        ),
        Twin(
            nodes_that_are_never_forgotten,
            "what presence is for: a node that was killed says no goodbye",
            entries(kill=20.0, seconds=10.0),
            RESTS,
        ),
        Twin(
            a_rejoin_that_forgets_subscriptions,
            "project-iris/iris-go#19, project-iris/iris-java#34",
            entries(relay=20.0, seconds=10.0),
            "AssertionError",
        ),
        Twin(
            a_relay_that_keeps_the_dead,
            "project-iris/iris#57, #36",
            entries(kill=20.0, seconds=10.0),
            "AskTimeout",
        ),
        Twin(
            a_broker_that_confirms_before_it_has_written,
            "nsqio/nsq#1386, #1142, #1391",
            entries(broker=40.0, rate=60.0, seconds=10.0, longest=0.01, asks=0.0),
            LOST,
            seed=48,
        ),
        Twin(
            a_crash_that_keeps_what_it_changed,
            "a handler that failed must have done nothing to what lasts",
            money(crashes=0.2, seconds=10.0),
            "AssertionError",
            faults=False,
            options=_BANK,
        ),
    )
}
