"""What exceeds the limit of NATS's servers is said at the call, for each verb (180)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from actors import Actor, Refused, receives
from irismq_runtime import Node
from irismq_runtime.errors import MessageTooLarge
from supervisors import child
from tests.integration.service import CountTo, Put
from tests.support.nats_cluster import nats_cluster
from tests.support.until import until

LIMIT = 65_536
BODY = "x" * 100_000


class Large(Actor):
    """Answers with as many letters as it is asked for."""

    address = "test.large"

    @receives(CountTo)
    def letters(self, message: CountTo) -> str:
        return "y" * message.last

    async def on_tunnel(self, tunnel) -> None:
        async for item in tunnel:
            await tunnel.send(len(item))


@asynccontextmanager
async def nodes(*, small_alone: bool = False):
    """Node `one`, which has the service, and `two`, on servers with a small limit.

    `small_alone`: `one` is on another server, which takes 1 MiB.
    """
    servers = 2 if small_alone else 1
    extra = "" if small_alone else f"max_payload: {LIMIT}"
    async with nats_cluster(servers, extra=extra) as cluster:
        if small_alone:
            await cluster.kill(1)
            await cluster.restart(1, f"max_payload: {LIMIT}")
        options = {"nsqd": "127.0.0.1:1", "presence_period": 0.3, "drain": 1.0}
        async with Node.embedded(name="broker") as broker:
            options["nsqd"] = broker.endpoints["nsqd"]
            async with Node(iris=cluster.urls[0], name="one", **options) as one:
                await one.start(child(Large))
                async with Node(iris=cluster.urls[-1], name="two", **options) as two:
                    await until(lambda: two.members("test.large"))
                    yield one, two


@pytest.mark.parametrize("small_alone", [False, True])
async def test_each_verb_says_at_the_call_what_the_way_does_not_carry(small_alone):
    async with nodes(small_alone=small_alone) as (_, two):
        ref = two.ref("test.large")
        calls = {
            "tell_all": lambda: ref.tell_all(BODY),
            "publish": lambda: two.publish("test.topic", BODY, durable=False),
        }
        for name, call in calls.items():
            with pytest.raises(MessageTooLarge) as caught:
                call()
            assert caught.value.size > 100_000, name
            assert caught.value.limit < LIMIT
        with pytest.raises(MessageTooLarge):
            await ref.ask(BODY, timeout=30.0)
        with pytest.raises(MessageTooLarge):
            await ref.ask_all(BODY, timeout=30.0)


async def test_an_answer_that_is_too_large_is_an_error_that_names_the_limit():
    async with nodes() as (_, two):
        ref = two.ref("test.large")
        assert await ref.ask(CountTo(60_000), timeout=30.0) == "y" * 60_000
        with pytest.raises(Refused, match="over") as caught:
            await ref.ask(CountTo(100_000), timeout=30.0)
        assert caught.value.code == "too-large"
        gathered = await ref.ask_all(CountTo(100_000), timeout=5.0)
        assert [error.error.code for error in gathered.errors] == ["too-large"]


async def test_what_goes_through_a_tunnel_is_cut_to_what_the_way_carries():
    async with nodes() as (_, two), two.ref("test.large").tunnel(timeout=10.0) as tunnel:
        await tunnel.send(BODY)
        assert await tunnel.receive() == len(BODY)


async def test_what_fits_still_goes():
    async with nodes() as (_, two):
        with pytest.raises(Refused, match="does not handle"):
            await two.ref("test.large").ask(Put("z" * 60_000), timeout=30.0)


async def test_each_node_goes_by_the_limit_of_the_server_that_takes_its_messages():
    async with nodes(small_alone=True) as (one, two):
        assert await two.ref("test.large").ask(CountTo(100_000), timeout=30.0) == "y" * 100_000
        await two.start(child(Other))
        await until(lambda: one.members("test.other"))
        other = one.ref("test.other")
        assert await other.ask(BODY, timeout=30.0) == len(BODY)
        gathered = await other.ask_all(BODY, timeout=30.0)
        assert [reply.value for reply in gathered.replies] == [len(BODY)]
        with pytest.raises(Refused, match="over") as caught:
            await other.ask("answer", timeout=30.0)
        assert caught.value.code == "too-large"


class Other(Actor):
    """Takes large texts, and gives one."""

    address = "test.other"

    @receives(str)
    def take(self, text: str) -> int | str:
        return BODY if text == "answer" else len(text)
