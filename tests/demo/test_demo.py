"""`irismq demo`: its data, its store, and the whole of it, from a clone and from a wheel."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from irismq_runtime.demo import data
from irismq_runtime.demo.store import FlightStore
from tests.support.nats_cluster import find_nats_server
from tests.support.wheel import installed_from_a_wheel

ROOT = Path(__file__).parents[2]
IRISMQ = (sys.executable, "-m", "irismq_runtime.cli")


def test_one_day_of_flights_comes_with_the_package() -> None:
    flights = list(data.day())
    assert len(flights) == 842
    assert len({flight.key for flight in flights}) == 842
    assert Counter(flight.carrier for flight in flights)["UA"] == 165
    assert flights[0].departure_delay == 2
    assert any(flight.departure_delay is None for flight in flights)


def test_a_flight_told_twice_is_kept_once(tmp_path: Path) -> None:
    store = FlightStore(tmp_path / "ledger.sqlite")
    flight, other = list(data.day())[:2]
    assert [store.write(flight), store.write(flight), store.write(other)] == [True, False, True]
    assert store.count() == 2
    assert store.totals() == {"UA": 2}
    assert store.worst(1) == [(other.key, 4)]
    store.close()


def demonstration(*flags: str, program: tuple[str, ...] = IRISMQ, folder: Path = ROOT) -> str:
    """Run it to its end, which must be good; what it said."""
    ended = subprocess.run(
        [*program, "demo", *flags],
        cwd=folder,
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


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demonstration_runs_from_a_wheel_in_an_empty_folder(tmp_path: Path) -> None:
    programs = installed_from_a_wheel(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    ask = "import irismq_runtime as it; print(it.__file__)"
    where = subprocess.check_output([programs / "python", "-c", ask], cwd=empty, text=True)
    assert where.startswith(str(tmp_path)), "the clone is not what is tested"
    said = demonstration(program=(str(programs / "irismq"),), folder=empty)
    assert "node-b was killed" in said
    assert list(empty.iterdir()) == []
