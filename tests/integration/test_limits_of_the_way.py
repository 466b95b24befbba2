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
async def nodes():
    async with nats_cluster(1, extra=f"max_payload: {LIMIT}") as cluster:
        options = {"nsqd": "127.0.0.1:1", "presence_period": 0.3, "drain": 1.0}
        async with Node.embedded(name="broker") as broker:
            options["nsqd"] = broker.endpoints["nsqd"]
            url = cluster.urls[0]
            async with Node(iris=url, name="one", **options) as one:
                await one.start(child(Large))
                async with Node(iris=url, name="two", **options) as two:
                    await until(lambda: two.members("test.large"))
                    yield one, two


async def test_each_verb_says_at_the_call_what_the_way_does_not_carry():
    async with nodes() as (_, two):
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
