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
from tests.durability.test_reminders import Alarms, SetAlarm
from tests.entities.helpers import Device, Read, Report

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
