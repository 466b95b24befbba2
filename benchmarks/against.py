"""Has anything become slower? Short forms of local, durable and remote, commit against commit.

    python benchmarks/against.py [COMMIT] [--rounds N] [--only PART ...] [--json FILE]
                                 [--exit-zero]

COMMIT (HEAD~1 without one) is unpacked into a temporary folder; the tree that this file lies
in is the other side, as it is, changes included. Both run the same measurement, the one of
this tree, with the same interpreter, in processes of their own and in turn: A B, B A, A B. A
figure is microseconds of processor time, not of the clock, the least of many short runs
within one process, so that what else the machine does matters little. What is said of a row
is the median of the ratios of the rounds. A row that fell by more than 5 % is named, and
makes the exit code 1, or with --exit-zero is only named.

local    tell, ask, ask of an async handler, start and stop, in one process
durable  a tell until it is confirmed and a receive until it is finished, on the embedded
         broker in a process of its own; plain, signed, and of 10 KB
remote   an ask one by one, and 256 in flight: both nodes and the relay in one process, so
         that no processor time of any of them is missed
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
TREE = HERE.parent
PARTS = ("local", "durable", "remote")
#: A row fell when its time is more than this many times what it was.
FELL = 1.05

Times = dict[str, float]


def git(*words: str) -> bytes:
    """What git says of this repository."""
    ended = subprocess.run(["git", "-C", str(TREE), *words], capture_output=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr.decode(errors="replace"))
    return ended.stdout


@contextmanager
def unpacked(commit: str) -> Iterator[Path]:
    """The files of `commit`, in a folder for as long."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(git("archive", commit))) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def timed(tree: Path, part: str) -> Times:
    """Microseconds of processor time by row, of the runtime in `tree`."""
    path = f"{HERE}{os.pathsep}{tree}"
    ended = subprocess.run(
        [sys.executable, "-m", "contestants.steps", part],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
    )
    if ended.returncode:
        raise SystemExit(f"{part} in {tree}: {ended.stderr[-2000:]}")
    found: Times = json.loads(ended.stdout.splitlines()[-1])
    return found


def rounds_of(part: str, before: Path, rounds: int) -> list[tuple[Times, Times]]:
    """(before, now) of each round; who begins changes from round to round."""
    found = []
    for number in range(rounds):
        print(f"{part}: round {number + 1} of {rounds}", file=sys.stderr)
        order = (before, TREE) if number % 2 == 0 else (TREE, before)
        times = {tree: timed(tree, part) for tree in order}
        found.append((times[before], times[TREE]))
    return found


def ratios(found: list[tuple[Times, Times]]) -> dict[str, tuple[float, float, float]]:
    """By row: the medians of both, and the median of the ratios; rows of both sides alone."""
    rows = [row for row in found[0][1] if all(row in before for before, _ in found)]
    return {
        row: (
            statistics.median(before[row] for before, _ in found),
            statistics.median(now[row] for _, now in found),
            statistics.median(now[row] / before[row] for before, now in found),
        )
        for row in rows
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Has anything become slower?")
    parser.add_argument("commit", nargs="?", default="HEAD~1")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--exit-zero", action="store_true", help="also when a row fell")
    options = parser.parse_args()
    name = git("rev-parse", "--short", options.commit).decode().strip()
    found: dict[str, tuple[float, float, float]] = {}
    with unpacked(options.commit) as before:
        for part in options.only:
            found |= ratios(rounds_of(part, before, options.rounds))
    this = git("describe", "--always", "--exclude=*", "--dirty").decode().strip()
    print(f"| us of processor time | {name} | {this} | ratio |\n| --- | ---: | ---: | ---: |")
    for row, (then, now, ratio) in found.items():
        print(f"| {row} | {then:.2f} | {now:.2f} | {ratio:.3f} |")
    if options.json:
        options.json.write_text(json.dumps({"against": name, "rows": found}, indent=2) + "\n")
    fallen = [f"{row} ({ratio:.2f} times)" for row, (_, _, ratio) in found.items() if ratio > FELL]
    what = f"more than 5 % slower than {name}: {', '.join(fallen) or 'nothing'}"
    print(f"\n{what}")
    if fallen and not options.exit_zero:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
