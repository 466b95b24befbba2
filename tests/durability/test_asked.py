"""An ask that has an id is handled once, and answered as often as it is asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import AskCancelled, Refused, message, receives
from actors.rules import Rule
from irismq_runtime import RemoteError
from irismq_runtime.durability import asked as asked_module
from irismq_runtime.refs import service
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.stores.memory.tables import Tables
from supervisors import Supervisor, child
from tests.contracts.state_store_support import place_of
from tests.durability.helpers import Account, Balance, Move, Put
from tests.node.helpers import MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.ports.state_store import StateCommit


@message("test.wait")
@dataclass(frozen=True)
class Wait:
    cents: int


class Till(Account):
    """Handles some of its messages when it is let."""

    def __init__(self, handled: list[Any], go: asyncio.Event) -> None:
        super().__init__(handled=handled)
        self.go = go

    @receives(Wait)
    async def wait(self, wait: Wait) -> int:
        self.handled.append(wait)
        await self.go.wait()
        if wait.cents < 0:
            raise ValueError("boom")
        self.state.cents += wait.cents
        return self.state.cents


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path) -> Callable[[], Any]:
    return place_of(request, tmp_path).client


async def test_who_asks_again_gets_the_first_answer_also_from_the_next_node(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        ref = node.ref("test.account")
        assert await ref.ask(Put(5), id="one") == 5
        assert await ref.ask(Put(5), id="two") == 10
        assert await ref.ask(Put(5), id="one") == 5
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        ref = node.ref("test.account")
        assert await ref.ask(Put(5), id="two") == 10
        assert await ref.ask(Balance()) == 10


async def test_what_was_refused_is_refused_again_though_it_would_not_be(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        ref = node.ref("test.account")
        for _ in range(2):
            with pytest.raises(Refused, match="too little") as refusal:
                await ref.ask(Move("other", 5), id="move")
            assert refusal.value.code == "poor"
            await ref.ask(Put(10))
        assert await ref.ask(Balance()) == 20


async def test_another_question_under_an_id_is_refused(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(child(Account))
        ref = node.ref("test.account")
        await ref.ask(Put(5), id="one")
        with pytest.raises(Refused) as refusal:
            await ref.ask(Put(6), id="one")
        assert refusal.value.code == "another-question"


async def test_what_was_handled_is_never_handled_again_when_its_answer_is_gone(
    servers, store, monkeypatch
):
    monkeypatch.setattr(asked_module, "ANSWERS_KEPT", 0.0)
    handled: list[Any] = []
    async with servers.node(store=store()) as node:
        await node.start(child(Account, "test.account", handled))
        ref = node.ref("test.account")
        assert await ref.ask(Put(5), id="one") == 5
        await node.parts.durable.store.tidy(3600.0)
        with pytest.raises(Refused, match="not kept any more") as refusal:
            await ref.ask(Put(5), id="one")
        assert refusal.value.code == "answer-forgotten"
        assert handled == [Put(5)]


async def test_one_in_hand_is_joined_and_goes_on_when_its_first_asker_gives_up(servers, store):
    handled: list[Any] = []
    go = asyncio.Event()
    async with servers.node(store=store()) as node:
        await node.start(child(Till, handled, go))
        ref = node.ref("test.account")
        first = ref.ask(Wait(5), id="wait")
        await until(lambda: handled)
        second = ref.ask(Wait(5), id="wait")
        first.cancel()
        with pytest.raises(AskCancelled):
            await first
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        assert await second == 5
        assert handled == [Wait(5)]


async def test_a_crash_is_not_kept_and_runs_again(servers, store):
    handled: list[Any] = []
    go = asyncio.Event()
    go.set()
    async with servers.node(store=store()) as node:
        await node.start(Supervisor.of(child(Till, handled, go), max_restarts=9))
        for _ in range(2):
            with pytest.raises(RemoteError, match="boom"):
                await node.ref("test.account").ask(Wait(-1), id="crash")
        assert handled == [Wait(-1)] * 2


@pytest.mark.parametrize("ask_id", ["", "x" * 201, "a\0b", 5, b"one"])
async def test_what_is_no_id_is_an_error_at_the_call(servers, ask_id):
    async with servers.node() as node:
        with pytest.raises(ValueError, match="id"):
            node.ref("test.account").ask(Put(1), id=ask_id)


async def test_one_in_hand_that_is_refused_is_refused_to_all_who_asked_it_and_runs_once():
    handled: list[Any] = []
    go = asyncio.Event()

    class Refusing(Till):
        @receives(Wait)
        async def wait(self, wait: Wait) -> int:
            self.handled.append(wait)
            await self.go.wait()
            raise Refused(f"{len(self.handled)} runs")

    async with MemoryServers().node(store="memory:") as node:
        await node.start(child(Refusing, handled, go))
        ref = node.ref("test.account")
        asked = [ref.ask(Wait(5), id="wait") for _ in range(3)]
        await until(lambda: handled)
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        for each in asked:
            with pytest.raises(Refused, match="1 runs"):
                await each
        assert handled == [Wait(5)]


async def test_an_answer_that_the_store_cannot_hold_leaves_its_question_free(monkeypatch):
    handled: list[Any] = []
    database = MemoryDatabase()
    bad = [ValueError("bad value")]
    whole = Tables.bad_value

    def once(tables: Tables, commit: StateCommit) -> ValueError | None:
        return bad.pop() if bad and commit.rights else whole(tables, commit)

    async with MemoryServers().node(store=MemoryStore(database)) as node:
        await node.start(Supervisor.of(child(Account, "test.account", handled), max_restarts=9))
        ref = node.ref("test.account")
        monkeypatch.setattr(Tables, "bad_value", once)
        with pytest.raises(RemoteError, match="bad value"):
            await ref.ask(Put(5), id="one")
        assert await ref.ask(Put(5), id="one") == 5
        assert handled == [Put(5)] * 2


@pytest.mark.parametrize("ask_id", ["x" * 201, "a\0b"])
async def test_an_id_that_no_store_takes_is_refused_from_whoever_sends_it(monkeypatch, ask_id):
    handled: list[Any] = []
    monkeypatch.setattr(service, "_ASK_ID", Rule("anything", lambda _: True))
    async with MemoryServers().node(store="memory:") as node:
        await node.start(child(Account, "test.account", handled))
        with pytest.raises(Refused, match="200 characters, and no NUL"):
            await node.ref("test.account").ask(Put(5), id=ask_id)
        assert handled == []
