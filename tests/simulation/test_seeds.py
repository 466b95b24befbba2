"""Which seeds are run."""

from __future__ import annotations

import pytest

from irismq_runtime.simulation.seeds import faults_of, seeds_named, seeds_of


def test_one_seed_is_named_and_run() -> None:
    assert list(seeds_of("8f31", count=200, fresh=7)) == [0x8F31]
    assert list(seeds_of(" 0x8F31 ", count=200, fresh=7)) == [0x8F31]


def test_several_are_named_by_the_first_and_the_last() -> None:
    assert seeds_of("8f31-8f33", count=200, fresh=7) == range(0x8F31, 0x8F34)


def test_without_a_name_they_are_fresh_and_follow_each_other() -> None:
    assert seeds_of("", count=3, fresh=0x8F31) == range(0x8F31, 0x8F34)


@pytest.mark.parametrize("fresh", [0, 0xFFFFFFFF, 0xFFFFFFFE, 2**63 + 5, 2**64 - 1])
def test_fresh_seeds_stay_within_32_bits(fresh: int) -> None:
    seeds = seeds_of("", count=200, fresh=fresh)
    assert len(seeds) == 200
    assert 0 <= seeds[0] <= seeds[-1] <= 0xFFFFFFFF


@pytest.mark.parametrize("named", ["flight", "8f31-", "9000-8f31", "-1", "8f31,8f32", "123456789"])
def test_what_is_no_seed_is_refused_with_what_to_write(named: str) -> None:
    with pytest.raises(ValueError, match="is no seed; give one in hexadecimal digits"):
        seeds_of(named, count=1, fresh=0)


def test_played_seeds_are_written_as_ranges_where_they_follow_each_other() -> None:
    assert seeds_named([0x8F31]) == "8f31"
    assert seeds_named([0x8F31, 0x8F32, 0x8F33, 5, 5, 7, 6]) == "8f31-8f33, 5, 5, 7, 6"
    assert seeds_named(range(0, 40, 2)).endswith("c, e, and 12 more")


def test_faults_are_named_by_their_numbers() -> None:
    assert faults_of("") is None
    assert faults_of("none") == frozenset()
    assert faults_of("3, 11") == {3, 11}


@pytest.mark.parametrize("named", ["3,", "three", "3;4", "-1", "\u0663"])
def test_what_names_no_faults_is_refused_with_what_to_write(named: str) -> None:
    with pytest.raises(ValueError, match="names no faults; give their numbers"):
        faults_of(named)
