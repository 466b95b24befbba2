"""The mailbox on running brokers: ours, and nsqd itself where there is one."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.endpoints import Endpoint
from irismq_runtime.errors import DeliveryError, MessageTooLarge, NotConnected
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.mailbox.connect.network import AsyncioNetwork
from tests.mailbox.on_nsqd import Collector, eventually, fresh_topic, mailbox, ready
from tests.support.nsqd_server import NsqdServer, nsqd_server
from tests.support.promptly import promptly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


@pytest.fixture(params=KINDS)
async def nsqd(request: pytest.FixtureRequest) -> AsyncIterator[NsqdServer]:
    async with nsqd_server(request.param) as server:
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_what_is_published_arrives(nsqd: NsqdServer):
    topic = fresh_topic()
    async with mailbox(nsqd.port) as made:
        sink = Collector()
        await sink.on(made, topic)
        bodies = [b"%d" % n for n in range(1000)]
        receipts = [made.publish(topic, body) for body in bodies]
        for receipt in receipts:
            await receipt
        await sink.count(1000)
        assert sink.bodies == set(bodies)
        assert {message.attempts for message in sink.messages} == {1}
        assert abs(sink.messages[0].timestamp - time.time()) < 60


async def test_requeue_comes_again_with_attempts_and_bury_leaves_a_record(nsqd: NsqdServer):
    topic = fresh_topic()

    def handle(message: Any) -> None:
        if message.attempts < 3:
            message.requeue(0.0)
        else:
            message.bury(f"{topic}.dead", b"why: " + message.body)

    async with mailbox(nsqd.port) as made:
        dead, sink = Collector(), Collector(handle)
        await dead.on(made, f"{topic}.dead", "reader")
        await sink.on(made, topic)
        await made.publish(topic, b"bad")
        await dead.count(1)
        assert [message.attempts for message in sink.messages] == [1, 2, 3]
        assert dead.messages[0].body == b"why: bad"


async def test_deferred_messages_do_not_come_before_their_time(nsqd: NsqdServer):
    topic = fresh_topic()
    async with mailbox(nsqd.port) as made:
        sink = Collector()
        await sink.on(made, topic)
        start = time.monotonic()
        await made.publish(topic, b"later", delay=0.3)
        await made.publish(topic, b"now")
        await sink.count(2)
        assert [message.body for message in sink.messages] == [b"now", b"later"]
        assert time.monotonic() - start >= 0.3


async def test_a_deferral_longer_than_the_broker_allows_goes_in_hops(kind: Any):
    options = NsqdOptions(max_req_timeout=0.2)
    topic = fresh_topic()
    runs: list[bytes] = []
    async with (
        nsqd_server(kind, options=options) as server,
        mailbox(server.port, max_delay=0.2) as made,
    ):
        # nsqd does not look at a young channel for 5 s.
        due = time.monotonic() + (0.5 if kind == "embedded" else 6.0)

        def handle(message: Any) -> None:
            left = due - time.monotonic()
            if left > 0:
                message.defer(left)
            else:
                runs.append(message.body)
                message.finish()

        sink = Collector(handle)
        await sink.on(made, topic)
        await made.publish(topic, b"x", delay=made.max_delay)
        await sink.until(lambda: runs)
        assert time.monotonic() >= due
        assert len(sink.messages) >= 3
        assert {message.attempts for message in sink.messages} == {1}


async def test_sizes_around_the_brokers_limit(kind: Any):
    topic = fresh_topic()
    options = NsqdOptions(max_msg_size=10_000)
    async with nsqd_server(kind, options=options) as server, mailbox(server.port) as made:
        assert made.max_body == 10_000
        sink = Collector()
        await sink.on(made, topic)
        small = [made.publish(topic, b"%03d" % n) for n in range(100)]
        large = [made.publish(topic, bytes(size)) for size in (9_999, 10_000)]
        with pytest.raises(MessageTooLarge) as caught:
            made.publish(topic, bytes(10_001))
        assert (caught.value.size, caught.value.limit) == (10_001, 10_000)
        for receipt in small + large:
            await receipt
        await sink.count(102)
        assert made.connects == 1


async def test_a_limit_that_was_set_too_high_fails_one_publish_alone(kind: Any):
    topic = fresh_topic()
    options = NsqdOptions(max_msg_size=1000)
    async with (
        nsqd_server(kind, options=options) as server,
        mailbox(server.port, max_body=5000, batch_count=1) as made,
    ):
        sink = Collector()
        await sink.on(made, topic)
        receipts = [
            made.publish(topic, bytes(2000) if n == 500 else b"%d" % n, timeout=20.0)
            for n in range(1000)
        ]
        failed = []
        for n, receipt in enumerate(receipts):
            try:
                await receipt
            except (MessageTooLarge, DeliveryError):
                failed.append(n)
        assert failed == [500]
        await sink.until(lambda: len(sink.bodies) == 999)


async def test_many_reconnects_of_an_ephemeral_channel(nsqd: NsqdServer):
    topic = fresh_topic()
    async with mailbox(nsqd.port, reconnect_min=0.005, reconnect_max=0.02) as made:
        sink = Collector()
        consumption = await sink.on(made, topic, "live#ephemeral")
        for turn in range(50):
            await ready(consumption)
            await made.publish(topic, b"%d" % turn)
            await sink.until(lambda turn=turn: b"%d" % turn in sink.bodies)
            for connection in consumption.connections:
                connection.managed.drop("for the test")


async def test_a_second_consumer_gets_everything_after_the_first_has_stopped(
    nsqd: NsqdServer,
):
    topic = fresh_topic()
    async with mailbox(nsqd.port) as made:
        first, second = Collector(), Collector()
        await ready(await first.on(made, topic))
        await first.consumption.stop(1.0)
        await second.on(made, topic)
        for n in range(100):
            made.publish(topic, b"%d" % n)
        await second.until(lambda: len(second.bodies) == 100)
        assert len(second.messages) == 100
        assert first.messages == []


async def test_what_waits_is_with_another_consumer_at_once(nsqd: NsqdServer):
    topic = fresh_topic()
    async with mailbox(nsqd.port, msg_timeout=60.0) as made:
        first = Collector(lambda message: None)
        await first.on(made, topic, window=21)
        for n in range(21):
            made.publish(topic, b"%d" % n)
        await first.count(21)
        assert first.consumption.claim(first.messages[0])
        second = Collector()
        await ready(await second.on(made, topic))
        stopping = asyncio.ensure_future(first.consumption.stop(60.0))
        async with promptly("what waited is with another consumer"):
            await second.count(20)
        assert not stopping.done()
        assert first.messages[0].finish()
        await stopping
        assert {message.attempts for message in second.messages} == {1}  # none had begun
        # Case 16: the one that ran was finished and is with nobody.
        assert first.messages[0].body not in second.bodies


async def test_the_running_message_stays_ours_while_we_stop(kind: Any):
    options = NsqdOptions(msg_timeout=1.0)
    topic = fresh_topic()
    async with (
        nsqd_server(kind, options=options) as server,
        mailbox(server.port, msg_timeout=1.0) as made,
    ):
        first, second = Collector(lambda message: None), Collector()
        await first.on(made, topic)
        await made.publish(topic, b"long")
        await first.count(1)
        await ready(await second.on(made, topic))
        message = first.messages[0]
        first.consumption.claim(message)
        asyncio.get_running_loop().call_later(2.5, message.finish)
        start = time.monotonic()
        await first.consumption.stop(20.0)
        assert time.monotonic() - start >= 2.4
        await made.publish(topic, b"next")
        await second.count(1)
        assert second.bodies == {b"next"}
        assert not message.lease_lost


async def test_one_run_at_a_time_past_the_brokers_maximum(kind: Any):
    options = NsqdOptions(msg_timeout=1.0, max_msg_timeout=2.0)
    topic = fresh_topic()
    async with (
        nsqd_server(kind, options=options) as server,
        mailbox(server.port, msg_timeout=1.0) as made,
    ):
        sink = Collector(lambda message: None)
        await sink.on(made, topic, window=5)
        await made.publish(topic, b"long")
        message = (await sink.count(1))[0]
        message.on_lease_lost = sink.changed
        sink.consumption.claim(message)
        await sink.until(lambda: message.lease_lost)
        came = message.received_at
        await eventually(lambda: message.received_at > came)
        assert message.attempts == 1  # the same run goes on
        assert message.finish()
        await made.publish(topic, b"next")
        await sink.count(2)
        assert [one.body for one in sink.messages] == [b"long", b"next"]
        sink.messages[1].finish()


async def test_a_killed_consumers_messages_come_back_after_the_lease(nsqd: NsqdServer):
    topic = fresh_topic()
    async with mailbox(nsqd.port, msg_timeout=1.0) as made:
        first, second = Collector(lambda message: None), Collector()
        await first.on(made, topic)
        start = time.monotonic()
        for n in range(5):
            made.publish(topic, b"%d" % n)
        await first.count(5)
        for connection in first.consumption.connections:
            connection.managed.drop("killed")
        first.consumption.pause()
        await second.on(made, topic)
        async with promptly("the lease asked for is over, not nsqd's own of 60 s"):
            await second.count(5)
        assert time.monotonic() - start > 0.9
        assert {message.attempts for message in second.messages} == {1}  # none had begun


@pytest.mark.parametrize("pause", [0.0, 0.3])
async def test_it_consumes_again_after_a_restart(nsqd: NsqdServer, pause: float):
    topic = fresh_topic()
    async with mailbox(nsqd.port) as made:
        sink = Collector()
        consumption = await sink.on(made, topic)
        await ready(consumption)
        for turn in range(2):
            await nsqd.stop()
            await eventually(lambda: not consumption.health().ok)
            assert str(nsqd.port) in consumption.health().reason
            released = asyncio.Event()
            asyncio.get_running_loop().call_later(pause, released.set)
            await released.wait()
            await nsqd.start()
            await made.publish(topic, b"probe %d" % turn)
            await sink.until(lambda turn=turn: b"probe %d" % turn in sink.bodies)
            assert consumption.health().ok


async def test_through_restarts_nothing_confirmed_is_lost(kind: Any, tmp_path: Any):
    # nsqd is ended in order: what it had confirmed and not yet synced dies with a SIGKILL
    # (its -sync-every and -sync-timeout). Ours is killed: a confirmation means stored.
    async with nsqd_server(kind, data=tmp_path) as server:

        async def kill() -> None:
            await server.kill()
            await server.start()

        await confirmed_survive(server, server.restart if kind == "real" else kill)


async def confirmed_survive(nsqd: NsqdServer, restart: Callable[[], Awaitable[None]]) -> None:
    topic = fresh_topic()
    async with mailbox(nsqd.port, publish_timeout=20.0) as made:
        receipts = {}
        for n in range(900):
            body = b"%d" % n
            receipts[body] = made.publish(topic, body)
            if n % 10 == 0:
                await asyncio.sleep(0)
            if n % 300 == 150:
                await restart()
        for receipt in receipts.values():
            await receipt
        sink = Collector()
        await sink.on(made, topic)
        await sink.until(lambda: receipts.keys() <= sink.bodies)


async def test_the_wrong_port_is_named(kind: Any):
    async with nsqd_server(kind) as server:
        if not server.http_port:
            pytest.skip("this broker has no HTTP port yet")
        made = NsqMailbox(
            [f"127.0.0.1:{server.http_port}"], config=MailboxConfig(start_timeout=0.5)
        )
        with pytest.raises(NotConnected, match=r"HTTP|has not answered"):
            await made.start()


@pytest.mark.parametrize("compression", ["deflate", "snappy"])
async def test_compressed_streams_carry_all_sizes(compression: str, kind: Any):
    if compression == "snappy":
        pytest.importorskip("snappy", reason="python-snappy is an extra")
        if kind == "embedded":
            pytest.skip("the embedded broker has no snappy")
    topic = fresh_topic()
    # No heartbeat, and no TOUCH, that would flush what waits for more.
    quiet = {"heartbeat": 60.0, "msg_timeout": 60.0, "publish_timeout": 60.0}
    async with (
        nsqd_server(kind) as server,
        mailbox(server.port, compression=compression, **quiet) as made,
    ):
        sink = Collector()
        await sink.on(made, topic, window=50)
        bodies = [
            bytes([n]) * size for n in range(20) for size in (1_000 + n, 60_000 + n, 900_000 + n)
        ]
        for body in bodies:
            made.publish(topic, body)
        await sink.until(lambda: len(sink.bodies) == len(bodies))
        assert sink.bodies == set(bodies)
        async with promptly("one message alone"):
            await made.publish(topic, b"alone")
            await sink.until(lambda: b"alone" in sink.bodies)


async def test_several_brokers_share_the_window(kind: Any):
    topic = fresh_topic()
    async with (
        nsqd_server(kind) as one,
        nsqd_server(kind) as two,
        nsqd_server(kind) as three,
    ):
        ports = (one.port, two.port, three.port)
        for port in ports:
            async with mailbox(port) as filler:
                await filler.publish_many(topic, [b"%d.%d" % (port, n) for n in range(40)])
        most = 0
        held: list[Any] = []
        async with mailbox(*ports) as made:

            def handle(message: Any) -> None:
                nonlocal most
                held.append(message)
                most = max(most, sink.consumption.in_flight)
                asyncio.get_running_loop().call_later(0.002, message.finish)

            sink = Collector(handle)
            await sink.on(made, topic, window=2)
            await sink.until(lambda: len(sink.bodies) == 120, seconds=25.0)
            assert most <= 2
            await eventually(lambda: sink.consumption.in_flight == 0)


@asynccontextmanager
async def lookupd(folder: Any) -> AsyncIterator[tuple[int, int]]:
    """A running nsqlookupd: its TCP and HTTP ports."""
    binary = shutil.which("nsqlookupd")
    if binary is None:
        pytest.skip("no nsqlookupd on PATH")
    process = await asyncio.create_subprocess_exec(
        binary, "-tcp-address=127.0.0.1:0", "-http-address=127.0.0.1:0",
        stderr=asyncio.subprocess.PIPE, cwd=folder,
    )  # fmt: skip
    ports: dict[bytes, int] = {}
    assert process.stderr is not None
    while len(ports) < 2:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        if match := re.search(rb" (TCP|HTTP): listening on 127\.0\.0\.1:(\d+)", line):
            ports[match[1]] = int(match[2])
    try:
        yield ports[b"TCP"], ports[b"HTTP"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.real_nsqd
async def test_brokers_are_found_by_nsqlookupd_and_kept_without_it(tmp_path: Any):
    topic = fresh_topic()
    sink = Collector()
    async with AsyncExitStack() as stack:
        async with lookupd(tmp_path) as (tcp, http):
            flags = [f"-lookupd-tcp-address=127.0.0.1:{tcp}"]
            one = await stack.enter_async_context(nsqd_server("real"))
            two = await stack.enter_async_context(nsqd_server("real", flags=flags))
            elsewhere = await stack.enter_async_context(mailbox(two.port))
            await elsewhere.publish(topic, b"before")
            made = await stack.enter_async_context(
                mailbox(one.port, lookupds=(f"127.0.0.1:{http}",), lookup_interval=0.2)
            )
            await sink.on(made, topic)
            await sink.count(1)
        await elsewhere.publish(topic, b"after nsqlookupd had gone")
        await sink.count(2)
        assert sink.consumption.health().ok


@pytest.mark.real_nsqd
async def test_a_new_broker_makes_the_channels_that_the_directory_knows(tmp_path: Any):
    topic = fresh_topic()
    async with lookupd(tmp_path) as (tcp, http), AsyncExitStack() as stack:
        flags = [f"-lookupd-tcp-address=127.0.0.1:{tcp}"]
        old = await stack.enter_async_context(nsqd_server("real", flags=flags))
        new = await stack.enter_async_context(nsqd_server("real", flags=flags))
        made = await stack.enter_async_context(
            mailbox(old.port, lookupds=(f"127.0.0.1:{http}",), lookup_interval=0.2)
        )
        sink = Collector()
        await (await sink.on(made, topic, channel="late")).established()
        async with asyncio.timeout(60):
            listed = b""
            while b'"late"' not in listed:
                where = Endpoint("127.0.0.1", http)
                _, listed = await AsyncioNetwork().get(where, f"/channels?topic={topic}", 5.0)
        elsewhere = await stack.enter_async_context(mailbox(new.port))
        archive = Collector()
        await (await archive.on(elsewhere, topic, channel="archive")).established()
        await elsewhere.publish(topic, b"x")
        await archive.count(1)
        await sink.count(1)
        assert sink.bodies == {b"x"}
