"""The tools for tests: probes, rest, and the pytest plugin as its users have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actors.testing import Probe, settle
from tests.actors.people import Counter

if TYPE_CHECKING:
    from actors import System

pytest_plugins = ["pytester"]


async def test_a_probe_sees_messages_in_order(probe: Probe) -> None:
    probe.ref.tell("one")
    probe.ref.tell(2)
    assert await probe.expect() == "one"
    assert await probe.expect(int) == 2
    await probe.expect_none()


async def test_a_probe_answers_when_the_test_does(actor_system: System, probe: Probe) -> None:
    asked = probe.ref.ask("what?")
    received = await probe.expect_received(str)
    assert received.context.kind == "ask"
    assert received.reply(42)
    assert await asked == 42


async def test_a_probe_says_what_it_missed(actor_system: System) -> None:
    probe = Probe(actor_system, name="ear", timeout=0.01)
    with pytest.raises(AssertionError, match=r"ear expected a int, but none came within 0\.01 s"):
        await probe.expect(int)
    probe.ref.tell("x")
    with pytest.raises(AssertionError, match="expected a int, but got 'x'"):
        await probe.expect(int)
    probe.ref.tell("y")
    with pytest.raises(AssertionError, match="expected nothing, but got 'y'"):
        await probe.expect_none()
    other = actor_system.start(Counter)
    await probe.watch(other)
    await other.stop()
    assert await probe.expect() == "y"
    with pytest.raises(AssertionError, match="expected the end of"):
        await probe.expect_terminated(probe.ref)


async def test_settle_lets_everything_run_that_can(actor_system: System) -> None:
    refs = [actor_system.start(Counter) for _ in range(10)]
    for ref in refs:
        for number in range(1000):
            ref.tell(number)
    await settle(actor_system)
    assert [ref.room for ref in refs] == [10_000] * 10


USERS_TEST = """
import actors

class Reminder(actors.Actor):
    def __init__(self, to):
        super().__init__()
        self.to = to

    def on_start(self):
        self.send_after(60.0, "ring")

    def on_receive(self, message):
        self.to.tell(message)

async def test_it_rings_after_a_minute(actor_system, manual_clock, probe):
    await actor_system.start(Reminder, probe.ref).started()
    manual_clock.advance(59.9)
    await probe.expect_none()
    manual_clock.advance(0.1)
    assert await probe.expect(str) == "ring"

async def test_without_a_manual_clock(actor_system):
    assert actor_system.real_time
"""


def test_users_have_the_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USERS_TEST)
    pytester.makeini("[pytest]\nasyncio_mode = auto\n")
    result = pytester.runpytest_subprocess("-q", "-p", "no:randomly")
    result.assert_outcomes(passed=2)


ENDING = """
import pytest
from actors import Actor, ThreadActor
from actors.testing import settle

ended = []

class Owner(Actor):
    async def on_stop(self, reason):
        ended.append(("loop", reason))

class Threaded(ThreadActor):
    def on_stop(self, reason):
        ended.append(("thread", reason))

class Hung(Actor):
    async def on_receive(self, message):
        import asyncio
        await asyncio.Event().wait()

@pytest.mark.parametrize("hung", [False, True])
async def test_begins(actor_system, manual_clock, hung):
    for kind in (Owner, Threaded):
        await actor_system.start(kind).started()
    if hung:
        actor_system.start(Hung).tell("for ever")
        await settle(actor_system)

def test_ended():
    assert sorted(ended) == [("loop", "shutdown")] * 2 + [("thread", "shutdown")] * 2
"""


def test_what_still_lives_runs_its_on_stop_with_a_manual_clock(pytester: pytest.Pytester) -> None:
    """170: as with the clock of the loop; what hangs is cut off by the manual one."""
    pytester.makepyfile(ENDING)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:randomly", "-W", "error")
    result.assert_outcomes(passed=3)
