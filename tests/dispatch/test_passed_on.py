"""A durable message that its actor passes on, or puts aside, is handled once and finished."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import irismq_runtime.embedded  # noqa: F401  # read from disk before a loop runs
from actors import Actor, Event, Retry, receives
from irismq_runtime import Node
from supervisors import PartitionSupervisor, Supervisor, child
from tests.node.helpers import Add, Fail, MemoryServers, Total

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTLED = {"settlement.finished", "settlement.requeued", "settlement.buried"}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """One on real sockets: the leases of NSQ are what this is about."""
    options = {"requeue_base": 0.02}
    async with Node.embedded(name="node", drain=1.0, mailbox_options=options) as node:
        yield node


class Settlements:
    """What became of the stored messages of a node, in order."""

    def __init__(self, node: Node) -> None:
        self.names: list[str] = []
        self._more = asyncio.Event()
        node.system.events.subscribe(self._see)

    def _see(self, event: Event) -> None:
        if event.name in SETTLED:
            self.names.append(event.name)
            self._more.set()

    async def reach(self, count: int) -> list[str]:
        """Wait for so many."""
        async with asyncio.timeout(60):
            while len(self.names) < count:
                self._more.clear()
                await self._more.wait()
        return self.names


class Book(Actor):
    """One partition: adds, and fails as it is told."""

    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log

    @receives(Add)
    async def add(self, message: Add) -> None:
        await asyncio.sleep(0)
        self.log.append((message.amount, self.context.attempt))

    @receives(Fail)
    def fail(self, message: Fail) -> None:
        self.log.append((message.how, self.context.attempt))
        if self.context.attempt <= message.times:
            raise ValueError("boom")


class Books(PartitionSupervisor):
    """Serves an address, and gives each message to the child for its key."""

    address = "test.books"
    partitions = 2

    def key(self, message: Add | Fail) -> int:
        return message.amount if isinstance(message, Add) else 0


async def test_partitions_behind_an_address_handle_stored_messages(node: Node) -> None:
    log: list[Any] = []
    settlements = Settlements(node)
    books = child(Books, child(Book, log), name="books")
    await node.start(Supervisor.of(books, max_restarts=10))
    for number in range(4):
        await node.ref("test.books").tell(Add(number))
    assert await settlements.reach(4) == ["settlement.finished"] * 4
    assert sorted(log) == [(number, 1) for number in range(4)]


async def test_a_crash_behind_the_partitions_brings_the_message_again(node: Node) -> None:
    log: list[Any] = []
    settlements = Settlements(node)
    await node.start(child(Books, child(Book, log), name="books"))
    await node.ref("test.books").tell(Fail(times=1))
    settled = await settlements.reach(2)
    assert settled == ["settlement.requeued", "settlement.finished"]
    assert log == [("crash", 1), ("crash", 2)]


class Lines(Actor):
    """Writes down what it handles; fails once at the lines that it is told."""

    def __init__(self, log: list[Any], fails: dict[int, type[Exception]]) -> None:
        super().__init__()
        self.log, self.fails = log, fails

    @receives(Add)
    def add(self, message: Add) -> None:
        self.log.append((message.amount, self.context.attempt))
        if self.context.attempt == 1 and message.amount in self.fails:
            raise self.fails[message.amount]


class Keyed(PartitionSupervisor):
    """Two keys: even and odd."""

    address = "test.lines"
    partitions = 2

    def key(self, message: Add) -> int:
        return message.amount % 2


@pytest.mark.parametrize("failure", [ValueError, Retry])
async def test_the_order_of_a_key_holds_among_first_attempts_and_what_failed_comes_later(
    failure: type[Exception],
) -> None:
    """161: a crash at message 2 of a key gives 0, 1, 3, 4, ... and 2 when it comes again."""
    log: list[Any] = []
    world = MemoryServers()
    async with world.node("one") as one:
        await one.start(child(Keyed, child(Lines, log, {4: failure, 9: failure}), max_restarts=10))
        for number in range(40):
            await one.ref("test.lines").tell(Add(number))
        async with asyncio.timeout(60):
            while len(log) < 42:
                await asyncio.sleep(0)
    for key in (0, 1):
        mine = [(number, attempt) for number, attempt in log if number % 2 == key]
        first = [number for number, attempt in mine if attempt == 1]
        assert first == list(range(key, 40, 2)), "in order, each once, none waits for another"
        (again,) = [number for number, attempt in mine if attempt == 2]
        assert mine.index((again, 2)) > mine.index((again, 1))


class Narrow(Actor):
    """Has room for one that waits, and handles nothing until its gate is open."""

    inbox_limit = 1

    def __init__(self, log: list[int], busy: asyncio.Event, gate: asyncio.Event) -> None:
        super().__init__()
        self.log, self.busy, self.gate = log, busy, gate

    @receives(Add)
    async def add(self, message: Add) -> None:
        self.busy.set()
        await self.gate.wait()
        self.log.append(message.amount)


class OneKey(PartitionSupervisor):
    """All messages have the same key."""

    address = "test.lines"
    partitions = 1

    def key(self, message: Add) -> int:
        return 0


async def test_what_found_no_room_comes_behind_what_was_told_after_it() -> None:
    """161: the order of a key is that of the inbox; what did not get in has no place in it."""
    log: list[int] = []
    busy, gate = asyncio.Event(), asyncio.Event()
    world = MemoryServers()
    async with world.node("one") as one:
        settlements = Settlements(one)
        await one.start(child(OneKey, child(Narrow, log, busy, gate)))
        lines = one.ref("test.lines")
        await lines.tell(Add(0))
        await asyncio.wait_for(busy.wait(), timeout=60)
        for number in (1, 2):
            await lines.tell(Add(number))
        assert await settlements.reach(1) == ["settlement.requeued"]
        gate.set()
        assert await settlements.reach(3) == ["settlement.requeued", *["settlement.finished"] * 2]
        await lines.tell(Add(3))
        assert len(await settlements.reach(5)) == 5
    assert log == [0, 1, 3, 2]


async def test_a_message_that_finds_no_room_at_a_partition_uses_up_no_attempt(node: Node) -> None:
    """190: a partition that stays full makes no dead letters of good messages."""
    log: list[int] = []
    busy, gate = asyncio.Event(), asyncio.Event()
    settlements = Settlements(node)
    await node.start(child(OneKey, child(Narrow, log, busy, gate)))
    lines = node.ref("test.lines")
    await lines.tell(Add(0))
    await asyncio.wait_for(busy.wait(), timeout=60)
    for number in (1, 2):
        await lines.tell(Add(number))
    assert await settlements.reach(8) == ["settlement.requeued"] * 8
    gate.set()
    while settlements.names.count("settlement.finished") < 3:
        await settlements.reach(len(settlements.names) + 1)
    assert "settlement.buried" not in settlements.names
    assert sorted(log) == [0, 1, 2]


class Shut(Actor):
    """Puts everything aside until it is opened."""

    address = "test.shut"

    def __init__(self, log: list[int], aside: asyncio.Event) -> None:
        super().__init__()
        self.log = log
        self.aside = aside
        self.open = False

    @receives(Add)
    def add(self, message: Add) -> None:
        if not self.open:
            self.stash()
            self.aside.set()
            return
        self.log.append(message.amount)

    @receives(Total)
    def unlock(self, message: Total) -> None:
        self.open = True
        self.unstash_all()


async def test_a_stored_message_that_was_put_aside_is_handled_when_it_is_taken_up(
    node: Node,
) -> None:
    log: list[int] = []
    aside = asyncio.Event()
    settlements = Settlements(node)
    await node.start(child(Shut, log, aside))
    await node.ref("test.shut").tell(Add(1))
    await asyncio.wait_for(aside.wait(), timeout=60)
    await node.ref("test.shut").ask(Total())
    assert await settlements.reach(1) == ["settlement.finished"]
    assert log == [1]
