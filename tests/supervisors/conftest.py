"""The world of a test: a system on a manual clock, and nothing left of it at the end."""

from __future__ import annotations

import asyncio

import pytest

from tests.supervisors.helpers import Script, manual_system, own_timers, rest
from tests.support.until import until


@pytest.fixture
def script():
    return Script()


@pytest.fixture
async def world():
    """`(system, clock)`; at the end the system is shut down and must be empty."""
    system, clock = manual_system()
    yield system, clock
    stopping = asyncio.ensure_future(system.shutdown())
    for _ in range(1000):
        if stopping.done():
            break
        await rest()
        clock.advance(0.1)
    else:
        raise AssertionError("the system does not come to its end")
    await stopping
    await until(lambda: len(system) == 0, "an empty system")
    assert own_timers(clock) == 0, "a timer was left behind"
