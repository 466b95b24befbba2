"""Nothing from outside costs more than in proportion to its size, whatever is in it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.cost import JSON, MSGPACK, ROOM, STREAMS, VALUES, cases, growth, refusing

if TYPE_CHECKING:
    from tests.fuzz.cost import Make, Read

CASES = {name: (read, make) for name, read, make in cases()}


@pytest.mark.parametrize("name", CASES)
def test_the_cost_of_an_input_grows_as_its_size(name: str):
    read, make = CASES[name]
    assert growth(read, make) < ROOM


@pytest.mark.parametrize("seed", range(4))
def test_pieces_at_random_repeated_cost_no_more_than_their_number(seed: int):
    rng = random.Random(seed)
    readers: list[Read] = [*MSGPACK.values(), *JSON.values()]
    readers += [lambda data, made=made: made()(data) for made in STREAMS.values()]
    for _ in range(25):
        read = refusing(rng.choice(readers))
        head, unit, tail = (rng.randbytes(rng.randrange(1, 8)) for _ in range(3))
        assert growth(read, pumped(head, unit, tail)) < ROOM, (head, unit, tail)


def pumped(head: bytes, unit: bytes, tail: bytes) -> Make:
    return lambda size: head + unit * (size // len(unit)) + tail


def test_a_header_with_keys_of_one_hash_is_refused_before_its_map_is_built():
    """151: with 40,000 such keys the loop was away for 90 s."""
    read = MSGPACK["headers"]
    with pytest.raises(Exception, match="header 'zz' must be text, bytes, a number"):
        read(VALUES["keys that are lists of one hash"](640_000))
