"""The quick look at a value's shape says what counting every part of it says."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.wire.limits import DEFAULT_LIMITS
from irismq_runtime.wire.shape import CONTAINERS, shape_problem

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.text(max_size=2))
KEYS = st.one_of(st.text(max_size=2), st.integers(0, 9), st.tuples(st.integers(0, 3)))
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.lists(inside, max_size=3).map(tuple),
        st.dictionaries(KEYS, inside, max_size=3),
        st.frozensets(st.integers(0, 9), max_size=3),
    ),
    max_leaves=12,
)


def parts(value: object) -> list[object]:
    """What a container holds, keys and values."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if type(value) in CONTAINERS else []  # type: ignore[call-overload]  # one


def depth_of(value: object) -> int:
    """How many containers stand in each other."""
    if type(value) not in CONTAINERS:
        return 0
    return 1 + max(map(depth_of, parts(value)), default=0)


def elements_of(value: object) -> int:
    """How many parts there are in all."""
    inside = parts(value)
    return len(inside) + sum(map(elements_of, inside))


@settings(max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=3), st.integers(1, 4), st.integers(1, 20))
def test_a_shape_is_within_the_limits_when_counting_says_so(
    value: dict[object, object], depth: int, items: int
):
    limits = replace(DEFAULT_LIMITS, depth=depth, items=items)
    within = depth_of(value) <= depth and elements_of(value) <= items
    assert (shape_problem(value, limits, lambda _: None) is None) == within
