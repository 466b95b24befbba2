"""A rolling upgrade: what only newer code knows reaches the member that runs it (181)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.errors import Refused
from tests.integration.processes import running
from tests.integration.versions import ADDRESS, Colour, Cut, Move, Paint, Pay, Unheard, Wrap
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import Any

    from tests.integration.processes import Process

EACH = 6
NEWS: dict[str, Callable[[int], object]] = {
    "a new type": Unheard,
    "a new member of an enum": lambda n: Paint(n, Colour.BLUE),
    "a new literal": lambda n: Cut(n, "xl"),
    "a new member of a union": lambda n: Pay(n, "much"),
    "a field that is missed": Move,
    "a type without a handler": Wrap,
}


def member(servers: Any, version: int, journal: Path) -> AbstractAsyncContextManager[Process]:
    return running(
        *("run", "tests.integration.versions:Works", "--name", f"v{version}", *servers.flags),
        VERSIONS_JOURNAL=str(journal),
        VERSION=str(version),
    )


@pytest.mark.timeout(120)
async def test_with_one_member_of_each_version_no_tell_and_no_ask_of_news_fails(servers, tmp_path):
    journal = tmp_path / "journal"
    async with (
        servers.node("asker") as node,
        member(servers, 1, journal) as old,
        member(servers, 2, journal) as new,
    ):
        await old.says("runs")
        await new.says("runs")
        await until(lambda: len(node.members(ADDRESS)) == 2)
        ref = node.ref(ADDRESS)
        answers = [
            ref.ask(make(number), timeout=20.0) for make in NEWS.values() for number in range(EACH)
        ]
        assert set(await asyncio.gather(*answers)) == {2}
        tells = [ref.tell(make(number)) for make in NEWS.values() for number in range(EACH)]
        await asyncio.gather(*tells)
        await until(lambda: len(handled(journal)) == len(NEWS) * EACH)
        assert {line.rsplit(" ", 1)[1] for line in handled(journal)} == {"2"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", NEWS)
async def test_if_no_member_knows_it_the_asker_gets_the_refusal(servers, tmp_path, kind):
    async with (
        servers.node("asker") as node,
        member(servers, 1, tmp_path / "1") as one,
        member(servers, 1, tmp_path / "2") as other,
    ):
        await one.says("runs")
        await other.says("runs")
        await until(lambda: len(node.members(ADDRESS)) == 2)
        with pytest.raises(Refused) as caught:
            await node.ref(ADDRESS).ask(NEWS[kind](1), timeout=30.0)
        assert caught.value.code in {"unknown-type", "invalid", "unhandled"}


def handled(journal: Path) -> set[str]:
    return set(journal.read_text().splitlines()) if journal.exists() else set()
