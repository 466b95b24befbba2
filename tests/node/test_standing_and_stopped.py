"""Verbs where nothing can be brought: the loop stands still (146), the node has stopped (169)."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor
from actors.errors import BlockingCall
from irismq_runtime.errors import NodeStopped
from irismq_runtime.refs.peer import PeerRef
from supervisors import child
from tests.node.helpers import Add, Counter, MemoryServers, Total

WAITS = {
    "ask": lambda node, local, ref, peer: ref.ask(Total()).get(),
    "ask with a timeout": lambda node, local, ref, peer: ref.ask(Total()).get(timeout=60),
    "ask that blocks": lambda node, local, ref, peer: ref.ask(Total(), block=True),
    "what is made of an ask": lambda node, local, ref, peer: ref.ask(Total()).map(str).get(),
    "ask_all": lambda node, local, ref, peer: ref.ask_all(Total()).get(),
    "proxy": lambda node, local, ref, peer: ref.proxy().report(1).get(),
    "peer": lambda node, local, ref, peer: peer.ask(Total()).get(),
    "local ask": lambda node, local, ref, peer: local.ask(Total()).get(),
    "local ask that blocks": lambda node, local, ref, peer: local.ask(Total(), block=True),
    "local proxy": lambda node, local, ref, peer: local.proxy().add(Add(1)).get(),
    "stop": lambda node, local, ref, peer: local.stop(block=True),
    "receipt": lambda node, local, ref, peer: ref.tell(Add(1)).wait(),
    "receipts": lambda node, local, ref, peer: ref.tell_many([Add(1)])[0].wait(),
    "event": lambda node, local, ref, peer: node.publish("test.topic", Add(1)).wait(),
}


@pytest.fixture
def standing():
    """A node whose loop belongs to this thread, and stands still."""
    loop = asyncio.new_event_loop()
    node = MemoryServers().node()
    entered = loop.run_until_complete(node.__aenter__())
    local = loop.run_until_complete(entered.start(child(Counter)))
    loop.run_until_complete(entered.settled())
    yield loop, entered, local
    loop.run_until_complete(node.__aexit__(None, None, None))
    loop.close()


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait_for_a_loop_that_stands_still_on_this_thread_is_an_error_at_once(standing, wait):
    _, node, local = standing
    ref = node.ref("test.counter")
    peer = PeerRef(node.parts.outbound, "nobody-1", "urn:actor:1")
    with pytest.raises(BlockingCall, match="run_until_complete"):
        wait(node, local, ref, peer)


def test_what_is_asked_while_the_loop_stands_still_is_answered_once_it_runs(standing):
    loop, node, local = standing
    ref = node.ref("test.counter")
    asks = [ref.ask(Total()), local.ask(Total())]
    gathered = ref.ask_all(Total())
    receipt = ref.tell(Add(1))
    loop.run_until_complete(receipt)
    assert [loop.run_until_complete(each) for each in asks] == [0, 0]
    assert loop.run_until_complete(gathered).complete
    assert asks[0].get() == 0  # it is there: nothing to wait for


async def verbs(node, ref, peer):
    """Each verb, as a coroutine function."""

    async def opened():
        async with ref.tunnel():
            pass

    async def streamed():
        return [item async for item in ref.stream(Total())]

    async def called(function):
        return function()

    return {
        "start": lambda: node.start(Counter),
        "tell": lambda: called(lambda: ref.tell(Add(1))),
        "tell later": lambda: called(lambda: ref.tell(Add(1), delay=5.0)),
        "tell_many": lambda: called(lambda: ref.tell_many([Add(1)])),
        "ask": lambda: called(lambda: ref.ask(Total())),
        "ask_all": lambda: called(lambda: ref.ask_all(Total())),
        "tell_all": lambda: called(lambda: ref.tell_all(Total())),
        "proxy": lambda: called(lambda: ref.proxy().report(1)),
        "tunnel": opened,
        "stream": streamed,
        "peer ask": lambda: called(lambda: peer.ask(Total())),
        "peer tell": lambda: called(lambda: peer.tell(Total())),
        "publish": lambda: called(lambda: node.publish("test.topic", 1)),
        "publish live": lambda: called(lambda: node.publish("test.topic", 1, durable=False)),
        "ref": lambda: called(lambda: node.ref("test.other")),
        "members": lambda: called(lambda: node.members("test.counter")),
        "nodes": lambda: called(node.nodes),
        "settled": node.settled,
        "trees": node.trees,
        "foreign ask": lambda: called(lambda: foreign(node).ask(1)),
        "foreign tell": lambda: called(lambda: foreign(node).tell(1)),
    }


def foreign(node):
    return node._refs["test.plain", None, "json"]


async def test_each_verb_of_a_stopped_node_says_that_it_has_stopped():
    async with MemoryServers().node("gone") as node:
        await node.start(child(Counter))
        ref = node.ref("test.counter")
        node.ref("test.plain", foreign="json")
        peer = PeerRef(node.parts.outbound, "nobody-1", "urn:actor:1")
    for name, verb in (await verbs(node, ref, peer)).items():
        with pytest.raises(NodeStopped, match="'gone' has stopped") as caught:
            await verb()
        assert caught.value.outcome == "not sent", name
        assert "safe to try again" not in str(caught.value)
        with pytest.raises(NodeStopped):
            await asyncio.to_thread(asyncio.run, _of(verb))


async def _of(verb):
    await verb()


class Last(Actor):
    """Says goodbye when it stops."""

    address = "test.last"

    def __init__(self, ref):
        self.ref = ref

    def on_stop(self, reason):
        self.ref.tell(Add(7))


async def test_what_an_actor_tells_as_its_node_stops_still_goes_out():
    world = MemoryServers()
    log = []
    async with world.node("one") as one:
        await one.start(child(Last, one.ref("test.counter")))
    async with world.node("two") as two:
        await two.start(child(Counter, log))
        while log != [7]:
            await asyncio.sleep(0)


SENDS = ("ask", "ask that blocks", "ask_all", "peer", "receipt", "event")


@pytest.mark.parametrize("verb", SENDS)
def test_a_loop_that_was_closed_under_its_node_is_an_error_and_no_wait(verb):
    loop = asyncio.new_event_loop()
    context = MemoryServers().node()
    node = loop.run_until_complete(context.__aenter__())
    try:
        loop.run_until_complete(node.settled())
        ref = node.ref("test.counter")
        peer = PeerRef(node.parts.outbound, "nobody-1", "urn:actor:1")
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()
    node.parts.outbound.stopped = None  # as if nobody had ended it
    with pytest.raises(NodeStopped):
        WAITS[verb](node, None, ref, peer)


async def test_a_node_tells_who_waits_for_it_why_it_is_to_stop():
    async with MemoryServers().node() as node:
        waiting = asyncio.ensure_future(node.stopping())
        assert not waiting.done()
        await node.stop(reason="enough")
        assert await waiting == "enough"
    async with MemoryServers().node() as node:
        root = await node.start(child(Counter))
        root.stop()
        assert await node.stopping() == "the tree gave up: normal"
