"""A short slice of the fuzzing in tests/fuzz/run.py, and the inputs that found something."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.nsqd_target import target as nsqd
from tests.fuzz.relay_target import target as relay

if TYPE_CHECKING:
    from collections.abc import Callable

    Target = Callable[[bytes], None]

#: Each broke something once; what, is in the comment.
FOUND = [
    # A request's timeout after the close of the member that asked itself.
    (relay, "01000400363b3f0100000000000d"),
    # A message given back to a full ephemeral channel: its row was changed once it was gone.
    (nsqd, "0101000000000000000000000f000f000000060009a17e01"),
]
TARGETS = [nsqd, relay]


@pytest.mark.parametrize(("target", "data"), FOUND)
def test_what_was_found_once_stays_mended(target: Target, data: str):
    target(bytes.fromhex(data))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_seeded_slice_of_random_scripts_breaks_nothing(target: Target, seed: int):
    rng = random.Random(seed)
    for _ in range(60):
        target(rng.randbytes(rng.randrange(300)))


@pytest.mark.parametrize("target", TARGETS)
def test_structured_scripts_break_nothing(target: Target):
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.binary(min_size=2, max_size=4), min_size=10, max_size=60))
    def run(steps: list[bytes]) -> None:
        target(b"".join(steps))

    run()
