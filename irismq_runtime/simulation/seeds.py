"""Which seeds are run: one that is named, some from a named one on, or fresh ones.

A seed is a number of 32 bits, written in hexadecimal digits. The seeds of one test follow
each other, so that a range says which they were; a run uses the digits of its seed alone,
so neighbours have nothing in common.

    IRISMQ_SEED=8f31         this one
    IRISMQ_SEED=8f31-9000    all of these
    IRISMQ_FAULTS=3,11       of what goes wrong in it, these faults alone; "none": nothing
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from actors.rules import count

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "FAULTS_VARIABLE",
    "SEED",
    "SEED_VARIABLE",
    "faults_named",
    "faults_of",
    "seeds_named",
    "seeds_of",
]

#: The environment variable that names seeds.
SEED_VARIABLE: Final = "IRISMQ_SEED"
#: The environment variable that names faults, by their numbers in the plan.
FAULTS_VARIABLE: Final = "IRISMQ_FAULTS"
_LARGEST: Final = 0xFFFFFFFF
#: Ranges that are written out.
_RANGES: Final = 8
#: What a seed is.
SEED: Final = count(0, _LARGEST)
_SEEDS: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})(?:-(?:0x)?([0-9a-fA-F]{1,8}))?")


def seeds_of(named: str, *, count: int, fresh: int) -> range:
    """Say which seeds a test runs.

    Args:
        named: The value of `IRISMQ_SEED`; empty: none is named.
        count: How many are run where none is named.
        fresh: Where those begin: a number that chance gave.

    Returns:
        The seeds.

    Raises:
        ValueError: What is named is no seed and no range of them.
    """
    if not named:
        first = fresh % (_LARGEST + 2 - count)
        return range(first, first + count)
    match = _SEEDS.fullmatch(named.strip())
    first = int(match[1], 16) if match else 0
    last = int(match[2], 16) if match and match[2] else first
    if not match or last < first:
        raise ValueError(
            f"{SEED_VARIABLE}={named!r} is no seed; give one in hexadecimal digits (8f31), "
            "or the first and the last of several (8f31-9000)"
        )
    return range(first, last + 1)


def seeds_named(seeds: Iterable[int]) -> str:
    """Write seeds as `IRISMQ_SEED` takes them: each range of them, of many the first."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    told = [f"{first:x}-{last:x}" if last > first else f"{first:x}" for first, last in ranges]
    if len(told) > _RANGES:
        told[_RANGES:] = [f"and {len(told) - _RANGES} more"]
    return ", ".join(told)


def faults_of(named: str) -> frozenset[int] | None:
    """Say which faults of its plan a run has.

    Args:
        named: The value of `IRISMQ_FAULTS`; empty: none are named.

    Returns:
        Their numbers; None: all.

    Raises:
        ValueError: What is named are no numbers.
    """
    if not named:
        return None
    numbers = [] if named == "none" else [each.strip() for each in named.split(",")]
    if not all(each.isdecimal() and each.isascii() for each in numbers):
        raise ValueError(
            f"{FAULTS_VARIABLE}={named!r} names no faults; give their numbers (3,11), or none"
        )
    return frozenset(map(int, numbers))


def faults_named(numbers: Iterable[int]) -> str:
    """Write numbers of faults as `IRISMQ_FAULTS` takes them."""
    return ",".join(map(str, numbers)) or "none"
