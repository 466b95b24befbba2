"""Fixtures for tests of actors; pytest finds them when the package is installed.

`manual_clock` is a clock that stands still. `actor_system` is a system on the
test's loop, with the manual clock if the test asks for that too; at the end it
is shut down. `probe` is a `Probe` in that system. The last two need
pytest-asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from actors.system import System
    from actors.testing import ManualClock, Probe

__all__ = ["actor_system", "async_fixture", "manual_clock", "probe"]

#: Seconds that an actor has for its end; with a manual clock, seconds of that.
_PATIENCE: Final = 5.0
#: Seconds of real time for what an end awaits beside a manual clock.
_GRACE: Final = 0.25

F = TypeVar("F", bound="Callable[..., Any]")


def async_fixture(function: F) -> F:
    """Make a fixture of an async function, where pytest-asyncio is there for it."""
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


@async_fixture
async def actor_system(request: pytest.FixtureRequest) -> AsyncIterator[System]:
    """A system on the loop of the test; shut down at its end, in order.

    What still lives runs its `on_stop`, also when the clock stands still.
    """
    from actors.clock import LoopClock
    from actors.system import System

    manual = "manual_clock" in request.fixturenames
    clock: Any = request.getfixturevalue("manual_clock") if manual else LoopClock()
    system = System(request.node.name, clock=clock)
    system.attach()
    yield system
    ending = asyncio.ensure_future(system.shutdown(_PATIENCE))
    if manual:
        await _rest_in_real_time(system, ending)
        if not ending.done():  # a handler that hangs, for whom no time passes by itself
            clock.advance(_PATIENCE)
    await ending


async def _rest_in_real_time(system: System, ending: asyncio.Future[None]) -> None:
    """Return when the end is reached, or what is left waits for the manual clock.

    What `on_stop` does beside the clock (a file, a thread, a socket) gets real time.
    """
    from actors.testing import settle

    await settle(system)
    if not ending.done():
        await asyncio.wait({ending}, timeout=_PATIENCE if system.threads else _GRACE)


@async_fixture
async def probe(actor_system: System) -> Probe:
    """A probe in `actor_system`."""
    from actors.testing import Probe

    return Probe(actor_system)
