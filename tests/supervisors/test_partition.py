"""N like children: the same key is the same child, and order per key."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from typing import NamedTuple

import pytest

from actors import Actor, AskTimeout, MailboxFull, Refused
from supervisors import PartitionSupervisor, SpecError, child, partition, tree_of, which_children
from tests.supervisors.helpers import begun, crash
from tests.support.until import until


class Entry(NamedTuple):
    key: object
    number: int


class Ledger(Actor):
    def __init__(self, seen, gate=None):
        self.seen, self.gate = seen, gate

    async def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        if self.gate is not None:
            await self.gate.wait()
        self.seen[message.key].append((self.actor_ref.name, message.number))
        return self.actor_ref.name


async def test_one_key_is_one_child_and_keeps_its_order(world):
    system, _ = world
    seen = defaultdict(list)
    ref = await begun(PartitionSupervisor.of(child(Ledger, seen), partitions=4), system)
    for number in range(50):
        for key in ("a", "b", "c", 4, 5):
            ref.tell(Entry(key, number))
    await until(lambda: sum(map(len, seen.values())) == 250)
    for entries in seen.values():
        assert len({name for name, _ in entries}) == 1
        assert [number for _, number in entries] == list(range(50))
    assert {seen[4][0][0], seen[5][0][0]} == {"Ledger-0", "Ledger-1"}


async def test_a_text_or_bytes_have_the_same_child_in_every_process(world):
    system, _ = world
    ref = await begun(PartitionSupervisor.of(child(Ledger, {}), partitions=7), system)
    keys = ["a", "key", "\ud800", b"key"]
    assert [partition(ref, key).name for key in keys] == [
        "Ledger-4",
        "Ledger-5",
        "Ledger-1",
        "Ledger-5",
    ]


async def test_an_ask_is_answered_by_the_child_and_blocks_nobody(world):
    system, _ = world
    seen, gate = defaultdict(list), asyncio.Event()
    ref = await begun(PartitionSupervisor.of(child(Ledger, seen, gate), partitions=2), system)
    answers = [ref.ask(Entry(number, 0)) for number in range(4)]
    await until(lambda: not ref._slot.inbox)
    gate.set()
    assert [await answer for answer in answers] == ["Ledger-0", "Ledger-1"] * 2


async def test_the_deadline_of_the_asker_holds(world):
    system, clock = world
    seen, gate = defaultdict(list), asyncio.Event()
    ref = await begun(PartitionSupervisor.of(child(Ledger, seen, gate), partitions=1), system)
    answer = ref.ask(Entry(0, 0), timeout=1.0)
    await until(lambda: not ref._slot.inbox)
    clock.advance(1.1)
    with pytest.raises(AskTimeout):
        await answer
    gate.set()


async def test_order_per_key_across_a_crash(world):
    system, _ = world
    seen = defaultdict(list)

    class Keyed(PartitionSupervisor):
        child = child(Ledger, seen)
        partitions = 3

        def key(self, message):
            return message.key if isinstance(message, Entry) else 0

    ref = await begun(Keyed, system)
    for number in range(20):
        ref.tell(Entry(0, number))
        if number == 10:
            ref.tell(ValueError("boom"))
    await until(lambda: len(seen[0]) == 20)
    assert [number for _, number in seen[0]] == list(range(20))
    assert tree_of(ref).children[0].restarts == 1


async def test_the_child_for_a_key_can_be_told_itself(world):
    system, _ = world
    seen = defaultdict(list)
    ref = await begun(PartitionSupervisor.of(child(Ledger, seen), partitions=2), system)
    direct = partition(ref, 3)
    assert await direct.ask(Entry(3, 1)) == await ref.ask(Entry(3, 2)) == "Ledger-1"


async def test_what_has_no_key_is_refused(world):
    system, _ = world
    ref = await begun(PartitionSupervisor.of(child(Ledger, {}), partitions=2), system)
    for message, code in ((object(), "no_key"), (Entry([], 0), "bad_key")):
        with pytest.raises(Refused) as caught:
            await ref.ask(message)
        assert caught.value.code == code
    assert ref.is_alive()
    with pytest.raises(Refused):
        partition(ref, [])


async def test_a_full_partition_refuses_and_the_supervisor_lives(world):
    system, _ = world
    seen, gate = defaultdict(list), asyncio.Event()
    small = type("Small", (Ledger,), {"inbox_limit": 2})
    ref = await begun(PartitionSupervisor.of(child(small, seen, gate), partitions=1), system)
    for number in range(3):
        ref.tell(Entry(0, number))
        await until(lambda: not ref._slot.inbox)
    with pytest.raises(MailboxFull):
        await ref.ask(Entry(0, 3))
    ref.tell(Entry(0, 4))
    await until(lambda: len(system.dead_letters) == 1)
    letter = next(iter(system.dead_letters))
    assert (letter.message, letter.reason) == (Entry(0, 4), "mailbox full")
    gate.set()
    await until(lambda: len(seen[0]) == 3)
    assert ref.is_alive()


async def test_there_is_one_partition_a_core_unless_told_otherwise(world):
    system, _ = world
    ref = await begun(PartitionSupervisor.of(child(Ledger, {})), system)
    assert len(which_children(ref)) == (os.cpu_count() or 1)
    await crash(ref, "Ledger-0")


def test_what_a_partition_cannot_be():
    wrong = [
        (lambda: PartitionSupervisor.of(child(Ledger), partitions=0), "invalid_partitions"),
        (lambda: PartitionSupervisor.of(child(Ledger), partitions=True), "invalid_partitions"),
        (lambda: PartitionSupervisor.of(dict), "invalid_actor_class"),
        (lambda: PartitionSupervisor().specs(), "missing_child"),
    ]
    for make, reason in wrong:
        with pytest.raises(SpecError) as caught:
            make()
        assert caught.value.reason == reason
