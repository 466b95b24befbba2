"""How a class of actors has its stored messages tried again, and what that costs its supervisor."""

from __future__ import annotations

import pytest

from actors import Actor, ActorClassError, Exit, Outcome, Retry, receives
from actors.testing import ManualClock, settle
from irismq_runtime import ConfigError, RetryPolicy
from irismq_runtime.dispatch.retry_policy import settled
from irismq_runtime.dispatch.settlement import AttemptLimits, Settlement, admission
from irismq_runtime.messaging import dead_topic
from irismq_runtime.wire import decode_dead_untrusted
from supervisors import Supervisor, child, which_children
from tests.node.helpers import Add, Counter, Fail, MemoryServers
from tests.support.transports import MemoryBroker

ADDRESS = "test.counter"


class Throttled(Exception):
    pass


class Hopeless(Exception):
    pass


POLICY = RetryPolicy(
    attempts=4,
    first=2.0,
    longest=10.0,
    jitter=0.0,
    never=(Hopeless,),
    by_error={
        Throttled: RetryPolicy(attempts=8, first=60.0, longest=60.0, jitter=0.5),
        OSError: RetryPolicy(attempts=1),
    },
)


def decided(error, attempts, *, chance=0.0, more=0, kind="crashed", **fields):
    return settled(
        POLICY,
        Outcome(kind, error=error, **fields),
        attempts=attempts,
        allowed=POLICY.most(5) + more,
        otherwise=5,
        chance=chance,
    )


def test_the_table_of_a_policy():
    def decision(*case, **more):
        verdict = decided(*case, **more)
        return verdict.delay if verdict.action == "requeue" else verdict.reason

    boom, slow = ValueError("boom"), Throttled("slow")
    assert {
        "the first delay": decision(boom, 1),
        "it grows": decision(boom, 3),
        "the last attempt": decision(boom, 4),
        "another policy for an error": decision(slow, 1),
        "its longest delay": decision(slow, 7, chance=1.0),
        "a base class of the error": decision(ConnectionError("gone"), 1),
        "never": decision(Hopeless("no"), 1),
        "hops of an event cost none": decision(boom, 4, more=2),
        "nor are they failures": decision(boom, 3, more=2),
        "also where there were fewer": decision(boom, 1, more=2),
    } == {
        "the first delay": 2.0,
        "it grows": 8.0,
        "the last attempt": "crashed: ValueError: boom",
        "another policy for an error": 30.0,
        "its longest delay": 60.0,
        "a base class of the error": "crashed: ConnectionError: gone",
        "never": "crashed, and is not tried again: Hopeless: no",
        "hops of an event cost none": 4.0,
        "nor are they failures": 2.0,
        "also where there were fewer": 2.0,
    }
    assert decided(slow, 8).action == "bury"
    said = decided(Retry(1.5), 1, kind="retry", retry_after=1.5)
    assert said == Settlement("requeue", 1.5)


def test_without_a_policy_it_is_the_table_of_settlements():
    verdict = settled(
        None,
        Outcome("crashed", error=ValueError("boom")),
        attempts=1,
        allowed=5,
        otherwise=5,
        chance=0.5,
    )
    assert verdict == Settlement("requeue", None)


def test_a_policy_without_meaning_is_refused_with_the_name_of_its_option():
    wrong = (
        {"attempts": 0},
        {"first": 0.0},
        {"longest": float("nan")},
        {"jitter": 1.5},
        {"never": ValueError},
        {"by_error": {ValueError: 5}},
        {"by_error": {ValueError: POLICY}},
        {"first": 5.0, "longest": 1.0},
    )
    for options in wrong:
        with pytest.raises(ConfigError) as caught:
            RetryPolicy(**options)
        assert caught.value.option == f"RetryPolicy.{next(iter(options))}"
    with pytest.raises(ActorClassError, match="retry_policy"):

        class Wrong(Actor):
            retry_policy = 5


def test_what_says_nothing_itself_expires_as_its_class_says():
    limits = AttemptLimits(5, 3600.0, expires=10.0)

    def verdict(now, *, due=None, expires=None):
        return admission(
            attempts=1, now=now, stored=100.0, due=due, expires=expires, limits=limits
        ).action

    assert [verdict(now) for now in (109.9, 110.0)] == ["handle", "finish"]
    assert [verdict(now, due=150.0) for now in (159.0, 160.0)] == ["handle", "finish"]
    assert verdict(500.0, expires=501.0) == "handle"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def node(clock):
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("server", clock=clock, max_attempts=3) as node:
        await settle(node.system)
        clock.advance(1.5)
        node.world = world
        yield node


def letters(node):
    bodies = node.world.broker.bodies(dead_topic(ADDRESS))
    return [decode_dead_untrusted(body, max_size=2**20) for body in bodies]


class Patient(Counter):
    retry_policy = RetryPolicy(attempts=6, first=1.0, longest=1.0, jitter=0.0)


async def test_a_class_has_its_messages_tried_as_often_as_it_says(node, clock):
    log = []
    await node.start(Supervisor.of(child(Patient, log)))
    node.ref(ADDRESS).tell(Fail("crash"))
    await settle(node.system)
    for attempt in range(1, 6):
        assert log == [("crash", n) for n in range(1, attempt + 1)]
        clock.advance(0.9)
        await settle(node.system)
        assert len(log) == attempt
        clock.advance(0.2)
        await settle(node.system)
    assert [letter.attempts for letter in letters(node)] == [6]


async def test_bad_messages_do_not_end_their_worker(node, clock):
    """Twenty of them crash it sixty times, where three restarts are allowed in five seconds."""
    log = []
    root = await node.start(Supervisor.of(child(Counter, log)))
    for _ in range(20):
        node.ref(ADDRESS).tell(Fail("crash"))
    node.ref(ADDRESS).tell(Add(1))
    for _ in range(6):
        await settle(node.system)
        clock.advance(0.7)
    assert len(letters(node)) == 20
    assert which_children(root)[0].restarts == 60
    assert 1 in log
    assert await node.ref(ADDRESS).ask(Add(1)) == 1
    assert node.health().live


async def test_asks_that_crash_their_actor_count_as_ever(node):
    root = await node.start(Supervisor.of(child(Counter)))
    for _ in range(4):
        with pytest.raises(Exception, match="boom"):
            await node.ref(ADDRESS).ask(Fail("crash"))
    await settle(node.system)
    assert not root.is_alive()


async def test_a_crash_is_charged_to_a_stored_message_alone(node):
    exits = []

    class Witness:
        async def started(self, ref, actor): ...
        async def restarted(self, ref, actor): ...
        async def ended(self, ref, exit_): ...
        async def restarting(self, ref, exit_):
            exits.append(exit_)

    class Believed:
        charged = True  # a message that says so of itself

    class Falls(Counter):
        @receives(Believed)
        def fall(self, message):
            raise ValueError("boom")

    node.system.lifecycle.append(Witness())
    root = await node.start(Supervisor.of(child(Falls)))
    node.ref(ADDRESS).tell(Fail("crash"))
    await settle(node.system)
    which_children(root)[0].ref.tell(Believed())
    await settle(node.system)
    assert [each.charged for each in exits] == [True, False]
    assert Exit("crash").charged is False


async def test_what_has_waited_too_long_is_not_handled(node, clock):
    class Fresh(Counter):
        mailbox_expires = 5.0

    log = []
    node.ref(ADDRESS).tell(Add(1))
    await settle(node.system)
    clock.advance(6.0)
    node.ref(ADDRESS).tell(Add(2))
    await node.start(Supervisor.of(child(Fresh, log)))
    await settle(node.system)
    assert log == [2]
    assert node.parts.dispatch.counters.expired == 1
