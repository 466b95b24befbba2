"""A relay that reads slower than we write: refused early, written only in time (178)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import AskTimeout
from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    ClientReply,
    ClientRequest,
    Publish,
    RelayReply,
    RelayRequest,
    Subscribe,
)
from irismq_runtime.pyiris import Limits, Overloaded, RelayTooSlow
from irismq_runtime.pyiris.backlog import Backlog, Waiting
from tests.pyiris.scripted import FULL, turns

if TYPE_CHECKING:
    from actors.testing import ManualClock
    from irismq_runtime.pyiris import ManagedConnection
    from tests.pyiris.conftest import Members
    from tests.pyiris.scripted import ScriptedRelay, Wire

STEP = 0.05
BODY = b"x" * 1000


def answer(wire: Wire) -> list[int]:
    """Answer what the relay has read; the milliseconds that each request had left."""
    left = []
    for request in wire.of(ClientRequest):
        wire.received.remove(request)
        wire.send(RelayReply(request.id, False, b"ok", None))
        left.append(request.timeout_ms)
    return left


class Load:
    """Asks of a size, so many a step, of a relay that reads so many bytes a step."""

    def __init__(self, iris: ManagedConnection, wire: Wire, clock: ManualClock) -> None:
        self.iris, self.wire, self.clock = iris, wire, clock
        self.answered = 0
        self.refused: list[BaseException] = []
        self.late: list[BaseException] = []

    async def run(self, seconds: float, asks: int, reads: int, timeout: float = 5.0) -> int:
        """How many were answered meanwhile."""
        before = self.answered
        for _ in range(round(seconds / STEP)):
            for _ in range(asks):
                reply = self.iris.request("c", BODY, timeout)
                into = self.refused if reply.done() else self.late
                reply.add_done_callback(lambda done, into=into: self._ended(done, into))
            await turns(2)
            self.wire.read(reads)
            answer(self.wire)
            self.clock.advance(STEP)
            await turns(2)
        return self.answered - before

    def _ended(self, reply: asyncio.Future[bytes], into: list[BaseException]) -> None:
        if (error := reply.exception()) is None:
            self.answered += 1
        else:
            into.append(error)


@pytest.mark.parametrize("timeout", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("reads", [2_000, 20_000])
async def test_a_slow_relay_gets_its_share_all_the_time_and_the_rest_is_refused(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, timeout: float, reads: int
) -> None:
    iris = await connect()
    relay.wire.slow()
    load = Load(iris, relay.wire, clock)
    asks = 3 * reads // 1000
    await load.run(10.0, asks, reads, timeout)
    share = reads / (len(BODY) + 20)
    for _ in range(10):
        assert await load.run(4.0, asks, reads, timeout) >= 0.75 * share * 4.0 / STEP
    assert all(isinstance(each, RelayTooSlow) for each in load.refused)
    assert len(load.refused) > load.answered
    assert len(load.late) < 0.05 * load.answered + asks / STEP * 2, "a burst at most is too late"
    assert iris.statistics().overloaded == len(load.refused)
    # After the load what waits is soon gone, and then nothing is in the way.
    while iris.requests or relay.wire.unread:
        await load.run(STEP, 0, reads)
    lone = iris.request("c", b"first", timeout)
    await turns()
    relay.wire.read(reads)
    answer(relay.wire)
    assert await lone == b"ok"


async def test_the_refusal_says_what_waits_and_how_fast_it_is_read(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.wire.slow()
    load = Load(iris, relay.wire, clock)
    await load.run(10.0, 60, 20_000)
    refused = load.refused[-1]
    assert isinstance(refused, Overloaded)
    assert isinstance(refused, RelayTooSlow)
    assert 200_000 < refused.rate < 800_000
    assert refused.wait == pytest.approx(refused.waiting / refused.rate)
    assert refused.timeout == 5.0
    assert refused.peer in str(refused)
    assert "nothing was sent" in str(refused)


async def test_a_relay_that_reads_nothing_is_not_waited_for_by_more_than_it_could_serve(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(heartbeat=60.0)
    relay.wire.slow()
    load = Load(iris, relay.wire, clock)
    await load.run(1.0, 60, 0)
    assert not load.refused, "the first second is a burst"
    await load.run(4.0, 60, 0)
    assert len(load.refused) > 60 * 3.5 / STEP
    await load.run(5.0, 0, 0)
    assert all(isinstance(each, AskTimeout) for each in load.late)
    assert any("not sent" in str(each) for each in load.late)
    written = relay.wire.writes
    lone = iris.request("c", b"one", 60.0)
    await turns()
    relay.wire.read(1 << 30)
    assert relay.wire.writes == written + 1, "what nobody waits for is not written"
    sent = [each for each in relay.wire.of(ClientRequest) if each.body == b"one"]
    assert len(sent) == 1
    answer(relay.wire)
    assert await lone == b"ok"
    # It reads again: who comes now is neither refused nor waits.
    again = iris.request("c", b"two", 1.0)
    await turns()
    relay.wire.read(1 << 30)
    answer(relay.wire)
    assert await again == b"ok"


async def test_a_short_pause_of_the_relay_refuses_nothing(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.wire.slow()
    load = Load(iris, relay.wire, clock)
    await load.run(0.9, 200, 0)
    await load.run(1.0, 200, 1 << 30)
    assert not load.refused
    assert not load.late
    assert load.answered == 200 * round(1.9 / STEP)


async def test_what_is_written_late_says_the_time_that_is_left(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.wire.slow()
    iris.request("c", b"x" * FULL, 5.0)
    queued = iris.request("c", b"behind", 5.0)
    await turns()
    clock.advance(2.0)
    relay.wire.read(1 << 30)
    await turns()
    relay.wire.read(1 << 30)
    assert answer(relay.wire) == [5000, 3000]
    assert await queued == b"ok"


async def test_what_was_cancelled_while_it_waited_is_not_written(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    relay.wire.slow()
    iris.request("c", b"x" * FULL, 5.0)
    iris.request("c", b"behind", 5.0).cancel()
    relay.wire.read(1 << 30)
    relay.wire.read(1 << 30)
    assert [len(each.body) for each in relay.wire.of(ClientRequest)] == [FULL]


async def test_broadcasts_and_events_wait_for_5_s_and_are_then_dropped_counted_and_told(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    iris = await connect(heartbeat=60.0)
    relay.wire.slow()
    iris.broadcast("c", b"x" * FULL)
    iris.broadcast("c", b"early")
    iris.publish("t", b"early")
    clock.advance(0.9)
    iris.publish("t", b"later")
    clock.advance(4.2)
    with pytest.raises(RelayTooSlow):
        iris.publish("t", b"refused")
    with pytest.raises(RelayTooSlow):
        iris.broadcast("c", b"refused")
    with caplog.at_level(logging.WARNING):
        relay.wire.read(1 << 30)
    relay.wire.read(1 << 30)
    assert [each.body for each in relay.wire.of(Publish)] == [b"later"]
    assert [len(each.body) for each in relay.wire.of(ClientBroadcast)] == [FULL]
    assert iris.statistics().dropped == 2
    assert caplog.text.count("were not sent") == 1, "one line for all"
    iris.publish("t", b"anew")
    await turns()
    relay.wire.read(1 << 30)
    assert relay.wire.of(Publish)[-1].body == b"anew"


async def test_an_answer_that_is_too_late_when_its_turn_comes_is_not_written(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    iris = await connect("c", handler)
    relay.wire.slow()
    for number, timeout in enumerate((10_000, 1_000, 10_000)):
        relay.wire.send(RelayRequest(number, b"q", timeout))
    first, second, third = handler.requests
    assert first.reply(b"x" * FULL)
    assert second.reply(b"late")
    assert third.reply(b"in time")
    await turns()
    clock.advance(2.0)
    relay.wire.read(1 << 30)
    relay.wire.read(1 << 30)
    assert [each.id for each in relay.wire.of(ClientReply)] == [0, 2]
    assert iris.statistics().answered_too_late == 1


async def test_what_has_no_deadline_keeps_its_place_however_long_it_waits(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(heartbeat=60.0)
    relay.wire.slow()
    iris.publish("t", b"x" * FULL)
    listening = asyncio.ensure_future(iris.listen("t", lambda _: None))
    await turns()
    clock.advance(4.0)
    iris.request("c", b"behind", 50.0)
    relay.wire.read(1 << 30)
    relay.wire.read(1 << 30)
    kinds = [type(each) for each in relay.wire.received[-3:]]
    assert kinds == [Publish, Subscribe, ClientRequest]
    clock.advance(2.0)
    await turns()
    await (await listening).close()


async def test_over_the_limit_of_bytes_all_is_refused_at_once(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect(limits=Limits(unsent=5_000))
    relay.wire.slow()
    iris.publish("t", b"x" * FULL)
    replies = [iris.request("c", BODY, 5.0) for _ in range(10)]
    refused = [each for each in replies if each.done()]
    assert len(refused) == 5
    assert all(isinstance(each.exception(), Overloaded) for each in refused)
    assert iris.statistics().overloaded == 5


# The decisions ------------------------------------------------------------------


def entry(size: int, deadline: float) -> Waiting:
    return Waiting(size, lambda: b"x" * size, deadline)


def refusal(
    backlog: Backlog, now: float, *, ahead: int, timeout: float = 5.0, kind: str = ""
) -> RelayTooSlow | None:
    return backlog.refusal(now, ahead=ahead, handed=1000, size=1000, timeout=timeout, kind=kind)


def test_a_piece_is_a_quarter_of_a_second_and_skips_what_is_too_late() -> None:
    backlog = Backlog("the relay")
    backlog.begin(0.0, 0)
    backlog.room(1.0, 400_000)
    dropped: list[int] = []
    backlog.add(Waiting(10, lambda: b"late", 0.5, drop=lambda: dropped.append(10)))
    for _ in range(200):
        backlog.add(entry(1000, 9.0))
    data, gone = backlog.piece(1.0)
    assert len(data) == 100_000
    assert gone == 100_010
    assert dropped == [10]
    assert len(backlog) == 100


def test_what_is_too_late_is_let_go_behind_what_is_never_late() -> None:
    backlog = Backlog("the relay")
    backlog.begin(0.0, 0)
    assert backlog.sweep(0.9) == 0
    for _ in range(3):
        backlog.add(Waiting(50, lambda: b"beat"))
        for _ in range(100):
            backlog.add(entry(1000, 1.0))
    assert backlog.sweep(1.0) == 300_000, "though all was looked at a moment ago"
    assert backlog.piece(1.0) == (b"beat" * 3, 150)


def test_the_rate_is_the_average_of_the_last_second_and_of_what_was_read_since() -> None:
    def rate(backlog: Backlog, now: float) -> float:
        found = refusal(backlog, now, ahead=1 << 40, timeout=1.0)
        assert found is not None
        return found.rate

    backlog = Backlog("the relay")
    backlog.begin(0.0, 0)
    backlog.room(2.0, 2_000)
    assert rate(backlog, 2.0) == 1_000
    backlog.room(2.05, 1_000_000)
    assert rate(backlog, 2.05) > 900_000, "a burst after a pause counts at once"
    backlog.room(3.0, 1_003_000)
    assert rate(backlog, 3.0) == 501_000
    assert rate(backlog, 3.5) == 334_000, "and so does it that nothing was read since"


def test_after_a_rest_what_was_measured_is_forgotten() -> None:
    backlog = Backlog("the relay")
    backlog.begin(0.0, 0)
    backlog.room(5.0, 1_000)
    assert refusal(backlog, 5.0, ahead=10_000) is not None
    backlog.end(5.0)
    backlog.begin(6.0, 1_000)
    assert refusal(backlog, 6.5, ahead=10_000) is None


def test_one_that_comes_alone_may_wait_for_half_of_its_time_and_one_of_many_may_not() -> None:
    backlog = Backlog("the relay")
    backlog.begin(0.0, 0)
    for second in range(1, 30):
        backlog.room(second, second * 10_000)
    assert refusal(backlog, 29.0, ahead=20_000) is None, "2 s of 5, and alone"
    assert refusal(backlog, 29.01, ahead=20_000) is not None
    assert refusal(backlog, 29.02, ahead=20_000, kind="presence") is None, "alone of its kind"
    assert refusal(backlog, 29.9, ahead=26_000) is not None, "2.6 s of 5"


def test_however_many_kinds_there_are_few_are_remembered() -> None:
    backlog = Backlog("the relay")
    for number in range(100_000):
        refusal(backlog, 0.0, ahead=1, kind=str(number))
    assert len(backlog._asked_at) <= 256
