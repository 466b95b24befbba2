"""`irismq outbox`: rows of durable actors are seen, moved and dropped."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from irismq_runtime.cli import codes
from irismq_runtime.cli.outbox import app
from irismq_runtime.messaging import Packer
from irismq_runtime.ports.state_store import ABSENT, OutboxRow, OwnedRight, StateKey
from irismq_runtime.stores import open_store
from irismq_runtime.wire import Kind, Serializer
from tests.contracts.state_store_support import ADA, a_message, told, written

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = StateKey("shop.cart"), StateKey("shop.basket")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with a row for each kind of receiver, and one that was put aside."""
    url = f"sqlite:///{tmp_path}/shop.db"
    packer = Packer("n1", Serializer())

    async def fill() -> None:
        store = open_store(url)
        await store.open("shop")
        rows = [
            a_message(OLD, packer.unsigned(Kind.TELL, {"sku": "\x1b[31mtea"}, {})[1]),
            a_message(OLD, b"\xc1\x01broken"),
            a_message(ADA),
            a_message(StateKey("shop.news"), b"{}", owned=False, ordered=False),
        ]
        rights = await told(store, OLD, *rows, a_message(OLD))
        await written(store, OLD, ABSENT, rights=[OwnedRight(rights[0].id, aside=True)])
        await store.revive([rights[0].id])
        await written(store, ADA, ABSENT, rights=[OwnedRight(rights[2].id, aside=True)])
        await store.close()

    asyncio.run(fill())
    return url


def run(*arguments: str, url: str) -> Any:
    return CliRunner().invoke(app, [*arguments], env={"IRISMQ_STORE": url})


def rows_of(url: str, address: str = "") -> list[OutboxRow]:
    async def look() -> list[OutboxRow]:
        store = open_store(url)
        await store.open(None)
        try:
            return await store.outbox(address)
        finally:
            await store.close()

    return asyncio.run(look())


def test_rows_are_listed_with_what_they_say_and_for_whom(url: str):
    told = run("list", "--json", url=url)
    assert told.exit_code == codes.OK
    rows = json.loads(told.stdout)
    assert [(row["to"], row["kind"]) for row in rows] == [
        ("shop.cart", "owned"),
        ("shop.cart", "owned"),
        ("shop.cart", "dead"),
        ("shop.news", "relayed"),
        ("shop.cart", "owned"),
    ]
    assert rows[0]["message"] == {"sku": "\x1b[31mtea"}
    assert "\x1b" not in told.stdout  # a terminal would obey it
    assert rows[1]["message"].startswith("(unreadable")
    assert rows[0]["waits"] >= 0
    assert [row["to"] for row in json.loads(run("list", "shop.news", url=url).stdout)] == [
        "shop.news"
    ]
    cut = run("list", "--limit", "1", url=url)
    assert len(json.loads(cut.stdout)) == 1
    assert "there are more" in cut.stderr


def test_a_beginning_that_means_several_rows_is_refused_and_names_them(url: str):
    ids = [row.id.hex() for row in rows_of(url, "shop.cart")]
    common = ids[0][:20]  # those of one process begin alike
    for verb, *more in (("move", "shop.basket"), ("drop",)):
        for given, code, says in (
            (common, codes.FAILED, "more than one id begins with"),
            ("", codes.USAGE, "an empty id"),
        ):
            ended = run(verb, "shop.cart", *more, "--id", given, url=url)
            assert (ended.exit_code, says in ended.stderr) == (code, True), ended.stderr
            assert not given or ids[0] in ended.stderr
    assert len(rows_of(url, "shop.cart")) == len(ids)


def test_rows_are_moved_to_an_address_of_any_kind_but_dead_ones_and_those_of_keys(url: str):
    assert run("move", "shop.cart", "shop.basket", url=url).exit_code == codes.USAGE
    dry = run("move", "shop.cart", "shop.basket", "--all", "--dry-run", url=url)
    assert "3 rows would be moved" in dry.stderr
    assert [row.to for row in rows_of(url, "shop.cart")] == [OLD, OLD, ADA, OLD]
    first = rows_of(url)[0].id.hex()
    one = run("move", "shop.cart", "shop.basket", "--id", first, url=url)
    assert (one.exit_code, one.stderr) == (codes.OK, "1 row moved\n")
    moved = run("move", "shop.cart", "shop.basket", "--all", url=url)
    assert moved.exit_code == codes.FAILED  # that of an entity was left
    assert "2 rows moved" in moved.stderr
    assert [row.to for row in rows_of(url, "shop.cart")] == [ADA]
    rows = rows_of(url, "shop.basket")
    assert {(row.to, row.owned, row.channel) for row in rows} == {(NEW, False, "mailbox")}


def test_what_is_moved_to_a_durable_actor_of_the_store_is_its_own(url: str):
    async def begin() -> None:
        store = open_store(url)
        await store.open(None)
        await written(store, NEW, ABSENT, b"s")
        await store.close()

    asyncio.run(begin())
    run("move", "shop.cart", "shop.basket", "--all", url=url)
    assert {(row.to, row.owned) for row in rows_of(url, "shop.basket")} == {(NEW, True)}
    run("move", "shop.news", "shop.basket", "--all", url=url)
    event = rows_of(url, "shop.basket")
    assert sorted(row.owned for row in event) == [False, True, True, True]


def test_dropped_rows_are_gone_and_others_stay(url: str):
    assert run("drop", "shop.cart", url=url).exit_code == codes.USAGE
    dropped = run("drop", "shop.cart", "--all", url=url)
    assert "3 rows dropped" in dropped.stderr
    assert [row.to for row in rows_of(url)] == [ADA, StateKey("shop.news")]
