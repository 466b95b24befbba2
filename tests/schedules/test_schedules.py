"""Schedules: each occurrence told once, by one node of all that share the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from actors import Refused
from irismq_runtime import ConfigError
from irismq_runtime.entities import ownership as ownership_module
from irismq_runtime.messaging import mailbox_topic
from irismq_runtime.schedules import schedules as schedules_module
from irismq_runtime.schedules.schedule import SchedulePlan, times_of
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from supervisors import child
from tests.contracts.state_store_support import place_of
from tests.node.helpers import MemoryServers
from tests.schedules.helpers import Bell, Chime, Heard, Tower, Towers
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable

#: Far enough away not to come in a test.
DAY = 86400.0


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> MemoryServers:
    monkeypatch.setattr(ownership_module, "BEAT", 0.05)
    monkeypatch.setattr(ownership_module, "_EXPECTING", 0.02)
    return MemoryServers()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path) -> Callable[[], Any]:
    """Makes stores that share what they keep."""
    return place_of(request, tmp_path).client


async def heard(ref: Any) -> list[str]:
    return list((await ref.ask(Heard(), timeout=60.0)).heard)


async def listening(ref: Any, count: int) -> None:
    """Wait until it has heard so many."""
    while len(await heard(ref)) < count:  # each look is an ask
        pass


async def test_a_schedule_tells_actors_durable_ones_and_entities_again_and_again(servers, store):
    plain: list[str] = []
    async with servers.node(store=store()) as node:
        await node.start(child(Bell, plain))
        await node.start(Tower)
        await node.start(Towers)
        targets = (node.ref("test.bell"), node.ref("test.tower"), node.entity("test.towers", "n"))
        for number, target in enumerate(targets):
            added = await node.schedules.add(f"s{number}", Chime(), to=target, every=0.04)
            assert added is True
        await until(lambda: len(plain) >= 3)
        for target in targets[1:]:
            await listening(target, 3)
        state = await targets[2].ask(Heard())
        assert state.headers[0][0] == "s2"
        for number in range(3):
            assert await node.schedules.remove(f"s{number}") is True
        assert await node.schedules.list() == []


async def test_what_comes_once_is_told_once_and_is_gone_unless_it_was_taken_back(servers, store):
    plain: list[str] = []
    async with servers.node(store=store()) as node:
        await node.start(child(Bell, plain))
        bell, add = node.ref("test.bell"), node.schedules.add
        assert await add("soon", Chime(), to=bell, after=0.02) is True
        assert await add("never", Chime(), to=bell, after=timedelta(seconds=DAY)) is True
        at = datetime(2100, 1, 1, tzinfo=UTC)
        assert await add("at", Chime(), to=bell, at=at) is True
        assert await add("at", Chime(), to=bell, at=at) is False
        await until(lambda: len(plain) == 1)
        while len(found := await node.schedules.list()) != 2:  # each look is a read
            pass
        assert [each.name for each in found] == ["at", "never"]
        assert (found[0].due, found[0].every, found[0].cron) == (at, None, None)
        assert found[0].message == {"text": "bong"}
        assert timedelta(0) < found[1].due - found[1].since <= timedelta(seconds=DAY)
        assert await node.schedules.pause("at") is True
        assert await node.schedules.resume("at") is True
        assert (await node.schedules.find("at")).due == at
        assert await node.schedules.remove("never") is True
        assert await node.schedules.remove("soon") is False
        assert len(plain) == 1
        for wrong in (
            {},
            {"after": 1.0, "at": at},
            {"after": 1.0, "every": 1.0},
            {"cron": "0 3 * * *", "at": at},
            {"cron": "0 3 * * *", "after": 1.0},
            {"after": -1.0},
            {"after": 1.0, "misfire": "skip"},
            {"at": datetime(2020, 1, 1, tzinfo=UTC)},
            {"at": datetime(2100, 1, 1)},  # noqa: DTZ001  # what is refused
            {"at": datetime(9999, 1, 1, tzinfo=UTC)},
            {"every": 1.0, "at": datetime(9999, 1, 1, tzinfo=UTC)},
        ):
            with pytest.raises(ValueError, match=r"say when|after|time zone|past|misfire|away"):
                await add("wrong", Chime(), to=bell, **wrong)


async def test_what_was_set_stands_in_the_store_and_set_again_changes_nothing(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Towers)
        target = node.entity("test.towers", "north")
        nightly: dict[str, Any] = {"to": target, "cron": "0 3 * * *", "tz": "Europe/Berlin"}
        assert await node.schedules.add("nightly", Chime(), **nightly) is True
        assert await node.schedules.add("nightly", Chime(), **nightly) is False
        start = datetime.now(UTC) - timedelta(days=400)
        hourly: dict[str, Any] = {"to": target, "every": timedelta(hours=1), "at": start}
        assert await node.schedules.add("hourly", Chime("dong"), **hourly) is True
    async with servers.node(store=store()) as node:
        await node.start(Towers)
        target = node.entity("test.towers", "north")
        before = await node.schedules.list()
        assert await node.schedules.add("nightly", Chime(), **{**nightly, "to": target}) is False
        assert (
            await node.schedules.add("hourly", Chime("dong"), **{**hourly, "to": target}) is False
        )
        assert await node.schedules.list() == before
        assert [each.name for each in before] == ["hourly", "nightly"]
        found = await node.schedules.find("nightly")
        assert found is not None
        assert (found.to, found.type) == ("test.towers/north", "test.chime")
        assert (found.cron, found.tz, found.every) == ("0 3 * * *", "Europe/Berlin", None)
        assert found.due is not None
        assert found.due.astimezone(UTC).minute == 0
        assert before[0].due is not None
        steps = (before[0].due - start) / timedelta(hours=1)
        assert steps == pytest.approx(round(steps), abs=1e-6)
        assert await node.schedules.add("nightly", Chime("x"), **{**nightly, "to": target}) is True
        assert await node.schedules.find("none") is None


async def test_one_that_is_paused_tells_nothing_until_it_is_resumed_and_can_be_run_by_hand(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Tower)
        tower, schedules = node.ref("test.tower"), node.schedules
        await schedules.add("quick", Chime(), to=tower, every=0.02)
        await listening(tower, 2)
        assert await schedules.pause("quick") is True
        assert await schedules.pause("quick") is False
        paused = await schedules.find("quick")
        assert paused is not None
        assert (paused.paused, paused.due) == (True, None)
        await schedules.run("quick")
        await listening(tower, paused.told + 1)
        assert await schedules.add("quick", Chime("new"), to=tower, every=0.03) is True
        again = await schedules.find("quick")
        assert again is not None
        assert again.paused
        assert again.told == paused.told + 1
        assert len(await heard(tower)) == again.told
        assert await schedules.resume("quick") is True
        assert await schedules.resume("quick") is False
        await listening(tower, again.told + 2)
        assert (await heard(tower))[-1] == "new"


async def test_what_came_due_while_no_node_ran_is_told_once_and_says_how_many_were_missed(
    servers, store
):
    async with servers.node(store=store()) as node:
        await node.schedules.add("s", Chime(), to=node.ref("test.tower"), every=1.0)
    async with servers.node(store=store()) as node:  # it has not named the schedule
        await node.start(Tower)
        tower = node.ref("test.tower")
        await listening(tower, 1)
        found = await node.schedules.find("s")
        assert found is not None
        told = await tower.ask(Heard())
        assert found.told <= len(told.heard) + 1
        assert all(name == "s" for name, _ in told.headers)


async def test_a_node_that_came_before_the_first_schedule_works_on_it_when_its_owner_has_gone(
    servers, monkeypatch
):
    monkeypatch.setattr(schedules_module, "_LOOK", DAY)  # what presence says is enough
    database = MemoryDatabase()
    async with servers.node("two", store=MemoryStore(database)) as two:
        await two.start(Tower)
        async with servers.node("one", store=MemoryStore(database)) as one:
            await one.schedules.add("s", Chime(), to=one.ref("test.tower"), every=0.05)
            await listening(two.ref("test.tower"), 2)
            await until(lambda: two.schedules._hosting is not None)
        count = len(await heard(two.ref("test.tower")))
        await listening(two.ref("test.tower"), count + 2)


async def test_a_paused_process_and_its_successor_tell_each_occurrence_once_together(servers):
    """Two hosts that both believe they own a schedule: each occurrence is one commit."""
    database = MemoryDatabase()
    async with (
        servers.node("one", store=MemoryStore(database)) as one,
        servers.node("two", store=MemoryStore(database)) as two,
    ):
        await one.start(Tower)
        await one.schedules.add("s", Chime(), to=one.ref("test.tower"), every=0.05)
        await until(lambda: two.schedules._hosting is not None and two.schedules._hosting.done())
        owners = [node.parts.durable.above[ownership_module.Ownership] for node in (one, two)]
        await listening(one.ref("test.tower"), 1)
        holds = {host.address: host for owner in owners for host in owner._hosts.values()}
        assert set(holds) == {"irismq.schedule"}
        for owner in owners:  # each works on all of them, whatever the rows say
            host = owner._hosts["irismq.schedule"]
            for shard in range(host.shards):
                await host.begin(shard)
        before = len(await heard(one.ref("test.tower")))
        await listening(one.ref("test.tower"), before + 4)
        await one.schedules.pause("s")
        found = await one.schedules.find("s")
        assert found is not None
        await listening(one.ref("test.tower"), found.told)
        assert len(await heard(one.ref("test.tower"))) == found.told


def test_a_clock_that_is_set_back_or_ahead_moves_no_occurrence():
    plan = SchedulePlan("a", "", 0, "t", b"", every=10.0)
    assert times_of(plan, 1000.0, 1025.0).due == 1030.0
    assert times_of(plan, 1000.0, 25.0).due == 1000.0
    assert times_of(plan, 0.0, 25.0).due == 35.0
    cron = SchedulePlan("a", "", 0, "t", b"", cron="0 0 * * *")
    assert times_of(cron, 1000.0, 0.0).due == DAY
    with pytest.raises(ValueError, match="cron="):
        times_of(SchedulePlan("a", "", 0, "t", b"", cron="no"), 0.0, 0.0)


async def test_what_has_no_meaning_is_an_error_at_the_call_that_names_it(servers):
    async with servers.node(store=MemoryStore()) as node, servers.node("bare") as bare:
        ref = node.ref("test.tower")
        bad: list[tuple[dict[str, Any], str]] = [
            ({}, "say when"),
            ({"cron": "* * * * *", "every": 1.0}, "say when"),
            ({"cron": "* * * * *", "at": datetime.now(UTC)}, "say when"),
            ({"cron": "61 * * * *"}, "cron="),
            ({"cron": "0 3 * * *", "tz": "Europe/Nowhere"}, "tzdata"),
            ({"every": 0.0}, "every="),
            ({"every": 1.0, "at": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001  # that is it
            ({"every": 1.0, "misfire": "maybe"}, "misfire="),
            ({"every": 1.0, "to": "test.tower"}, "no ref"),
            ({"every": 1.0, "to": node.ref("test.tower", foreign="json")}, "no ref"),
        ]
        for options, text in bad:
            with pytest.raises(ValueError, match=text):
                await node.schedules.add("s", Chime(), **{"to": ref, **options})
        with pytest.raises(ValueError, match="name"):
            await node.schedules.add("", Chime(), to=ref, every=1.0)
        for verb in ("pause", "resume", "run"):
            with pytest.raises(Refused, match="no schedule 'none'") as refused:
                await getattr(node.schedules, verb)("none")
            assert refused.value.code == "no-schedule"
        assert await node.schedules.remove("none") is False
        assert not servers.broker.bodies(mailbox_topic("irismq.schedule"))
        await node.schedules.add("s", Chime(), to=ref, every=DAY)
        with pytest.raises(Refused, match="no schedule 'none'"):
            await node.schedules.pause("none")
        with pytest.raises(ConfigError, match="store"):
            assert bare.schedules
