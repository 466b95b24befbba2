"""Reminders: kept with a commit, told at their time, once for each occurrence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from actors import Refused, message, receives
from irismq_runtime import Durable, Entity
from irismq_runtime.stores.memory import MemoryStore
from tests.contracts.state_store_support import place_of
from tests.node.helpers import MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable


@message("test.alarm-state")
@dataclass
class AlarmState:
    rung: list[str] = field(default_factory=list)


@message("test.set-alarm")
@dataclass(frozen=True)
class SetAlarm:
    name: str
    text: str
    options: dict[str, Any]
    fail: bool = False


@message("test.ring")
@dataclass(frozen=True)
class Ring:
    text: str


@message("test.drop-alarm")
@dataclass(frozen=True)
class DropAlarm:
    name: str


@message("test.rung")
@dataclass(frozen=True)
class Rung:
    pass


@message("test.end-alarms")
@dataclass(frozen=True)
class EndAlarms:
    pass


#: What has rung, in the order in which it did.
HEARD: list[str] = []


class Ringing:
    """What both of them do."""

    state: AlarmState
    refuses = (ValueError,)
    crashes = 0

    @receives(SetAlarm)
    def set(self, alarm: SetAlarm) -> bool:
        replaced = self.remind(alarm.name, Ring(alarm.text), **alarm.options)
        if alarm.fail:
            raise Refused("not this one")
        return replaced

    @receives(DropAlarm)
    def drop(self, alarm: DropAlarm) -> bool:
        return self.forget(alarm.name)

    @receives(Ring)
    async def ring(self, ring: Ring) -> None:
        HEARD.append(ring.text)
        self.state.rung.append(ring.text)
        if ring.text == "crash" and type(self).crashes > 0:
            type(self).crashes -= 1
            raise RuntimeError("it rang too loud")

    @receives(EndAlarms)
    def end_all(self, _: EndAlarms) -> None:
        self.end()

    @receives(Rung)
    def rung(self, _: Rung) -> list[Any]:
        return [self.state.rung, [each.name for each in self.reminders()]]


class Alarm(Ringing, Durable):
    address = "test.alarm"
    state: AlarmState


class Alarms(Ringing, Entity):
    address = "test.alarms"
    shards = 2
    idle = 0.05
    state: AlarmState


@pytest.fixture
def servers() -> MemoryServers:
    HEARD.clear()
    return MemoryServers()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path) -> Callable[[], Any]:
    """Makes stores that share what they keep."""
    return place_of(request, tmp_path).client


async def rung(ref: Any) -> list[str]:
    return (await ref.ask(Rung()))[0]


async def names(ref: Any) -> list[str]:
    return (await ref.ask(Rung()))[1]


async def when(ref: Any, texts: list[str]) -> None:
    """Wait until these have rung, and no others."""
    await until(lambda: len(HEARD) >= len(texts))
    assert await rung(ref) == texts
    HEARD.clear()


async def test_a_reminder_comes_once_at_its_time_to_an_actor_and_to_an_entity(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Alarm)
        await node.start(Alarms)
        for ref in (node.ref("test.alarm"), node.entity("test.alarms", "ada")):
            assert await ref.ask(SetAlarm("a", "one", {"after": 0.02})) is False
            await when(ref, ["one"])
            assert await names(ref) == []
        assert await node.parts.durable.store.backlog() == []


async def test_one_that_is_set_again_or_forgotten_or_never_committed_does_not_come(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Alarm)
        ref = node.ref("test.alarm")
        await ref.ask(SetAlarm("a", "never", {"after": 0.05}))
        assert await ref.ask(SetAlarm("a", "later", {"after": 1.0})) is True
        await ref.ask(SetAlarm("b", "never", {"after": 0.05}))
        assert await ref.ask(DropAlarm("b")) is True
        assert await ref.ask(DropAlarm("b")) is False
        with pytest.raises(Refused):
            await ref.ask(SetAlarm("c", "never", {"after": 0.01}, fail=True))
        assert await names(ref) == ["a"]
        await when(ref, ["later"])
        durable = node.parts.durable.store
        # Two that are let go, the one that is due and what it tells; one may be published twice.
        await until(lambda: node.parts.dispatch.counters.finished >= 4)
        assert await durable.backlog() == []
        assert await rung(ref) == ["later"]


async def test_what_is_left_of_a_reminder_counts_for_nothing_in_the_next_life_of_its_key(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Alarms)
        ref = node.entity("test.alarms", "ada")
        for _ in range(3):  # the rows of the first two are due when the third has begun
            await ref.ask(SetAlarm("a", "again", {"every": 1.2}))
            await ref.ask(EndAlarms())
        await ref.ask(SetAlarm("a", "again", {"every": 1.2}))
        await until(lambda: node.parts.dispatch.counters.finished >= 5)
        assert HEARD == ["again"]
        while len(await node.parts.durable.store.outbox("", 10)) != 1:
            await asyncio.sleep(0)  # the row of the one that was handled goes after its FIN


async def test_what_is_due_while_no_node_runs_comes_when_one_does(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Alarms)
        ref = node.entity("test.alarms", "ada")
        await ref.ask(SetAlarm("a", "late", {"after": 3.0}))
        await ref.ask(SetAlarm("p", "again", {"every": 3600.0, "after": 7200.0}))
        assert not any(servers.broker.bodies(topic) for topic in ("test.alarms",))
    async with servers.node(store=store()) as node:
        await node.start(Alarms)
        ref = node.entity("test.alarms", "ada")
        await when(ref, ["late"])
        assert await names(ref) == ["p"]


async def test_a_periodic_one_goes_on_though_a_handler_crashes(servers):
    async with servers.node(store=MemoryStore()) as node:
        Alarms.crashes = 2
        await node.start(Alarms)
        ref = node.entity("test.alarms", "ada")
        await ref.ask(SetAlarm("a", "crash", {"every": 0.03}))

        await until(lambda: len(HEARD) >= 5)
        assert Alarms.crashes == 0


async def test_what_has_no_meaning_is_an_error_that_names_it(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Alarm)
        ref = node.ref("test.alarm")
        bad: list[tuple[dict[str, Any], str]] = [
            ({}, "say when"),
            ({"after": 1.0, "cron": "* * * * *"}, "say when"),
            ({"every": 1.0, "cron": "* * * * *"}, "say when"),
            ({"after": -1.0}, "after="),
            ({"every": 0.0001}, "every="),
            ({"every": 0.0}, "every="),
            ({"cron": "61 * * * *"}, "cron="),
            ({"cron": "0 0 31 2 *"}, "cron="),
            ({"cron": 5}, "cron="),
            ({"cron": "0 3 * * *", "tz": "Europe/Nowhere"}, "tzdata"),
            ({"after": 1.0, "tz": "UTC"}, "tz="),
            ({"after": 1.0, "misfire": "maybe"}, "misfire="),
            ({"after": 1.0, "grace": -1.0}, "grace="),
            ({"at": datetime.now(UTC) - timedelta(seconds=5)}, "in the past"),
        ]
        for options, text in bad:
            with pytest.raises(Exception, match=text):
                await ref.ask(SetAlarm("a", "x", options))
        with pytest.raises(Exception, match="name="):
            await ref.ask(SetAlarm("", "x", {"after": 1.0}))
        assert await names(ref) == []
