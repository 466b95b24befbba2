"""`irismq entity`: keys, states, owners and reminders are seen, and one is ended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from irismq_runtime import Node
from irismq_runtime.cli import codes
from irismq_runtime.cli.entity import app
from irismq_runtime.cli.store import look_at_store
from irismq_runtime.entities import ownership as ownership_module
from irismq_runtime.entities.placement import home_of
from irismq_runtime.messaging import shard_of
from tests.durability.test_reminders import Alarms, SetAlarm
from tests.entities.helpers import Device, Read, Report
from tests.node.helpers import MemoryServers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store in which some entities have a state."""

    async def fill() -> None:
        async with Node.embedded(data=tmp_path, drain=0.5) as node:
            await node.start(Device)
            await node.start(Alarms)
            for number in range(5):
                await node.entity("test.device", f"k{number}").ask(Report(number + 1))
            alarm = node.entity("test.alarms", "ada")
            await alarm.ask(SetAlarm("nightly", "ring", {"cron": "0 3 * * *"}))

    asyncio.run(fill())
    return f"sqlite:///{tmp_path / 'state.db'}"


def run(*arguments: str, url: str) -> Any:
    return CliRunner().invoke(app, [*arguments], env={"IRISMQ_STORE": url})


def test_entities_are_listed_shown_and_ended_and_their_shards_have_owners(url, tmp_path):
    listed = json.loads(run("list", "test.device", "--json", url=url).stdout)
    assert sorted(each["key"] for each in listed) == [f"k{number}" for number in range(5)]
    cut = run("list", "test.device", "--limit", "2", "--json", url=url)
    assert len(json.loads(cut.stdout)) == 2
    assert "there are more" in cut.stderr
    shown = json.loads(run("show", "test.device", "k3", url=url).stdout)
    assert shown["state"] == {"total": 4, "seen": [4]}
    assert shown["type"] == "test.device-state"
    assert shown["owner"] is None
    alarm = json.loads(run("show", "test.alarms", "ada", url=url).stdout)
    assert alarm["reminders"]["nightly"]["cron"] == "0 3 * * *"
    owners = json.loads(run("shards", "test.device", "--json", url=url).stdout)
    assert [each["shard"] for each in owners] == [0, 1, 2, 3]
    assert run("end", "test.device", "k3", "--yes", url=url).exit_code == 0
    assert "k3" not in run("list", "test.device", "--json", url=url).stdout

    async def again() -> int:
        async with Node.embedded(data=tmp_path, drain=0.5) as node:
            await node.start(Device)
            total = await node.entity("test.device", "k3").ask(Read())
            ended = await asyncio.to_thread(run, "shards", "test.device", "--json", url=url)
            live = json.loads(ended.stdout)
            assert {each["owner"] for each in live} == {node.id}
            return total

    assert asyncio.run(again()) == 0


async def test_shards_are_moved_to_another_node_and_back_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership_module, "BEAT", 0.05)
    monkeypatch.setattr(ownership_module, "_EXPECTING", 0.02)
    monkeypatch.setattr(ownership_module, "_ROUND", 0.0)
    url, servers = f"sqlite:///{tmp_path / 'state.db'}", MemoryServers()
    async with servers.node("one", store=url) as one, servers.node("two", store=url) as two:
        for node in (one, two):
            await node.start(Device)

        async def owners() -> list[str]:
            shown = await asyncio.to_thread(run, "shards", "test.device", "--json", url=url)
            return [each["owner"] for each in json.loads(shown.stdout)]

        async def move(*arguments: str, code: int = codes.OK) -> Any:
            ended = await asyncio.to_thread(run, "move", "test.device", *arguments, url=url)
            assert ended.exit_code == code, ended.output
            return ended

        assert await one.entity("test.device", "k3").ask(Report(3), timeout=30.0) == 3
        homes = [home_of("test.device", shard, [one.id, two.id]) for shard in range(4)]
        while await owners() != homes:  # until then some are between two owners
            pass
        looked = await look_at_store(url, 60.0)
        assert any("entities of 'test.device': 4 shards on" in each.text for each in looked)
        shard = shard_of("k3", 4)
        for node in (two, one):
            await move("k3", "--to", node.name)
            assert (await owners())[shard] == node.id
            assert await one.entity("test.device", "k3").ask(Read(), timeout=30.0) == 3
        assert "moved" in (await move("--from", two.id)).stderr
        assert set(await owners()) == {one.id}
        await move("--back")
        while await owners() != homes:
            pass
        for arguments, text in (
            ((), "say what moves"),
            (("k3",), "say what moves"),
            (("k3", "--from", "one"), "say what moves"),
            (("k3", "--to", "three"), "names 0 of the nodes"),
        ):
            assert text in (await move(*arguments, code=codes.USAGE)).stderr


def test_what_is_not_there_is_said(url):
    for arguments, text in (
        (("list", "test.nothing"), "test.nothing"),
        (("show", "test.device", "nobody"), "has a state"),
        (("end", "test.device", "nobody", "--yes"), "has a state"),
        (("show", "test.device", ""), "256"),
    ):
        ended = run(*arguments, url=url)
        assert ended.exit_code in {codes.FAILED, codes.USAGE}
        assert text in ended.stderr
