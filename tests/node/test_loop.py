"""The loop that programs run on."""

from __future__ import annotations

import gc

import pytest

from irismq_runtime.loop import run


async def frozen() -> int:
    return gc.get_freeze_count()


async def fails() -> None:
    raise LookupError


def test_what_a_program_is_made_of_is_not_looked_through_while_it_runs():
    assert run(frozen()) > 10_000
    assert gc.get_freeze_count() == 0  # Python 3.12 itself starts with a few hundred


def test_the_collector_has_everything_back_after_a_failure():
    with pytest.raises(LookupError):
        run(fails())
    assert gc.get_freeze_count() == 0


def test_garbage_of_the_running_program_is_collected():
    async def cycles() -> int:
        loop: list[object] = []
        loop.append(loop)
        del loop
        return gc.collect()

    assert run(cycles()) >= 1
