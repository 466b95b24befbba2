"""The bounded memory of what came last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.recent import Recent


@given(st.lists(st.binary(min_size=1, max_size=2)), st.integers(1, 10))
def test_the_last_keys_are_known_with_their_values_and_memory_is_bounded(keys, size):
    recent = Recent(size)
    for position, key in enumerate(keys):
        recent.put(key, position)
        latest = set(keys[max(0, position + 1 - size) : position + 1])
        assert all(known in recent for known in latest)
        assert recent.get(key) == position
        assert len(recent) <= 2 * size


def test_a_memory_of_nothing_knows_nothing():
    recent = Recent(0)
    recent.put(b"a", 1)
    assert b"a" not in recent
    assert recent.get(b"a") is None
