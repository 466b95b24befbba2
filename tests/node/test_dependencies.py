"""What a node is given for its actors: made once, in order, and closed after its trees."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Protocol

import pytest

from actors import Actor, exposed
from irismq_runtime import ConfigError, Node, current_node
from irismq_runtime.node import dependencies as dependencies_module
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers
from tests.support.walk import walk


class Pool: ...


class Client: ...


class Settings: ...


class Exits: ...


class Speaks(Protocol):
    def speak(self) -> str: ...


@pytest.fixture
def log():
    return []


class User(Actor):
    address = "needs.user"

    def __init__(self, log):
        self.log = log
        self.pool = current_node().dependency(Pool)

    async def on_stop(self, _exit):
        self.log.append("user stopped")

    @exposed
    def same(self):
        return self.pool is current_node().dependency(Pool)


def opening(log, kind, name):
    @asynccontextmanager
    async def opened():
        log.append(f"{name} opened")
        try:
            yield kind()
        finally:
            log.append(f"{name} closed")

    return opened


async def test_each_is_made_once_and_closed_after_the_trees_the_last_one_first(log):
    made = {Pool: opening(log, Pool, "pool"), Client: opening(log, Client, "client")}
    async with MemoryServers().node(dependencies=made) as node:
        assert log == ["pool opened", "client opened"]
        await node.start(Supervisor.of(child(User, log)))
        assert await node.ref("needs.user").proxy().same() is True
        pool = node.dependency(Pool)
        assert pool is node.dependency(Pool)
    assert log[2:] == ["user stopped", "client closed", "pool closed"]
    with pytest.raises(ConfigError, match="Pool is closed"):
        node.dependency(Pool)
    with pytest.raises(ConfigError, match="given no Settings"):
        node.dependency(Settings)


async def test_whatever_makes_one_is_taken():
    left = []

    @contextmanager
    def plain():
        yield Client()
        left.append("plain")

    async def waits():
        await asyncio.sleep(0)
        return Settings()

    class Opens(Pool):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            left.append("opens")

    given = Opens()
    made = {Client: plain, Settings: waits, Pool: Opens, int: 5, Opens: given, Speaks: object()}
    async with MemoryServers().node(dependencies=made) as node:
        assert isinstance(node.dependency(Client), Client)
        assert isinstance(node.dependency(Settings), Settings)
        assert isinstance(node.dependency(Pool), Opens)
        assert node.dependency(int) == 5
        assert node.dependency(Opens) is given
        assert node.dependency(Speaks) is not None
    assert left == ["opens", "plain"]  # what was given open is left as it is


async def test_one_that_cannot_be_opened_fails_the_start_and_leaves_nothing_open(log):
    def fails():
        raise OSError("no database")

    async def exits():
        raise SystemExit(3)

    for wrong, error in (
        (fails, OSError),
        (exits, SystemExit),
        (lambda: 5, ConfigError),
        (opening([], Pool, "another"), ConfigError),
    ):
        del log[:]
        with pytest.raises(error):
            async with MemoryServers().node(
                dependencies={Pool: opening(log, Pool, "pool"), Client: wrong}
            ):
                pass
        assert log == ["pool opened", "pool closed"]


async def test_a_node_that_cannot_connect_closes_them(log):
    def away(config, system, node_id):
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        async with Node(transports=away, dependencies={Pool: opening(log, Pool, "pool")}):
            pass
    assert log == ["pool opened", "pool closed"]


async def test_one_that_fails_or_hangs_as_it_closes_is_logged_and_the_node_ends(
    log, caplog, monkeypatch
):
    monkeypatch.setattr(dependencies_module, "_LEAST", 0.01)

    @asynccontextmanager
    async def fails():
        yield Client()
        raise OSError("it was gone")

    @asynccontextmanager
    async def hangs():
        yield Settings()
        await asyncio.Event().wait()

    for made in ({Client: fails}, {Settings: hangs}):
        caplog.clear()
        pools = {Pool: opening(log, Pool, "pool")}
        async with MemoryServers().node(dependencies=pools | made, drain=0.01):
            pass
        assert next(iter(made)).__name__ in caplog.text
        assert log[-1] == "pool closed"


async def test_whatever_those_do_that_are_closed_each_is_closed_and_the_node_ends(
    log, caplog, monkeypatch
):
    monkeypatch.setattr(dependencies_module, "_LEAST", 0.01)
    let_go = asyncio.Event()

    def closing(kind, end):
        @asynccontextmanager
        async def opened():
            try:
                yield kind()
            finally:
                log.append(kind.__name__)
                await end()

        return opened

    async def hangs():
        await asyncio.Event().wait()

    async def swallows():
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    async def exits():
        raise SystemExit(3)

    def fails():
        raise OSError("no database")

    made = {Pool: closing(Pool, hangs), Client: closing(Client, swallows)}
    made |= {Settings: closing(Settings, hangs), Exits: closing(Exits, exits)}
    async with asyncio.timeout(30.0):
        async with MemoryServers().node(dependencies=made, drain=0.01):
            pass
        assert log == ["Exits", "Settings", "Client", "Pool"]
        for said in ("Exits failed", "Settings took", "Client does not end", "Pool took"):
            assert said in caplog.text
        del log[:]
        with pytest.raises(OSError, match="no database"):
            async with MemoryServers().node(dependencies=made | {int: fails}):
                pass
        assert log == ["Exits", "Settings", "Client", "Pool"]
        let_go.set()


def test_what_is_no_mapping_of_types_is_refused():
    with walk() as case:
        for wrong in (5, [Pool], {"Pool": Pool}, None):
            with case(wrong), pytest.raises(ConfigError, match="dependencies"):
                Node(dependencies=wrong)
