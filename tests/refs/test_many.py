"""Many tells at one call: all are taken, or none, and the error names the index (133)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from actors import message
from irismq_runtime.errors import EncodeError, MessageTooLarge, NodeStopped
from tests.node.helpers import Add, MemoryServers


@pytest.fixture
def world() -> MemoryServers:
    return MemoryServers()


@pytest.fixture
async def node(world: MemoryServers):
    async with world.node() as node:
        yield node


@message("many.item")
@dataclass(frozen=True)
class Item:
    value: Any


BAD = {
    "field": (Item(object()), EncodeError, r"\$\[57\]\.value"),
    "surrogate": (Item(["fine", "\ud800"]), EncodeError, r"\$\[57\]"),
    "message": (object(), EncodeError, r"\$\[57\]"),
    "size": (Item("x" * 2_000_000), MessageTooLarge, "index 57"),
}


async def tell_many(ref: Any, messages: Any, where: str) -> Any:
    """From the node's loop, or from a thread."""
    if where == "thread":
        return await asyncio.to_thread(ref.tell_many, messages)
    return ref.tell_many(messages)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_of_many_tells_none_leaves_when_one_cannot(node, world, bad, where):
    message, error, text = BAD[bad]
    messages = [Item(n) for n in range(100)]
    messages[57] = message
    with pytest.raises(error, match=text):
        await tell_many(node.ref("test.counter"), messages, where)
    await asyncio.sleep(0)
    assert world.broker.bodies("test.counter") == []
    assert node.ref("test.counter").tell_many([]) == []


async def test_of_many_foreign_tells_none_leaves_when_one_cannot(node, world):
    ref = node.ref("test.counter", foreign="json")
    with pytest.raises(EncodeError, match=r"\$\[1\]"):
        ref.tell_many([{"n": 1}, {"n": object()}])
    assert world.broker.bodies("test.counter") == []
    for receipt in ref.tell_many([{"n": 1}, {"n": 2}]):
        await receipt
    assert world.broker.bodies("test.counter") == [b'{"n":1}', b'{"n":2}']


async def test_of_many_tells_none_leaves_when_a_users_code_raises(node, world):
    def messages():
        yield Item(1)
        raise RuntimeError("the source is broken")

    with pytest.raises(RuntimeError, match="the source is broken"):
        node.ref("test.counter").tell_many(messages())
    assert world.broker.bodies("test.counter") == []


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_many_tells_have_a_receipt_each_in_order(node, world, where):
    receipts = await tell_many(node.ref("test.counter"), [Add(n) for n in range(100)], where)
    for receipt in receipts:
        await receipt
    read = node.parts.outbound.packer.open_untrusted
    stored = [read(body).id for body in world.broker.bodies("test.counter")]
    assert stored == [receipt.id for receipt in receipts]


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_after_the_node_has_stopped_many_tells_say_so(world, where):
    async with world.node() as node:
        ref = node.ref("test.counter")
    with pytest.raises(NodeStopped):
        await tell_many(ref, [Add(1)], where)
