from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import AskTimeout, Overloaded
from irismq_runtime.errors import ConnectionLost, MessageTooLarge, RemoteFault
from irismq_runtime.protocols.iris.packets import ClientRequest, RelayReply
from irismq_runtime.pyiris import Allowance, Limits
from tests.pyiris.scripted import turns

if TYPE_CHECKING:
    from actors.testing import ManualClock
    from tests.pyiris.scripted import ScriptedRelay


async def test_a_reply_goes_to_its_request(connect: Any, relay: ScriptedRelay) -> None:
    iris = await connect()
    first, second = iris.request("c", b"1", 1.0), iris.request("c", b"2", 1.0)
    one, two = await relay.wire.next(ClientRequest), await relay.wire.next(ClientRequest)
    assert (one.cluster, one.body, one.timeout_ms) == ("c", b"1", 1000)
    relay.wire.send(
        RelayReply(two.id, False, b"two", None), RelayReply(one.id, False, b"one", None)
    )
    assert (await first, await second) == (b"one", b"two")
    assert len(iris.requests) == iris.requests.quota.count == iris.requests.quota.size == 0


async def test_a_burst_is_two_writes(connect: Any, relay: ScriptedRelay) -> None:
    iris = await connect()
    before = relay.wire.writes
    replies = [iris.request("c", b"x", 1.0) for _ in range(100)]
    await turns()
    assert relay.wire.writes == before + 2, "the first at once, the others together"
    assert len(relay.wire.of(ClientRequest)) == len(replies)


async def test_a_fault_is_an_error_of_its_own(connect: Any, relay: ScriptedRelay) -> None:
    iris = await connect()
    reply = iris.request("c", b"1", 1.0)
    request = await relay.wire.next(ClientRequest)
    relay.wire.send(RelayReply(request.id, False, None, "no such sku"))
    with pytest.raises(RemoteFault) as caught:
        await reply
    assert (caught.value.text, caught.value.cluster) == ("no such sku", "c")


@pytest.mark.parametrize(
    ("cluster", "body", "timeout"),
    [
        ("", b"x", 1.0),
        ("c", b"", 1.0),
        ("c", b"x", 0.0),
        ("c", b"x", float("inf")),
        ("c", b"x", float("nan")),
        ("c", b"x", -1),
        ("c" * 1025, b"x", 1.0),
        ("\ud800", b"x", 1.0),
        ("c", "text", 1.0),
    ],
)
async def test_what_iris_cannot_carry_is_refused_at_the_call(
    connect: Any, relay: ScriptedRelay, cluster: str, body: bytes, timeout: float
) -> None:
    iris = await connect()
    with pytest.raises(ValueError, match=r"empty|timeout|at most|cannot carry"):
        iris.request(cluster, body, timeout)
    await turns()
    assert len(iris.requests) == 0
    assert relay.wire.of(ClientRequest) == []


async def test_timeouts_are_whole_milliseconds_and_at_least_one(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    for timeout in (0.0001, 0.001, 0.0011, 2.5):
        iris.request("c", b"x", timeout)
    await turns()
    assert [each.timeout_ms for each in relay.wire.of(ClientRequest)] == [1, 1, 2, 2500]


async def test_our_own_clock_ends_a_request_when_the_relay_is_silent(
    connect: Any, clock: ManualClock
) -> None:
    iris = await connect()
    reply = iris.request("c", b"x", 0.5)
    await turns()
    clock.advance(0.499)
    assert not reply.done()
    clock.advance(0.007)
    with pytest.raises(AskTimeout) as caught:
        await reply
    assert caught.value.target == "c"
    assert caught.value.waited == 0.5


async def test_the_timeout_flag_wins(connect: Any, relay: ScriptedRelay) -> None:
    iris = await connect()
    replies = [iris.request("c", b"x", 1.0) for _ in range(3)]
    one, two, three = [await relay.wire.next(ClientRequest) for _ in replies]
    relay.wire.send(RelayReply(one.id, True, None, None))
    relay.wire.send_bytes(bytes([5, two.id, 0, 1, 0]))  # success, with data of zero length
    relay.wire.send_bytes(bytes([5, three.id, 1]))
    for reply in replies:
        with pytest.raises(AskTimeout):
            await reply


async def test_a_late_reply_is_never_taken_for_another(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    iris = await connect()
    for number in range(1000):
        slow = iris.request("c", b"slow", 0.05)
        late = await relay.wire.next(ClientRequest)
        clock.advance(0.06)
        assert isinstance(slow.exception(), AskTimeout)
        quick = iris.request("c", b"quick", 1.0)
        now = await relay.wire.next(ClientRequest)
        relay.wire.send(RelayReply(late.id, False, b"late", None))
        assert not quick.done()
        relay.wire.send(RelayReply(now.id, False, b"%d" % number, None))
        assert await quick == b"%d" % number
    assert iris.requests.late == 1000
    lines = [r.getMessage() for r in caplog.records if "late reply" in r.getMessage()]
    assert lines
    assert "'c'" in lines[0]
    assert len(lines) <= 62, "said once a second at most"


async def test_ids_do_not_start_again_after_a_reconnect(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    lost = iris.request("c", b"x", 5.0)
    old = await relay.wire.next(ClientRequest)
    relay.wire.cut()
    await turns()
    assert isinstance(lost.exception(), ConnectionLost)
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    fresh = iris.request("c", b"y", 5.0)
    new = await wire.next(ClientRequest)
    wire.send(RelayReply(old.id, False, b"of the old connection", None))
    assert not fresh.done()
    assert iris.requests.unwanted == 1
    wire.send(RelayReply(new.id, False, b"right", None))
    assert await fresh == b"right"


async def test_timed_out_requests_leave_nothing(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()

    async def time_out(count: int) -> None:
        for _ in range(count // 1000):
            for _ in range(1000):
                iris.request("c", b"x" * 100, 0.01)
            await turns(2)
            relay.wire.received.clear()
            clock.advance(0.02)

    await time_out(5000)
    gc.collect()
    tracemalloc.start()
    await time_out(2000)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await time_out(20_000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert iris.requests.timed_out == 27_000
    assert len(iris.requests) == iris.requests.quota.size == 0
    assert grown < 100_000, f"{grown} bytes for 20,000 requests"


async def test_a_cancelled_request_is_forgotten(connect: Any, relay: ScriptedRelay) -> None:
    iris = await connect()

    async def ask() -> bytes:
        reply: bytes = await iris.request("c", b"x", 60.0)
        return reply

    task = asyncio.create_task(ask())
    request = await relay.wire.next(ClientRequest)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(iris.requests) == iris.requests.quota.count == 0
    relay.wire.send(RelayReply(request.id, False, b"too late", None))
    assert (iris.requests.late, iris.requests.unwanted) == (0, 1)


async def test_what_was_not_sent_is_sent_when_the_relay_is_back(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.wire.stall()
    waiting = iris.request("c", b"before", 5.0)
    await turns()
    relay.wire.cut()
    await turns()
    meanwhile = iris.request("c", b"meanwhile", 5.0)
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    sent = wire.of(ClientRequest)
    assert [each.body for each in sent] == [b"before", b"meanwhile"]
    assert sent[0].timeout_ms < 5000, "the time that is left"
    for each in sent:
        wire.send(RelayReply(each.id, False, each.body, None))
    assert [await waiting, await meanwhile] == [b"before", b"meanwhile"]


async def test_what_cannot_be_sent_soon_fails_as_not_sent(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(hold=1.0)
    relay.down = ConnectionRefusedError("refused")
    relay.wire.cut()
    await turns()
    held = iris.request("c", b"x", 30.0)
    clock.advance(0.9)
    assert not held.done()
    clock.advance(0.2)
    with pytest.raises(ConnectionLost) as caught:
        await held
    assert caught.value.outcome == "not sent"
    at_once = iris.request("c", b"x", 30.0)
    assert at_once.done()
    assert isinstance(at_once.exception(), ConnectionLost)


async def test_what_was_sent_has_an_unknown_outcome(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    replies = [iris.request("c", b"x", 5.0) for _ in range(10)]
    await turns()
    relay.wire.cut()
    await turns()
    for reply in replies:
        with pytest.raises(ConnectionLost) as caught:
            await reply
        assert caught.value.outcome == "unknown"
        assert "idempotent" in str(caught.value)
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    assert wire.of(ClientRequest) == [], "what may have run is not sent again"


async def test_of_a_burst_only_what_left_has_an_unknown_outcome(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    replies = [iris.request("c", b"x" * 1000, 5.0) for _ in range(40)]
    left = len(relay.wire.of(ClientRequest))
    assert 0 < left < 40, "a burst goes out in pieces"
    relay.down = ConnectionRefusedError("refused")
    relay.wire.cut_now()
    unknown = [reply for reply in replies if reply.done()]
    assert len(unknown) == left
    assert {reply.exception().outcome for reply in unknown} == {"unknown"}
    clock.advance(1.1)
    assert {reply.exception().outcome for reply in replies[left:]} == {"not sent"}


async def test_a_deadline_that_comes_before_the_relay_is_back_says_not_sent(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(hold=5.0)
    relay.down = ConnectionRefusedError("refused")
    relay.wire.cut()
    await turns()
    reply = iris.request("c", b"x", 0.5)
    clock.advance(0.6)
    with pytest.raises(ConnectionLost) as caught:
        await reply
    assert caught.value.outcome == "not sent"


async def test_over_the_limits_nothing_is_sent(connect: Any, relay: ScriptedRelay) -> None:
    limits = Limits(calls=Allowance(count=2, size=1000), body=50, unsent=100)
    iris = await connect(limits=limits)
    with pytest.raises(MessageTooLarge) as caught:
        await iris.request("c", b"x" * 51, 1.0)
    assert (caught.value.size, caught.value.limit) == (51, 50)
    with pytest.raises(MessageTooLarge):
        iris.broadcast("c", b"x" * 51)
    kept = [iris.request("c", b"x", 1.0) for _ in range(2)]
    with pytest.raises(Overloaded):
        await iris.request("c", b"x", 1.0)
    for reply in kept:
        reply.cancel()
    await turns()
    relay.wire.stall()
    for _ in range(2):
        iris.publish("t", b"x" * 50)
    with pytest.raises(Overloaded):
        iris.publish("t", b"x" * 50)
    with pytest.raises(Overloaded):
        await iris.request("c", b"x", 1.0)
    assert len(iris.requests) == 0


async def test_an_error_that_nobody_awaits_does_not_warn(
    connect: Any, relay: ScriptedRelay, caplog: pytest.LogCaptureFixture
) -> None:
    iris = await connect()
    for _ in range(3):
        iris.request("c", b"x", 1.0)
    await turns()
    relay.wire.cut()
    await turns()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_who_learns_of_a_loss_may_ask_anew_at_once(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    """It is told while the connection goes, and its new request waits for the next one."""
    iris = await connect()
    again: list[asyncio.Future[bytes]] = []
    iris.request("c", b"first", 5.0, lambda _: again.append(iris.request("c", b"anew", 5.0)))
    await turns()
    relay.wire.cut()
    await turns()
    (reply,) = again
    assert not reply.done()
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    request = await wire.next(ClientRequest)
    wire.send(RelayReply(request.id, False, b"here", None))
    assert await reply == b"here"


async def test_a_waiter_that_fails_does_not_end_the_connection_of_the_others(
    connect: Any, relay: ScriptedRelay, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: asyncio.Future[bytes]) -> None:
        raise RuntimeError("a mistake of who waits")

    iris = await connect()
    first, second = iris.request("c", b"1", 1.0, fail), iris.request("c", b"2", 1.0)
    one, two = await relay.wire.next(ClientRequest), await relay.wire.next(ClientRequest)
    relay.wire.send(RelayReply(one.id, False, b"a", None), RelayReply(two.id, False, b"b", None))
    assert (await first, await second) == (b"a", b"b")
    assert iris.health().ok
    assert "a mistake of who waits" in caplog.text


async def test_asking_one_after_another_takes_one_write_each_and_no_turn_for_it(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    wire = relay.wire
    for _ in range(5):
        before = wire.writes
        reply = iris.request("c", b"x", 1.0)
        assert wire.writes == before + 1, "it has left before anybody waits"
        request = await wire.next(ClientRequest)
        wire.send(RelayReply(request.id, False, b"y", None))
        assert await reply == b"y"
