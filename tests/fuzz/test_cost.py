"""Nothing from outside costs more than in proportion to its size, whatever is in it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.cost import (
    FULL,
    JSON,
    MSGPACK,
    PART,
    ROOM,
    STREAMS,
    VALUES,
    cases,
    growth,
    refusing,
)
from tests.support.walk import walk

if TYPE_CHECKING:
    from tests.fuzz.cost import Read

CASES = {name: (make, readers) for name, make, readers in cases()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_the_cost_of_an_input_grows_as_its_size(name: str):
    make, readers = CASES[name]
    small, large = make(FULL // PART), make(FULL)
    with walk() as case:
        for reader, read in readers.items():
            with case(reader):
                assert growth(read, small, large) < ROOM


def test_a_cost_that_grows_with_the_square_is_seen():
    def square(data: bytes) -> int:
        return sum(data[at:].count(0) for at in range(0, len(data), 64))

    assert growth(square, bytes(FULL // PART), bytes(FULL)) > ROOM


@pytest.mark.parametrize("seed", range(4))
def test_pieces_at_random_repeated_cost_no_more_than_their_number(seed: int):
    rng = random.Random(seed)
    readers: list[Read] = [*MSGPACK.values(), *JSON.values()]
    readers += [lambda data, made=made: made()(data) for made in STREAMS.values()]
    for _ in range(25):
        read = refusing(rng.choice(readers))
        head, unit, tail = (rng.randbytes(rng.randrange(1, 8)) for _ in range(3))
        small, large = (pumped(head, unit, tail, size) for size in (FULL // PART, FULL))
        assert growth(read, small, large) < ROOM, (head, unit, tail)


def pumped(head: bytes, unit: bytes, tail: bytes, size: int) -> bytes:
    return head + unit * (size // len(unit)) + tail


def test_a_header_with_keys_of_one_hash_is_refused_before_its_map_is_built():
    """151: with 40,000 such keys the loop was away for 90 s."""
    read = MSGPACK["headers"]
    with pytest.raises(Exception, match="header 'zz' must be text, bytes, a number"):
        read(VALUES["keys that are lists of one hash"](640_000))
