"""A database that all machines share: a server on one of its own, and what nodes have of it.

The server is the store in memory, which is as unkind as a database: rows are locked, other
transactions go on between the steps of one, and each step takes time. It stands for a
PostgreSQL; what was committed is on its disk, and stays over a kill. A call to it takes the
way over the network, there and back: it is slow where the network is, and fails where nothing
comes through or the server dies. Whether it was done is unknown once it has arrived.

A transaction of a program's own (`self.sql`) needs a database that knows SQL, which this is
not: that is for a store of one machine (`databases`), and for tests with a real server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.simulation.conditions import draws
from irismq_runtime.simulation.errors import ProcessKilled
from irismq_runtime.simulation.host_keeper import HostKeeper
from irismq_runtime.stores.last_fault import LastFault
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irismq_runtime.errors import SendOutcome
    from irismq_runtime.ports import TransportHealth
    from irismq_runtime.ports.state_store import StoreInfo
    from irismq_runtime.simulation.host import SimulatedHost
    from irismq_runtime.simulation.invariants import Life
    from irismq_runtime.simulation.paths import Path
    from irismq_runtime.simulation.witness import Witness
    from irismq_runtime.stores.memory.tables import Tables

__all__ = ["DatabaseMachine", "SharedStore"]

#: Seconds that a call waits for a way that is blocked, and between two looks at it.
_PATIENCE: Final = 10.0
_LOOK: Final = 0.2
#: Seconds that one step of a transaction takes, at least and at most.
_STEP: Final = (20e-6, 2e-3)
_URL: Final = "memory://database"


class DatabaseMachine:
    """The machine with the server.

    Args:
        host: What it runs on.
        witness: Hears of its lives.
    """

    def __init__(self, host: SimulatedHost, witness: Witness) -> None:
        self.keeper = HostKeeper(host, self._run, witness)
        self._id = b"the database\0\0\0\0"
        self._tables: Tables | None = None
        self._store: MemoryStore | None = None

    async def _run(self, life: Life) -> None:
        del life
        loop: Any = asyncio.get_running_loop()
        takes = draws(loop.new_random(), _STEP)

        async def step(_: str) -> None:
            await asyncio.sleep(takes())

        database = MemoryDatabase(step=step, store_id=self._id)
        if self._tables is not None:
            database.tables = self._tables
        self._tables = database.tables
        store = MemoryStore(database)
        if self._tables.namespace is not None:
            await store.open(self._tables.namespace)
        self._store = store
        over = asyncio.Event()

        async def end() -> None:
            over.set()

        self.keeper.end = end
        await over.wait()

    @property
    def runs(self) -> bool:
        """Whether it takes calls."""
        return self.keeper.end is not None

    async def call(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Have the server do it; on any loop. Raises `StoreUnavailable`, and what it raises."""
        store = self._store
        if store is None or not self.runs:
            raise StoreUnavailable(_URL, "away", "connection refused")
        try:
            return await self.keeper.host.call(_done(store, name), *args, options)
        except ProcessKilled as error:
            raise StoreUnavailable(
                _URL, "away", "the connection was lost", outcome="unknown"
            ) from error

    def outbox(self) -> Iterator[tuple[str, float]]:
        """Yield the id of each message that waits here, and in how many seconds it is due."""
        if self._tables is not None:
            now = self.keeper.host.wall_time
            for row in self._tables.rows.values():
                if not row.dead:
                    yield row.id.hex(), max(0.0, row.due - now)


def _done(store: MemoryStore, name: str) -> Callable[..., Any]:
    async def do(*given: Any) -> Any:
        *args, options = given
        return await getattr(store, name)(*args, **options)

    return do


def _asked(name: str, *, writing: bool = True) -> Any:
    """Return the method of that name: it has the server do the same."""

    async def ask(self: SharedStore, *args: Any, **options: Any) -> Any:
        return await self.ask(name, args, options, writing=writing)

    ask.__doc__ = f"See `StateStore.{name}`."
    return ask


class SharedStore:
    """Fills `StateStore` for the node of one machine.

    Args:
        machine: Where the server is.
        way: The path to it.
    """

    def __init__(self, machine: DatabaseMachine, way: Path) -> None:
        self._machine = machine
        self._way = way
        self._last = LastFault()
        self._info: StoreInfo | None = None

    async def open(self, namespace: str | None = "") -> StoreInfo:
        """See `StateStore.open`."""
        self._info = await self.ask("open", (namespace,), {}, writing=True)
        return self.info

    async def close(self) -> None:
        """See `StateStore.close`."""
        self._info = None

    @property
    def info(self) -> StoreInfo:
        """See `StateStore.info`."""
        if self._info is None:
            raise StoreUnavailable(_URL, "away", "the store is not open")
        return self._info

    def health(self) -> TransportHealth:
        """See `StateStore.health`."""
        return self._last.health()

    async def look(self) -> StoreInfo:
        """See `StateStore.look`."""
        self._info = await self.ask("look", (), {}, writing=False)
        return self.info

    async def ask(
        self, name: str, args: tuple[Any, ...], options: dict[str, Any], *, writing: bool
    ) -> Any:
        """Have the server do what the port calls `name`. Raises `StoreUnavailable`."""
        with self._last.noticing(writing=writing):
            await self._go(self._way, "not sent")
            answer = await self._machine.call(name, args, options)
            await self._go(self._way.back, "unknown")
            return answer

    async def _go(self, way: Path, outcome: SendOutcome) -> None:
        """Take the way in one direction."""
        waited = 0.0
        while way.blocked:
            if waited >= _PATIENCE:
                raise StoreUnavailable(_URL, "away", "no answer", outcome=outcome)
            await asyncio.sleep(_LOOK)
            waited += _LOOK
        await asyncio.sleep(way.delay())

    accept = _asked("accept")
    load = _asked("load", writing=False)
    scan = _asked("scan", writing=False)
    commit = _asked("commit")
    begin = _asked("begin", writing=False)
    standing = _asked("standing", writing=False)
    kept_answer = _asked("kept_answer", writing=False)
    forget_handled = _asked("forget_handled")
    rows = _asked("rows", writing=False)
    rows_between = _asked("rows_between", writing=False)
    missing = _asked("missing", writing=False)
    due = _asked("due", writing=False)
    release = _asked("release")
    unconfirmed = _asked("unconfirmed", writing=False)
    put_off = _asked("put_off")
    forget = _asked("forget")
    revive = _asked("revive")
    outbox = _asked("outbox", writing=False)
    readdress = _asked("readdress")
    backlog = _asked("backlog", writing=False)
    sizes = _asked("sizes", writing=False)
    tidy = _asked("tidy")
