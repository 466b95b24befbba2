"""Messages through a tree whose children crash at random: sent = handled + dead letters.

What the rules say is lost is the message in hand of a crash, and what waited in a slot
that ended for good. Each of these is a dead letter with its reason; nothing else is lost.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from actors import Actor, ActorDeadError, MailboxFull, System
from actors.testing import ManualClock
from supervisors import Supervisor, child, which_children
from tests.supervisors.helpers import begun, rest
from tests.support.until import until

LEAVES = 24


class Counting(Actor):
    """Handles numbers; those of its share are poison and crash it."""

    def __init__(self, handled, poison):
        self.handled, self.poison = handled, poison

    def on_receive(self, message):
        if message in self.poison:
            raise ValueError("poison")
        self.handled[message] += 1


def tree(handled, poison):
    """Three levels, all strategies, limits that are passed now and then."""

    def inner(name, strategy, limit):
        return child(
            Supervisor.of(
                child(Counting, handled, poison, name=f"{name}-w", instances=LEAVES // 3),
                strategy=strategy,
                max_restarts=limit,
                max_seconds=5.0,
            ),
            name=name,
        )

    return Supervisor.of(
        inner("one", "one_for_one", 9),
        inner("all", "one_for_all", 9),
        inner("rest", "rest_for_one", 9),
        max_restarts=100_000,
        name="root",
    )


def leaves(root):
    return [
        info.ref
        for group in which_children(root)
        if group.ref is not None
        for info in which_children(group.ref)
        if info.ref is not None
    ]


def is_whole(root):
    """All leaves run again, and nothing waits for any of them."""
    refs = leaves(root)
    return len(refs) == LEAVES and all(
        ref._slot.state.value == "running" and not ref._slot.scheduled for ref in refs
    )


async def run(total, seed):
    rng = random.Random(seed)
    handled: Counter = Counter()
    poison = set(rng.sample(range(total), total // 200))
    letters: Counter = Counter()
    reasons: Counter = Counter()

    def on_event(event):
        if event.name == "dead_letter":
            letter = event.fields["letter"]
            letters[letter.message] += 1
            reasons[letter.reason] += 1

    clock = ManualClock()
    system = System(clock=clock)
    system.events.subscribe(on_event)
    root = await begun(tree(handled, poison), system)
    refs, sent = leaves(root), 0
    for number in range(total):
        if number % 512 == 0:
            await rest(4)
            clock.advance(rng.choice([0.1, 0.5, 1.0]))
            refs = leaves(root) or refs
        try:
            rng.choice(refs).tell(number)
        except ActorDeadError:
            # Recorded as a dead letter by the slot that is no more.
            sent += 1
        except MailboxFull:
            continue
        else:
            sent += 1
    await until(lambda: is_whole(root), "the population is whole again")
    await system.shutdown()
    assert handled.total() + letters.total() == sent
    assert not handled.keys() & letters.keys(), "a message was both handled and buried"
    assert max(handled.values()) == 1
    assert max(letters.values()) == 1
    assert set(reasons) <= {"crashed", "dead"}
    assert letters.keys() >= {number for number in poison if number not in handled}
    assert not poison & handled.keys()
    return reasons


async def test_fifty_thousand_messages(caplog):
    caplog.set_level("CRITICAL")
    reasons = await run(50_000, 1)
    assert reasons["crashed"] > 100
    assert reasons["dead"] > 0, "no supervisor gave up: the test does not reach far enough"


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_million_messages(caplog):
    caplog.set_level("CRITICAL")
    reasons = await run(1_000_000, 2)
    assert reasons["crashed"] > 2_000
