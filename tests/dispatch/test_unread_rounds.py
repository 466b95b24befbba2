"""What nothing here can read is left to other members, some times, and then put aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from actors import Actor, message, receives
from actors.testing import ManualClock, settle
from irismq_runtime.dispatch.unread_rounds import ROUNDS, UnreadRounds
from irismq_runtime.messaging import dead_topic
from irismq_runtime.node import durable
from irismq_runtime.wire import (
    Envelope,
    Kind,
    decode_dead_untrusted,
    decode_envelope_untrusted,
    encode_envelope,
    new_id,
)
from supervisors import Supervisor, child
from tests.node.helpers import Add, Counter, Fail, MemoryServers
from tests.support.transports import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from irismq_runtime import Node

ADDRESS = Counter.address
ATTEMPTS = 3
KEYS = {"keys": {"k": b"0123456789abcdef0123456789abcdef"}}


@message("test.wave")
@dataclass(frozen=True)
class Wave:
    """Known everywhere; `Counter` has no handler for it."""


class Listener(Actor):
    """Hears events of a topic, on a channel of its own."""

    address = "test.listener"

    subscribes = durable("test.news", channel="listener")

    @receives(Add)
    def heard(self, message: Add) -> None:
        raise AssertionError("no event of this type is published")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def world(clock: ManualClock) -> MemoryServers:
    return MemoryServers(MemoryBroker(clock))


async def started(node: Node, clock: ManualClock, *, others: bool) -> None:
    node.parts.dispatch.others_serve = lambda address: others
    await settle(node.system)
    clock.advance(1.5)
    await node.start(Supervisor.of(child(Counter), max_restarts=100))
    await node.start(child(Listener))


@pytest.fixture
async def node(world: MemoryServers, clock: ManualClock) -> AsyncIterator[Node]:
    """One that knows of another node which serves all that it does."""
    async with world.node("old", clock=clock, max_attempts=ATTEMPTS) as node:
        await started(node, clock, others=True)
        yield node


def unheard_of() -> Envelope:
    return Envelope(Kind.TELL, new_id(), "test.unheard.of", b"\x80", {})


async def play(node: Node, clock: ManualClock) -> None:
    """Let all rounds of all attempts come and go."""
    for _ in range(2 * ATTEMPTS * (ROUNDS + 1)):
        await settle(node.system)
        clock.advance(2.0)
    await settle(node.system)


def history(node: Node, address: str = ADDRESS) -> list[str]:
    """How each delivery to an address was settled."""
    (binding,) = [each for each in node.parts.binder if each.address == address]
    return [each.settled[0] for _, consumption in binding.stored for each in consumption.history]


def buried(world: MemoryServers, address: str = ADDRESS) -> list[Any]:
    bodies = world.broker.bodies(dead_topic(address))
    return [decode_dead_untrusted(body, max_size=2**20) for body in bodies]


ROUND = ["requeue"] * (ATTEMPTS - 1)


async def test_an_unknown_type_is_stored_again_while_others_serve_the_address(node, world, clock):
    envelope = unheard_of()
    world.broker.store(ADDRESS, encode_envelope(envelope), 0)
    await play(node, clock)
    assert history(node) == [*[*ROUND, "defer"] * ROUNDS, *ROUND, "bury"]
    (record,) = buried(world)
    assert record.id == envelope.id
    assert "test.unheard.of" in record.reason
    stored = [decode_envelope_untrusted(body) for body in world.broker.bodies(ADDRESS)]
    assert stored == [envelope] * (1 + ROUNDS), "as it was"


async def test_so_is_a_type_without_a_handler(node, world, clock):
    node.ref(ADDRESS).tell(Wave())
    await play(node, clock)
    assert history(node) == [*[*ROUND, "defer"] * ROUNDS, *ROUND, "bury"]
    assert [record.reason.split(":")[0] for record in buried(world)] == ["refused"]


async def test_where_nobody_else_is_known_it_ends_with_its_attempts(world, clock):
    async with world.node("alone", clock=clock, max_attempts=ATTEMPTS) as node:
        await started(node, clock, others=False)
        world.broker.store(ADDRESS, encode_envelope(unheard_of()), 0)
        await play(node, clock)
        assert history(node) == [*ROUND, "bury"]


async def test_so_is_an_envelope_of_a_version_to_come(node, world, clock):
    body = b"\xc1" * 20
    world.broker.store(ADDRESS, body, 0)
    await play(node, clock)
    assert history(node) == [*[*ROUND, "defer"] * ROUNDS, *ROUND, "bury"]
    assert world.broker.bodies(ADDRESS) == [body] * (1 + ROUNDS)


async def test_what_is_malformed_or_refused_or_fails_is_not(node, world, clock):
    world.broker.store(ADDRESS, encode_envelope(unheard_of())[:-1], 0)
    await play(node, clock)
    assert history(node) == ["bury"]
    for how in ("refuse", "crash"):
        node.ref(ADDRESS).tell(Fail(how))
        await play(node, clock)
    assert history(node) == ["bury", "bury", *ROUND, "bury"]


async def test_an_event_is_not_stored_again_as_its_copy_would_reach_other_channels(
    node, world, clock
):
    event = Envelope(Kind.EVENT, new_id(), "test.unheard.of", b"\x80", {})
    world.broker.store("test.news", encode_envelope(event), 0)
    await play(node, clock)
    assert history(node, Listener.address) == [*ROUND, "bury"]


async def test_what_is_stored_again_is_signed_for_that_time(world, clock):
    """The broker's time says how old a signature is: the old one would be taken for a replay."""
    async with (
        world.node("old", clock=clock, max_attempts=ATTEMPTS, **KEYS) as node,
        world.node("teller", clock=clock, **KEYS) as teller,
    ):
        await started(node, clock, others=True)
        teller.ref(ADDRESS).tell(Wave())
        await settle(teller.system)
        await settle(node.system)
        clock.advance(2000.0)
        await play(node, clock)
        assert history(node) == [*[*ROUND, "defer"] * ROUNDS, *ROUND, "bury"]
        bodies = world.broker.bodies(ADDRESS)
        assert len(set(bodies)) == 1 + ROUNDS
        assert len({decode_envelope_untrusted(body).id for body in bodies}) == 1


def test_each_message_has_its_rounds():
    unread = UnreadRounds()
    one, other = new_id(), new_id()
    assert [unread.again(one) for _ in range(ROUNDS + 2)] == [True] * ROUNDS + [False] * 2
    assert unread.again(other)
