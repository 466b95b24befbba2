"""`irismq store`, and what `check` and `doctor` say of a store."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from irismq_runtime.cli import codes
from irismq_runtime.cli.server_identification import Level
from irismq_runtime.cli.store import app, judge_backlog, judge_shards, look_at_store
from irismq_runtime.ports.state_store import ABSENT, OutboxBacklog, OwnedRight
from irismq_runtime.stores import open_store
from tests.contracts.state_store_support import ADA, TEA, a_message, told, written

if TYPE_CHECKING:
    from pathlib import Path

    from irismq_runtime.ports.state_store import StateStore

#: Seconds that a store has to answer: far more than it needs.
PATIENT = 60.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with two rows that wait and one that was put aside."""
    url = f"sqlite:///{tmp_path}/shop.db"

    async def fill() -> None:
        store: StateStore = open_store(url)
        await store.open("shop")
        rights = await told(store, ADA, a_message(ADA), a_message(TEA, delay=60.0), a_message(ADA))
        await written(store, ADA, ABSENT, b"s", rights=[OwnedRight(rights[0].id, aside=True)])
        await store.close()

    asyncio.run(fill())
    return url


def test_a_store_is_shown_with_what_waits_in_it(url: str):
    told = CliRunner().invoke(app, ["show", "--store", url])
    assert told.exit_code == codes.OK
    assert told.output.splitlines() == [
        f"the store {url} answers: epoch 1, 3 outbox rows, 0 handled ids",
        "shop.cart  owned  1 waiting  1 put aside",
        "shop.stock  owned  1 waiting  0 put aside",
    ]
    shown = json.loads(
        CliRunner().invoke(app, ["show", "--json"], env={"IRISMQ_STORE": url}).output
    )
    assert (shown["url"], shown["namespace"], shown["outbox"]) == (url, "shop", 3)
    assert [each["address"] for each in shown["backlog"]] == ["shop.cart", "shop.stock"]


def test_accepting_a_store_begins_an_epoch_when_it_is_confirmed(url: str):
    declined = CliRunner().invoke(app, ["accept", "--store", url], input="n\n")
    assert declined.exit_code == codes.FAILED
    accepted = CliRunner().invoke(app, ["accept", "--store", url, "--yes"])
    assert accepted.exit_code == codes.OK
    assert accepted.output == f"the store {url} is in epoch 2\n"


@pytest.mark.parametrize("command", [["show"], ["accept", "--yes"]])
def test_where_there_is_no_store_none_is_made(tmp_path: Path, command: list[str]):
    missing = tmp_path / "shop.db"
    for arguments in ([], ["--store", f"sqlite:///{missing}"]):
        told = CliRunner().invoke(app, [*command, *arguments], env={"IRISMQ_STORE": ""})
        assert told.exit_code == codes.USAGE
    assert not missing.exists()


async def test_check_and_doctor_find_a_store_that_is_well(url: str):
    found = await look_at_store(url, PATIENT)
    assert [finding.level for finding in found] == [Level.OK, Level.NOTE]
    assert "put aside in the store for 'shop.cart': 1" in found[1].text


async def test_check_and_doctor_say_why_a_store_is_not_there(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    urls = {
        "mysql://root:hunter2@db/shop": ("installation", "no scheme"),
        f"sqlite:///{tmp_path}/shop.db": ("installation", "there is no store in it"),
        f"postgresql://ada:hunter2@127.0.0.1:{nobody}/shop": ("server", "does not answer"),
    }
    for url, (kind, text) in urls.items():
        [finding] = await look_at_store(url, PATIENT)
        assert (finding.level, finding.kind) == (Level.BAD, kind)
        assert text in finding.line
        assert "hunter2" not in finding.line


def test_what_waits_for_long_is_a_warning_with_what_to_do():
    fresh = OutboxBacklog("shop.cart", owned=True, waiting=9, dead=0, overdue=20.0)
    assert judge_backlog([fresh]) == []
    old = OutboxBacklog("shop.cart", owned=True, waiting=1200, dead=0, overdue=7200.0)
    relayed = OutboxBacklog("news", owned=False, waiting=1, dead=0, overdue=7200.0)
    lines = [finding.line for finding in judge_backlog([old, relayed])]
    waits = "for 120 min; start a node that serves it, or see irismq outbox list"
    assert lines[0] == f"in the store 1,200 wait for 'shop.cart', the oldest {waits}"
    assert lines[1].endswith("see that a broker takes them")


def test_shards_without_an_owner_that_is_there_are_a_warning_with_what_to_do():
    there = {"a-1", "b-2"}
    well = judge_shards("shop.cart", ["a-1", "b-2", "a-1"], there)
    assert (well.level, well.text) == (Level.OK, "entities of 'shop.cart': 3 shards on 2 nodes")
    ill = judge_shards("shop.cart", ["a-1", "gone-3", ""], there)
    assert ill.level == Level.WARN
    assert "2 of the 3 shards of 'shop.cart' belong to no node that is there" in ill.line
    assert "irismq entity shards shop.cart" in ill.line
