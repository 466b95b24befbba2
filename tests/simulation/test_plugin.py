"""The plugin of pytest: what a test says of itself, and how many seeds may be asked for."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from irismq_runtime.simulation import simulate


@simulate(seeds=3, hosts=1)
async def test_is_skipped(cluster):
    pytest.skip("not here")


@simulate(seeds=3, hosts=1)
async def test_is_expected_to_fail(cluster):
    pytest.xfail("not yet")
"""

ONE = """
from irismq_runtime.simulation import simulate


@simulate(seeds=3, hosts=1)
async def test_nothing(cluster):
    pass
"""


def test_a_simulated_test_may_skip_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    result = pytester.runpytest_inprocess("-rs", "-p", "no:randomly")
    result.assert_outcomes(skipped=1, xfailed=1)
    result.stdout.fnmatch_lines("*SKIPPED*not here")


def test_a_time_that_is_over_is_enough_for_one_seed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    result = pytester.runpytest_inprocess("--simulate-seconds=-1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("*::test_nothing: seed *")


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_no_seeds_cannot_be_asked_for(pytester: pytest.Pytester, count: str) -> None:
    result = pytester.runpytest_inprocess(f"--simulate-seeds={count}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"*--simulate-seeds: invalid*{count}*")
