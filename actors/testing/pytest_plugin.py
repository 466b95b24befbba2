"""Fixtures for tests of actors; pytest finds them when the package is installed.

`manual_clock` is a clock that stands still. `actor_system` is a system on the
test's loop, with the manual clock if the test asks for that too; at the end it
is shut down. `probe` is a `Probe` in that system. The last two need
pytest-asyncio.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from actors.system import System
    from actors.testing import ManualClock, Probe

__all__ = ["actor_system", "manual_clock", "probe"]

F = TypeVar("F", bound="Callable[..., Any]")


def _async_fixture(function: F) -> F:
    fixture: Any = pytest.fixture
    with contextlib.suppress(ImportError):
        # Whoever does not use these fixtures needs no pytest-asyncio.
        import pytest_asyncio

        fixture = pytest_asyncio.fixture
    decorated: F = fixture(function)
    return decorated


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that moves when the test calls `advance`."""
    from actors.testing import ManualClock

    return ManualClock()


@_async_fixture
async def actor_system(request: pytest.FixtureRequest) -> AsyncIterator[System]:
    """A system on the loop of the test; shut down at its end."""
    from actors.clock import LoopClock
    from actors.system import System

    manual = "manual_clock" in request.fixturenames
    clock = request.getfixturevalue("manual_clock") if manual else LoopClock()
    system = System(request.node.name, clock=clock)
    system.attach()
    yield system
    await system.shutdown(timeout=0 if manual else 5.0)


@_async_fixture
async def probe(actor_system: System) -> Probe:
    """A probe in `actor_system`."""
    from actors.testing import Probe

    return Probe(actor_system)
