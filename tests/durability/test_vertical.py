"""A durable actor from its load to its answer: state, outbox and right in one commit."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from actors import ActorClassError, Refused, StartFailed, ThreadActor
from actors.testing import ManualClock
from irismq_runtime import ConfigError, Durable, Node
from irismq_runtime.observer.reports import node_report_untrusted
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.wire import decode_envelope_untrusted
from supervisors import child
from tests.contracts.state_store_support import place_of
from tests.durability.helpers import Account, Balance, Move, Put
from tests.node.helpers import Counter, MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path) -> Callable[[], Any]:
    """Makes stores that share what they keep."""
    return place_of(request, tmp_path).client


async def test_a_state_lasts_beyond_its_node(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        ref = node.ref("test.account")
        assert await ref.ask(Put(5)) == 5
        await ref.tell(Put(2))
        await until(lambda: node.parts.dispatch.counters.finished >= 1)
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        assert await node.ref("test.account").ask(Balance()) == 7


async def test_what_is_told_leaves_with_the_commit(servers, store):
    told: list[Any] = []
    async with servers.node(store=store()) as node:
        await node.start(child(Account, "a"))
        await node.start(child(Account, "b", told))
        a, b = node.ref("a"), node.ref("b")
        await a.ask(Put(10))
        await a.tell(Move("b", 4))
        await until(lambda: node.parts.dispatch.counters.finished >= 2)
        assert await b.ask(Balance()) == 4
        assert await a.ask(Balance()) == 6
        with pytest.raises(Refused):
            await a.ask(Move("b", 40))
        assert await a.ask(Balance()) == 6
        assert await node.parts.durable.store.backlog() == []


async def test_with_keys_a_row_is_kept_unsigned_and_signed_as_it_leaves(servers, store):
    told: list[Any] = []
    keys = {"k1": b"0123456789abcdef"}
    async with servers.node(store=store(), keys=keys) as node:
        await node.start(child(Account, "a"))
        await node.start(child(Account, "b", told))
        await node.ref("a").ask(Put(10))
        await node.ref("a").tell(Move("b", 4))
        await until(lambda: told == [Put(4)])
        assert node.parts.dispatch.counters.unsigned == 0
        (body,) = servers.broker.bodies("b")
        headers = decode_envelope_untrusted(body).headers
        assert headers["k"] == "k1"
        assert headers["o"].startswith(node.parts.durable.store.info.id.hex())


async def test_two_nodes_that_share_a_store_lose_and_double_nothing(servers, store):
    async with (
        servers.node("one", store=store()) as one,
        servers.node("two", store=store()) as two,
        servers.node("client") as client,
    ):
        await one.start(child(Account))
        await two.start(child(Account))
        for _ in range(40):
            client.ref("test.account").tell(Put(1))
        counted = one.parts.dispatch.counters, two.parts.dispatch.counters
        await until(lambda: sum(each.finished for each in counted) == 40)
        assert await client.ref("test.account").ask(Balance()) == 40


async def test_an_embedded_node_with_a_folder_keeps_states_in_it(tmp_path):
    async with Node.embedded(data=tmp_path, drain=0.5) as node:
        await node.start(child(Account))
        assert await node.ref("test.account").ask(Put(5)) == 5
    async with Node.embedded(data=tmp_path, drain=0.5) as node:
        await node.start(child(Account))
        assert await node.ref("test.account").ask(Balance()) == 5


async def test_without_a_store_a_durable_actor_does_not_start_and_says_what_to_do(servers):
    async with servers.node() as node:
        with pytest.raises(StartFailed, match=r"sqlite:///shop\.db") as failure:
            await node.start(child(Account))
        assert isinstance(failure.value.__cause__, ConfigError)


async def test_a_second_actor_of_one_durable_address_does_not_start_on_its_node(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        with pytest.raises(StartFailed, match="already"):
            await node.start(child(Account))


async def test_an_ordinary_actor_of_a_node_with_a_store_is_as_ever(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Counter)
        binding = next(iter(node.parts.binder))
        assert type(binding.stored[0][0]).__name__ == "StoredDispatch"


def test_without_a_store_nothing_of_it_is_imported():
    program = (
        "import asyncio, sys\n"
        "from irismq_runtime import Node\n"
        "async def main():\n"
        "    async with Node.embedded(drain=0.1): pass\n"
        "asyncio.run(main())\n"
        "names = ('irismq_runtime.durability', 'irismq_runtime.stores')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


class Unregistered:
    """No message type."""


def test_the_type_of_a_state_is_checked_when_the_class_is_made():
    with pytest.raises(ActorClassError, match=r"Bad.state: Unregistered has no name"):

        class Bad(Durable):
            state: Unregistered

    with pytest.raises(ActorClassError, match=r"Missing.state: Put.cents has no default"):

        class Missing(Durable):
            state: Put

    with pytest.raises(ActorClassError, match=r"Unknown.state: NoSuchType has no meaning here"):

        class Unknown(Durable):
            state: NoSuchType  # noqa: F821  # what is tested

    with pytest.raises(ActorClassError, match=r"Valued.state has a value"):

        class Valued(Durable):
            state = 5

    with pytest.raises(ActorClassError, match=r"Threaded is a ThreadActor"):

        class Threaded(Durable, ThreadActor):
            pass


async def test_metrics_tell_of_commits_and_of_what_the_store_keeps(servers):
    clock, database = ManualClock(), MemoryDatabase()
    async with servers.node(store=MemoryStore(database), clock=clock) as node:
        await node.start(child(Account))
        await node.ref("test.account").tell(Put(1))
        assert await node.ref("test.account").ask(Put(1)) == 2
        assert "irismq_handled_ids 0.0" in node.metrics()  # nobody has looked yet
        await until(lambda: (clock.advance(30.0), "irismq_handled_ids 1.0" in node.metrics())[1])
        told = node.metrics()
        report = node_report_untrusted(await node.overview.report(node.id, timeout=5.0))
    assert "irismq_outbox_rows 0.0" in told
    assert "irismq_committed_messages_total 2.0" in told
    kept = report.store
    assert kept is not None
    assert (kept.messages, kept.outbox, kept.handled, kept.uncommitted) == (2, 0, 1, 0)
    assert (kept.url, kept.fault, 0 < kept.commits <= 2) == ("memory:", "", True)
