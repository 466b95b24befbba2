"""When a relay writes: at the end of a turn, and broadcasts to many together."""

from __future__ import annotations

import pytest

from actors.testing import ManualClock
from irismq_runtime.embedded.relay.turns import Turns


class Connection:
    """Notes when it wrote; each write takes `cost` seconds."""

    def __init__(self, clock, cost=0.0):
        self.clock = clock
        self.cost = cost
        self.wrote = []

    def flush(self):
        self.wrote.append(self.clock.monotonic())
        self.clock.advance(self.cost)


def many(clock, count, cost):
    return [Connection(clock, cost) for _ in range(count)]


def broadcast(turns, connections, size=100):
    for connection in connections:
        turns.gather(connection, size, first=True)
    turns.end()


@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_a_broadcast_that_comes_alone_is_written_at_once(count):
    clock = ManualClock()
    connections = many(clock, count, 0.0001)
    broadcast(Turns(clock), connections)
    assert all(len(connection.wrote) == 1 for connection in connections)


def test_broadcasts_to_many_in_a_row_wait_for_each_other_and_never_for_long():
    clock = ManualClock()
    turns = Turns(clock)
    connections = many(clock, 100, 0.0001)  # 10 ms for all of them
    broadcast(turns, connections)
    for _ in range(3):  # these are gathered, 30 ms long
        broadcast(turns, connections)
    assert all(len(connection.wrote) == 1 for connection in connections)
    clock.advance(0.031)
    assert all(len(connection.wrote) > 1 for connection in connections)
    slow = many(clock, 100, 0.01)  # a second for all of them
    clock.advance(1.0)
    broadcast(turns, slow)
    broadcast(turns, slow)
    clock.advance(0.051)
    assert all(len(connection.wrote) > 1 for connection in slow)


def test_broadcasts_to_few_and_many_bytes_wait_for_nothing():
    clock = ManualClock()
    turns, few = Turns(clock), many(clock, 8, 0.001)
    for sent in range(1, 4):
        broadcast(turns, few)
        assert all(len(connection.wrote) == sent for connection in few)
    crowd = many(clock, 100, 0.001)
    broadcast(turns, crowd)
    broadcast(turns, crowd, size=11_000)
    assert all(len(connection.wrote) == 2 for connection in crowd)


def test_who_has_an_answer_to_write_does_not_wait_for_what_is_gathered():
    clock = ManualClock()
    turns, crowd = Turns(clock), many(clock, 100, 0.001)
    broadcast(turns, crowd)
    broadcast(turns, crowd)
    turns.touch(crowd[7])
    turns.end()
    assert [len(connection.wrote) for connection in crowd[6:9]] == [1, 2, 1]


def test_nothing_is_written_after_the_end():
    clock = ManualClock()
    turns, crowd = Turns(clock), many(clock, 100, 0.001)
    broadcast(turns, crowd)
    broadcast(turns, crowd)
    turns.stop()
    clock.advance(1.0)
    assert all(len(connection.wrote) == 1 for connection in crowd)
