"""The plugin of pytest: a node for tests; plays tests made by `@simulate`, prints their seeds.

pytest finds it when the package is installed. It imports nothing of a node or the simulation
until a test wants one: a run of other tests pays one look at an attribute for each.

    async def test_it(embedded_node): ...    a node with servers of its own, for this test
    def embedded_node_options(): ...         a fixture of the user's: what that node is given

    pytest --simulate-seeds 1000      so many fresh seeds of each simulated test
    pytest --simulate-seconds 3600    fresh seeds for so long, of all simulated tests together
    IRISMQ_SEED=8f31 pytest           this seed
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from actors.testing.pytest_plugin import async_fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator

    from irismq_runtime.node import Node
    from irismq_runtime.simulation.simulated_test import Played, SimulatedTest

__all__ = [
    "embedded_node",
    "embedded_node_options",
    "pytest_addoption",
    "pytest_pyfunc_call",
    "pytest_terminal_summary",
]

#: The property of a report that has what was played.
_PROPERTY: Final = "simulated"
#: More seeds than can be played.
_WITHOUT_END: Final = 1 << 28


@pytest.fixture
def embedded_node_options() -> dict[str, Any]:
    """What `embedded_node` is given, as of `Node.embedded`; a fixture of this name says more.

    Without a store, as its import takes longer than all else of a node.
    """
    return {}


@async_fixture
async def embedded_node(embedded_node_options: dict[str, Any]) -> AsyncIterator[Node]:
    """A node with a broker and a relay of its own on loopback; ended in order after the test."""
    from irismq_runtime.node import Node

    async with Node.embedded(**{"name": "test", "drain": 2.0, **embedded_node_options}) as node:
        yield node


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("simulation", "simulated clusters (irismq_runtime.simulation)")
    group.addoption(
        "--simulate-seeds", type=_count, metavar="N", help="fresh seeds of each simulated test"
    )
    group.addoption(
        "--simulate-seconds",
        type=float,
        metavar="S",
        help="play fresh seeds for S seconds, shared by all simulated tests",
    )


def _count(text: str) -> int:
    """How many seeds are played: a test that plays none would pass."""
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Play a simulated test; any other one is left to whoever comes next."""
    test: SimulatedTest | None = getattr(pyfuncitem.obj, "simulated", None)
    if test is None:
        return None
    from irismq_runtime.simulation.failures import SimulationFailed
    from irismq_runtime.simulation.simulated_test import Played

    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001  # as pytest's own implementation does
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    played = Played()
    try:
        for seeds in _rounds(test, pyfuncitem):
            test.run(seeds, arguments, played=played)
    except SimulationFailed as failed:
        said = failed.__cause__
        if isinstance(said, (pytest.skip.Exception, pytest.xfail.Exception)):
            raise said from None  # it is what the test says of itself
        raise
    finally:
        if played.runs:
            pyfuncitem.user_properties.append((_PROPERTY, _line(played)))
    return True


def _rounds(test: SimulatedTest, item: pytest.Function) -> Iterator[Collection[int]]:
    """The seeds to play: those of the test, or fresh ones until its share of the time is over."""
    count = item.config.getoption("simulate_seeds")
    seconds = item.config.getoption("simulate_seconds")
    if not seconds:
        yield test.chosen(os.environ, count=count)
        return
    simulated = [each for each in item.session.items if hasattr(_function(each), "simulated")]
    end = time.monotonic() + seconds / len(simulated)
    for seed in test.chosen(os.environ, count=count or _WITHOUT_END):
        yield (seed,)  # one at least: a test that plays none would pass
        if time.monotonic() > end:
            return


def _function(item: pytest.Item) -> object:
    return getattr(item, "obj", None)


def _line(played: Played) -> str:
    from irismq_runtime.simulation.seeds import seeds_named

    named = seeds_named(played.seeds)
    seeds = f"seed {named}" if played.runs == 1 else f"{played.runs:,} seeds ({named})"
    speed = played.steps / max(played.real, 1e-9)
    return f"{seeds}, {played.virtual:,.0f} virtual s in {played.real:.1f} s, {speed:,.0f} steps/s"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which seeds passed, a line for each simulated test."""
    lines = [
        f"{report.nodeid}: {value}"
        for category in ("passed", "failed")
        for report in terminalreporter.stats.get(category, ())
        for name, value in getattr(report, "user_properties", ())
        if name == _PROPERTY and report.when == "call"
    ]
    if lines:
        terminalreporter.section("simulated clusters")
        for line in lines:
            terminalreporter.line(line)
