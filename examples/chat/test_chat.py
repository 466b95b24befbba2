"""Two people and an archive, on real sockets in one process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from irismq_runtime import Node
from supervisors import child

from .archive import ARCHIVE, Archive
from .messages import History, Said
from .people import PEOPLE
from .talk import talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Terminal:
    """A person's keyboard and screen."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._changed = asyncio.Event()

    def type(self, line: str) -> None:
        """Press the keys of a line."""
        self._keys.put_nowait(line)

    async def lines(self) -> AsyncIterator[str]:
        """What is typed."""
        while True:
            yield await self._keys.get()

    def show(self, line: str) -> None:
        """One more line on the screen."""
        self.shown.append(line)
        self._changed.set()

    async def shows(self, line: str) -> None:
        """Wait until the screen shows it."""
        async with asyncio.timeout(20):
            while line not in self.shown:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def person(name: str, host: Node) -> AsyncIterator[tuple[Node, Terminal]]:
    """Somebody at a terminal, in a node of their own, until they quit."""
    terminal = Terminal()
    nsqd, iris = host.endpoints["nsqd"], host.endpoints["iris"]
    async with Node(name=name, nsqd=nsqd, iris=iris, presence_period=0.2, drain=1.0) as node:
        talking = asyncio.create_task(talk(node, name, terminal.lines(), terminal.show))
        try:
            await terminal.shows(f"* {name} is here")
            yield node, terminal
            terminal.type("/quit")
        finally:
            await asyncio.wait_for(talking, timeout=20)


@pytest.fixture
async def host() -> AsyncIterator[Node]:
    """A node with the servers, and nobody on it."""
    async with Node.embedded(name="host", drain=1.0) as node:
        yield node


async def history(node: Node, count: int) -> list[Said]:
    """All that the archive has, once it has so many."""
    async with asyncio.timeout(20):
        while True:
            found = [said async for said in node.ref(ARCHIVE).stream(History())]
            if len(found) >= count:
                return found


async def members(node: Node, address: str, count: int) -> None:
    """Wait until presence knows so many members."""
    async with asyncio.timeout(20):
        while len(node.members(address)) < count:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0)


async def test_who_is_here_hears_what_is_said(host: Node) -> None:
    async with person("ada", host) as (_, ada):
        async with person("grace", host) as (node, grace):
            await ada.shows("* grace is here")
            ada.type("good day")
            await grace.shows("ada: good day")
            await ada.shows("ada: good day")
            await members(node, PEOPLE, 2)
            grace.type("/who")
            await grace.shows("* here: ada, grace")
        await ada.shows("* grace has left")


async def test_the_archive_has_what_was_said_while_it_was_away(host: Node, tmp_path: Path) -> None:
    keeping = child(Archive, tmp_path / "chat.jsonl", name="archive")
    archive = await host.start(keeping)
    async with person("ada", host) as (node, ada):
        ada.type("one")
        assert await history(host, 1) == [Said("ada", "one")]
        await archive.stop()
        ada.type("two")
        await ada.shows("ada: two")
        await host.start(keeping)
        assert await history(host, 2) == [Said("ada", "one"), Said("ada", "two")]
        await members(node, ARCHIVE, 1)
        ada.type("/history")
        await ada.shows("  ada: one")
        await ada.shows("  ada: two")
