"""How many messages an actor handles a second."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pykka.messages import _ActorStop

from actors import (
    Actor,
    ActorClassError,
    ActorDeadError,
    AskTimeout,
    Context,
    Rate,
    System,
    ThreadActor,
    receives,
    runtime,
)
from actors._rates import turn_at
from actors.testing import ManualClock, settle
from supervisors import Supervisor, child, start, which_children


@given(
    arrivals=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60).map(sorted),
    rate=st.builds(Rate, st.floats(0.1, 50.0), st.integers(1, 5)),
)
def test_over_any_time_there_are_no_more_than_the_rate_and_its_burst(arrivals, rate):
    due, now, turns = 0.0, 0.0, []
    for arrival in arrivals:
        now = max(now, arrival)  # one after another, as an actor handles them
        turn, due = turn_at(due, now, rate)
        assert turn >= now
        turns.append(turn)
        now = turn
    for first, begin in enumerate(turns):
        for last in range(first, len(turns)):
            most = rate.burst + (turns[last] - begin) * rate.per_second
            assert last - first + 1 <= most + 1e-6


def test_after_a_time_of_quiet_nobody_waits():
    turn, due = turn_at(0.0, 1000.0, Rate(0.5))
    assert (turn, due) == (1000.0, 1002.0)
    assert turn_at(due, 5000.0, Rate(0.5))[0] == 5000.0


class Paced(Actor):
    handler_rate = Rate(2.0, burst=2)

    def __init__(self, log):
        self.log = log

    async def after_start(self):
        self.log.append("warm")

    @receives(int)
    def take(self, message):
        self.log.append(message)
        if message == 1:
            raise ValueError("one")
        return message

    @receives(str, batch=3, within=1.0)
    async def together(self, messages):
        self.log.append(messages)


async def test_what_comes_too_soon_waits_in_its_order(actor_system, manual_clock):
    log = []
    paced = actor_system.start(Paced, log)
    for number in (2, 3, 4, 5):
        paced.tell(number)
    await settle(actor_system)
    assert log == ["warm", 2, 3]
    for expected in (4, 5):
        manual_clock.advance(0.48)
        await settle(actor_system)
        assert expected not in log
        manual_clock.advance(0.02)
        await settle(actor_system)
        assert log[-1] == expected
    manual_clock.advance(60.0)
    for number in (6, 7):
        paced.tell(number)
    await settle(actor_system)
    assert log[-2:] == [6, 7]


async def test_a_crash_gives_no_more(actor_system, manual_clock):
    log = []
    root = start(Supervisor.of(child(Paced, log)), actor_system)
    await root.started()
    paced = which_children(root)[0].ref
    for number in (1, 2, 3):
        paced.tell(number)
    await settle(actor_system)
    assert log == ["warm", 1, "warm", 2]
    manual_clock.advance(0.6)
    await settle(actor_system)
    assert log[-1] == 3


async def test_a_batch_counts_as_one(actor_system, manual_clock):
    log = []
    paced = actor_system.start(Paced, log)
    for text in "abcdef":
        paced.tell(text)
    await settle(actor_system)
    assert log == ["warm", ["a", "b", "c"], ["d", "e", "f"]]


def test_what_is_no_rate_is_refused():
    for options in ({"per_second": 0}, {"per_second": 1, "burst": 0}, {"per_second": True}):
        with pytest.raises(ValueError, match="="):
            Rate(**options)
    with pytest.raises(ActorClassError, match="handler_rate"):

        class Wrong(Actor):
            handler_rate = 5

    with pytest.raises(ActorClassError, match="thread"):

        class Blocks(ThreadActor):
            handler_rate = Rate(1)


async def test_beside_a_time_limit_a_batch_counts_as_one_and_a_stop_has_no_turn(
    actor_system, manual_clock
):
    class Limited(Paced):
        handler_timeout = 60.0

    log = []
    paced = actor_system.start(Limited, log)
    for text in "abcdef":
        paced.tell(text)
    await settle(actor_system)
    assert log == ["warm", ["a", "b", "c"], ["d", "e", "f"]]
    paced.tell(_ActorStop())
    await settle(actor_system)
    assert not paced.is_alive()


class Rare(Actor):
    handler_rate = Rate(0.01)

    def __init__(self, log):
        self.log = log

    async def on_receive(self, message):
        self.log.append(message)
        return message


@pytest.fixture
async def rare(actor_system, manual_clock):
    """An actor that has had its turn, and so has the next one in a hundred seconds."""
    rare = actor_system.start(Rare, [])
    assert await rare.ask(0) == 0
    return rare


async def test_a_stop_does_not_wait_for_the_turn_of_a_message(rare, actor_system):
    waiting, late = rare.ask(1, timeout=1000.0), rare.ask(2, timeout=1000.0)
    await settle(actor_system)
    stopped = rare.stop()
    await settle(actor_system)
    assert stopped.done()
    for each in (waiting, late):
        with pytest.raises(ActorDeadError):
            await each


async def test_a_stop_from_another_thread_does_not_wait_for_it(rare, actor_system):
    rare.tell(1)
    await settle(actor_system)
    assert await asyncio.to_thread(lambda: rare.stop().get(timeout=60.0))


async def test_what_waits_for_its_turn_is_handled_by_the_next_incarnation(
    actor_system, manual_clock
):
    log = []
    root = start(Supervisor.of(child(Rare, log)), actor_system)
    await root.started()
    rare = which_children(root)[0].ref
    rare.tell(0)
    asked = [rare.ask(n, timeout=1000.0) for n in (1, 2)]
    await settle(actor_system)
    rare._slot.kill()
    for _ in range(4):
        await settle(actor_system)
        manual_clock.advance(100.0)
    assert [await each for each in asked] == [1, 2]
    assert log == [0, 1, 2]


async def test_a_kill_leaves_what_waits_for_its_turn_where_it_is(rare, actor_system):
    outcomes = []
    rare.deliver(1, context=Context(), on_done=outcomes.append)
    await settle(actor_system)
    exit_ = await runtime.stop(rare._slot, timeout=0.0)
    assert (exit_.reason, exit_.message_type) == ("killed", None)
    assert len(rare._slot.inbox) == 1
    assert outcomes == []


async def test_what_nobody_waits_for_any_more_is_not_handled_and_uses_up_no_turn(
    actor_system, manual_clock
):
    log = []
    rare = actor_system.start(Rare, log)
    rare.tell(0)
    expired = [rare.ask(n, timeout=50.0) for n in (1, 2)]
    rare.tell(3)
    await settle(actor_system)
    manual_clock.advance(51.0)
    await settle(actor_system)
    for each in expired:
        with pytest.raises(AskTimeout):
            await each
    manual_clock.advance(49.1)
    await settle(actor_system)
    assert log == [0, 3]


async def test_an_actor_that_waits_for_a_turn_is_not_slow_and_has_nothing_in_hand(
    rare, actor_system, manual_clock
):
    waiting = rare.ask(1, timeout=60.0)
    await settle(actor_system)
    manual_clock.advance(59.0)
    await settle(actor_system)
    assert actor_system.slow.now() == []
    assert rare._slot.handled == 1
    manual_clock.advance(1.5)
    with pytest.raises(AskTimeout) as caught:
        await waiting
    assert "waiting in the inbox" in str(caught.value)


async def test_the_rate_holds_within_middleware_and_for_what_an_actor_has_become():
    seen, log, clock = [], [], ManualClock()

    async def noting(context, message, call_next):
        seen.append(message)
        return await call_next(message)

    class Changing(Rare):
        async def after_start(self):
            self.become(log.append)

    system = System("rates", clock=clock, middleware=[noting])
    system.attach()
    changing = system.start(Changing, [])
    for number in range(3):
        changing.tell(number)
    await settle(system)
    assert (seen, log) == ([0], [0])
    for _ in range(2):
        clock.advance(100.0)
        await settle(system)
    assert (seen, log) == ([0, 1, 2], [0, 1, 2])
    await system.shutdown(1.0)
