"""The flights example: its data, its store, and the demonstration as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.flights import data
from examples.flights.store import Store
from tests.support.nats_cluster import find_nats_server

ROOT = Path(__file__).parents[2]


def test_one_day_of_flights_is_in_the_repository() -> None:
    flights = list(data.day())
    assert len(flights) == 842
    assert len({flight.key for flight in flights}) == 842
    assert Counter(flight.carrier for flight in flights)["UA"] == 165
    assert flights[0].departure_delay == 2
    assert any(flight.departure_delay is None for flight in flights)


def test_a_flight_told_twice_is_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "ledger.sqlite")
    flight, other = list(data.day())[:2]
    assert [store.write(flight), store.write(flight), store.write(other)] == [True, False, True]
    assert store.count() == 2
    assert store.totals() == {"UA": 2}
    assert store.worst(1) == [(other.key, 4)]
    store.close()


def demonstration(*flags: str) -> str:
    """Run it to its end, which must be good; what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "irismq_runtime.cli", "demo", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "WRONG" not in ended.stdout
    return ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demonstration_ends_with_the_right_table() -> None:
    """Two nodes, crashing handlers and a SIGKILL: the sums are those of the input."""
    assert "node-b was killed" in demonstration()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demonstration_over_nats_outlives_one_of_its_servers() -> None:
    find_nats_server()
    said = demonstration("--nats")
    assert "node-b was killed" in said
    assert re.search(r"the NATS server at \S+ was killed", said)
