"""What comes of a stored message, for whoever waits for it: kept where its class says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Actor, ActorClassError, Refused, Reject, Retry, receives
from irismq_runtime import (
    ConfigError,
    Durable,
    Entity,
    ReceiptNotDone,
    RemoteError,
    ResultExpired,
    ResultTimeout,
    RetryPolicy,
    current_node,
)
from irismq_runtime.blocking import Connection
from irismq_runtime.durability import results as results_module
from irismq_runtime.durability.committer import Committer
from irismq_runtime.errors import NodeStopped, StoreUnavailable
from irismq_runtime.ports.state_store import CommitInvalid
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.wire import decode_dead_untrusted
from supervisors import Supervisor, child
from tests.contracts.state_store_support import place_of
from tests.durability.helpers import AccountState  # noqa: TC001  # read by `Durable`
from tests.node.helpers import MemoryServers
from tests.support.until import until


class Press(Actor):
    """Prints what it is told, or fails at it."""

    address = "test.press"
    keeps_results = 60.0
    retry_policy = RetryPolicy(attempts=2, first=0.01, longest=0.01)

    def __init__(self, printed: list[Any] | None = None) -> None:
        self.printed = printed if printed is not None else []

    @receives(str)
    async def print(self, text: str) -> Any:
        self.printed.append(text)
        match text:
            case "crash":
                raise TimeoutError("out of ink")
            case "refuse":
                raise Refused("not this", code="taste")
            case "reject":
                raise Reject("never")
            case "retry":
                raise Retry(0.01)
            case "unwritable":
                return object()
            case "large":
                return "x" * 2_000_000
            case "nothing":
                return None
        await asyncio.sleep(0)
        return f"printed {text}"


class Ledger(Durable):
    """The same, with a state."""

    address = "test.ledger"
    keeps_results = 60.0
    retry_policy = RetryPolicy(attempts=2, first=0.01, longest=0.01)
    state: AccountState

    @receives(str)
    def add(self, text: str) -> Any:
        if text == "crash":
            raise TimeoutError("out of ink")
        if text == "refuse":
            raise Refused("not this", code="taste")
        if text == "own result":
            current_node().ref("test.press").tell("x").result()
        self.state.cents += 1
        return self.state.cents


class Till(Entity):
    """The same, for each key."""

    address = "test.till"
    keeps_results = 60.0
    shards = 1
    state: AccountState

    @receives(str)
    def add(self, text: str) -> Any:
        if text == "refuse":
            raise Refused("not this", code="taste")
        self.state.cents += 1
        return f"{self.key} has {self.state.cents}"


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path):
    return place_of(request, tmp_path).client


@pytest.fixture
def in_memory():
    database = MemoryDatabase()
    return lambda: MemoryStore(database)


async def test_a_result_is_there_for_who_told_and_for_others_as_often_as_they_ask(servers, store):
    async with (
        servers.node("works", store=store()) as works,
        servers.node("asks", store=store()) as asks,
    ):
        await works.start(Supervisor.of(child(Press)))
        receipt = asks.ref("test.press").tell("tea")
        assert await receipt.result(timeout=30.0) == "printed tea"
        assert await receipt.result(timeout=30.0) == "printed tea"
        assert await asks.result(receipt.id) == "printed tea"
        assert await works.result(receipt.id) == "printed tea"
        nothing = works.ref("test.press").tell("nothing")
        assert await nothing.result(timeout=30.0) is None
        assert works.health().ready


async def test_it_is_there_after_a_restart_of_either_side(servers, store):
    printed: list[Any] = []
    async with servers.node("asks", store=store()) as asks:
        receipt = asks.ref("test.press").tell("tea")
        await receipt
    async with servers.node("works", store=store()) as works:
        await works.start(Supervisor.of(child(Press, printed)))
        assert await works.result(receipt.id, timeout=30.0) == "printed tea"
    async with servers.node("asks", store=store()) as asks:
        assert await asks.result(receipt.id, timeout=30.0) == "printed tea"
    assert printed == ["tea"]


@pytest.mark.parametrize("address", ["test.press", "test.ledger"])
async def test_what_ends_as_a_dead_letter_gives_its_error(servers, in_memory, address):
    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Press), child(Ledger)))
        ref = node.ref(address)
        with pytest.raises(RemoteError, match="out of ink") as caught:
            await ref.tell("crash").result(timeout=30.0)
        assert caught.value.type_name == "builtins.TimeoutError"
        assert caught.value.address == address
        with pytest.raises(Refused, match="not this") as refusal:
            await ref.tell("refuse").result(timeout=30.0)
        assert refusal.value.code == "taste"
        assert len(servers.broker.bodies(f"{address}.dead")) == 2


async def test_every_other_end_has_its_error_too(servers, in_memory):
    async with servers.node(store=in_memory()) as node:
        ref = node.ref("test.press")
        late = ref.tell("tea", expires=0.0)
        await late
        await node.start(Supervisor.of(child(Press)))
        with pytest.raises(Refused, match="expired") as expired:
            await late.result(timeout=30.0)
        assert expired.value.code == "expired"
        for text, error, says in (
            ("reject", Refused, "never"),
            ("retry", RemoteError, "Retry"),
            ("unwritable", RemoteError, "EncodeError"),
            ("large", RemoteError, "MessageTooLarge"),
        ):
            with pytest.raises(error, match=says):
                await ref.tell(text).result(timeout=30.0)


async def test_a_result_is_in_the_commit_of_a_durable_actor_and_an_entity(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Supervisor.of(child(Ledger), child(Till)))
        ledger = node.ref("test.ledger")
        results = [await receipt.result(timeout=30.0) for receipt in ledger.tell_many(["a", "b"])]
        assert sorted(results) == [1, 2]
        ada = node.entity("test.till", "ada")
        assert await ada.tell("a").result(timeout=30.0) == "ada has 1"
        with pytest.raises(Refused, match="not this"):
            await ada.tell("refuse").result(timeout=30.0)


async def test_an_id_that_never_was_and_a_class_that_keeps_none_end_by_their_time(
    servers, in_memory
):
    class Quiet(Actor):
        address = "test.quiet"

        def on_receive(self, message):
            return message

    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Quiet)))
        with pytest.raises(ResultTimeout, match="keeps_results") as caught:
            await node.ref("test.quiet").tell("tea").result(timeout=0.05)
        assert caught.value.waited == 0.05
        with pytest.raises(ResultTimeout):
            await node.result(b"\0" * 16, timeout=0.05)
        for wrong in (b"", b"short", "00" * 16, None, 5):
            with pytest.raises(ValueError, match="16 bytes"):
                node.result(wrong)
        with pytest.raises(ValueError, match="timeout"):
            node.result(b"\0" * 16, timeout=-1.0)
        assert in_memory().database.tables.answers == {}


async def test_an_expired_result_says_so(servers, in_memory):
    class Brief(Press):
        address = "test.brief"
        keeps_results = 1e-6

    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Brief)))
        receipt = node.ref("test.brief").tell("tea")
        await until(lambda: node.parts.dispatch.counters.finished == 1)
        with pytest.raises(ResultExpired, match="not kept any more"):
            await node.result(receipt.id, timeout=30.0)


async def test_from_a_thread_and_over_the_blocking_facade(servers, in_memory):
    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Press)))
        ref = node.ref("test.press")
        result = await asyncio.to_thread(lambda: ref.tell("tea").result(timeout=30.0).get())
        assert result == "printed tea"
        with pytest.raises(Exception, match=r"await|loop"):
            ref.tell("tea").result().get()

    def views() -> Any:
        servers = MemoryServers()
        database = MemoryDatabase()
        from irismq_runtime import Node

        def make() -> Node:
            return Node(
                transports=servers.transports, store=MemoryStore(database), presence_period=0.2
            )

        with Connection(make) as connection:
            connection.run(connection.node.start(Supervisor.of(child(Press))))
            receipt = connection.ref("test.press").tell("tea")
            return receipt.result(timeout=30.0).get(), connection.result(receipt.id)

    assert await asyncio.to_thread(views) == ("printed tea", "printed tea")


async def test_while_the_store_is_away_nothing_is_finished_without_its_result(servers, in_memory):
    store = in_memory()
    printed: list[Any] = []
    async with servers.node(store=store) as node:
        await node.start(Supervisor.of(child(Press, printed)))
        works = store.commit

        async def away(commits):
            raise StoreUnavailable("memory:", "away", "gone")

        store.commit = away
        receipt = node.ref("test.press").tell("tea")
        await until(lambda: printed == ["tea"])
        await until(lambda: not node.health().ready)
        assert node.parts.dispatch.counters.finished == 0
        store.commit = works
        assert await receipt.result(timeout=30.0) == "printed tea"
        await until(lambda: node.parts.dispatch.counters.finished == 1)
        assert printed == ["tea"]


async def test_a_commit_of_results_whose_end_nobody_heard_is_made_once_more(servers, in_memory):
    store = in_memory()
    printed: list[Any] = []
    async with servers.node(store=store) as node:
        await node.start(Supervisor.of(child(Press, printed)))
        ref = node.ref("test.press")
        assert await ref.tell("milk").result(timeout=30.0) == "printed milk"
        works = store.commit

        async def unheard(commits):
            store.commit = works
            await works(commits)
            raise StoreUnavailable("memory:", "conflict", "cut", "unknown")

        store.commit = unheard
        assert await ref.tell("tea").result(timeout=30.0) == "printed tea"
        await until(lambda: node.parts.dispatch.counters.finished == 2)
        assert printed == ["milk", "tea"]


async def test_a_result_that_the_store_cannot_hold_costs_those_beside_it_nothing(
    servers, in_memory, caplog
):
    store = in_memory()
    printed: list[Any] = []
    async with servers.node(store=store) as node:
        await node.start(Supervisor.of(child(Press, printed)))
        works, seen = store.commit, []

        async def commit(commits):
            results = [each for one in commits for each in one.results]
            seen.append(len(results))
            if any(b"printed bad" in each.result for each in results):
                return [CommitInvalid(ValueError("no room for such")) for _ in commits]
            return await works(commits)

        store.commit = commit
        ref = node.ref("test.press")
        receipts = [ref.tell(text) for text in ("tea", "bad", "milk", "salt")]
        good = [receipts[0], *receipts[2:]]
        assert await asyncio.gather(*[each.result(timeout=30.0) for each in good]) == [
            "printed tea",
            "printed milk",
            "printed salt",
        ]
        with pytest.raises(RemoteError, match="no room for such"):
            await receipts[1].result(timeout=30.0)
        await until(lambda: node.parts.dispatch.counters.finished == 4)
    assert sorted(printed) == ["bad", "milk", "salt", "tea"]  # each once
    assert max(seen) > 1
    assert "no room for such" in caplog.text


async def test_a_result_that_cannot_be_kept_brings_its_message_again(
    servers, in_memory, monkeypatch
):
    monkeypatch.setattr(results_module, "_PATIENCE", 0.0)
    monkeypatch.setattr(results_module, "_LATER", 0.01)
    printed: list[Any] = []
    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Press, printed)))
        receipt = node.ref("test.press").tell("tea")
        await until(lambda: len(printed) > 5)  # it has no attempts to lose by that
        monkeypatch.setattr(results_module, "_PATIENCE", 30.0)
        assert await receipt.result(timeout=30.0) == "printed tea"
        assert servers.broker.bodies("test.press.dead") == []


async def test_a_node_without_a_store_refuses(servers):
    async with servers.node() as node:
        with pytest.raises(ConfigError, match="store"):
            node.ref("test.press").tell("tea").result()
        with pytest.raises(Exception, match="keeps_results"):
            await node.start(Supervisor.of(child(Press)))
    for wrong in (0, -1.0, float("nan"), "60", True, 1e9):
        with pytest.raises(ActorClassError, match="keeps_results"):
            type("Wrong", (Actor,), {"keeps_results": wrong})


async def test_a_handler_cannot_wait_for_what_leaves_with_its_own_commit(servers, in_memory):
    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Ledger)))
        with pytest.raises(RemoteError, match=ReceiptNotDone.__name__):
            await node.ref("test.ledger").tell("own result").result(timeout=30.0)


async def test_who_gives_up_waiting_leaves_nothing_behind(servers, in_memory):
    async with servers.node(store=in_memory()) as node:
        receipt = node.ref("test.press").tell("tea")
        waiting = receipt.result(timeout=60.0)
        assert not waiting.done()
        waiting.cancel()
        results = node.parts.durable.results
        await until(lambda: not results._waiting)
        # What waits when the node stops is told so.
        left = receipt.result(timeout=60.0)
    with pytest.raises(NodeStopped):
        left.get(timeout=0.0)


async def test_who_begins_to_wait_while_the_node_ends_is_told_so(servers, in_memory, monkeypatch):
    store = in_memory()
    late: list[Any] = []
    idle, close = Committer.idle, store.close
    async with servers.node(store=store) as node:
        receipt = node.ref("test.press").tell("tea")

        async def cancelled_before_it_began(committer):
            await idle(committer)
            late.append(receipt.result(timeout=60.0))

        async def begun_after_all_were_cancelled():
            late.append(receipt.result(timeout=60.0))
            await close()

        monkeypatch.setattr(Committer, "idle", cancelled_before_it_began)
        store.close = begun_after_all_were_cancelled
    assert len(late) == 2
    for future in late:
        with pytest.raises(NodeStopped):
            future.get(timeout=0.0)
    assert node.parts.durable.results._waiting == {}


async def test_a_store_that_does_not_answer_is_waited_for_no_longer_than_the_result(
    servers, in_memory, monkeypatch
):
    monkeypatch.setattr(results_module, "_LAST_LOOK", 0.0)
    store = in_memory()
    async with servers.node(store=store) as node:

        async def silent(key, ask_id):
            await asyncio.Event().wait()

        store.kept_answer = silent
        async with asyncio.timeout(30.0):
            with pytest.raises(ResultTimeout) as caught:
                await node.result(b"\0" * 16, timeout=0.05)
        assert caught.value.waited == 0.05
        await until(lambda: not node.parts.durable.results._waiting)


async def test_a_replayed_letter_that_is_handled_takes_the_place_of_its_error(servers, in_memory):
    ink: list[Any] = []

    class Fixed(Press):
        @receives(str)
        async def print(self, text: str) -> Any:
            if not ink:
                raise TimeoutError("out of ink")
            return f"printed {text}"

    async with servers.node(store=in_memory()) as node:
        await node.start(Supervisor.of(child(Fixed)))
        receipt = node.ref("test.press").tell("tea")
        with pytest.raises(RemoteError, match="out of ink"):
            await receipt.result(timeout=30.0)
        ink.append("full")
        (body,) = servers.broker.bodies("test.press.dead")
        letter = decode_dead_untrusted(body, max_size=1 << 20)
        await node.parts.mailbox.publish("test.press", letter.body, delay=0.0, timeout=5.0)

        async def printed():
            try:
                return await node.result(receipt.id)
            except RemoteError:
                return None

        while await printed() is None:
            await asyncio.sleep(0)
        assert await node.result(receipt.id) == "printed tea"
