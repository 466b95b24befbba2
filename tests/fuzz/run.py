"""Fuzz one of the embedded servers for a while and say what came out.

    python tests/fuzz/run.py --server nsqd|relay --tool hypothesis|atheris --seconds 60
    python tests/fuzz/run.py --server nsqd --replay HEX

Ends by itself: 0 when nothing was found, 1 with the input that breaks something
as hex for --replay, 3 when the tool is not installed. The last line is a JSON
object with what was done.
"""

from __future__ import annotations

import argparse
import json
import logging
import mmap
import os
import random
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from collections.abc import Callable

    Target = Callable[[bytes], None]

FOUND, NOT_INSTALLED = 1, 3
#: Longest input that is made, in bytes.
LONGEST = 400


class Budget(NamedTuple):
    """How long to go on, and from which seed."""

    seconds: float
    seed: int


class Tally:
    """A target that counts its runs and keeps the last input that broke something."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._began = time.monotonic()
        self.runs = 0
        self.input: bytes | None = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def __call__(self, data: bytes) -> None:
        self.runs += 1
        try:
            self._target(data)
        except BaseException:
            self.input = data
            raise

    def report(self, server: str, tool: str, seed: int) -> int:
        """Print what came of it; the exit code."""
        if self.input is not None:
            print(
                f"\nreplay: python tests/fuzz/run.py --server {server} --replay "
                f"{self.input.hex() or '00'}"
            )
        facts = {
            "server": server,
            "tool": tool,
            "seed": seed,
            "seconds": round(self.elapsed, 1),
            "runs": self.runs,
            "found": self.input is not None,
        }
        print(json.dumps(facts), flush=True)
        return FOUND if self.input is not None else 0


def target_of(server: str) -> Target:
    if server == "nsqd":
        from tests.fuzz.nsqd_target import target
    else:
        from tests.fuzz.relay_target import target
    return target


def with_hypothesis(tally: Tally, budget: Budget) -> None:
    """Rounds of Hypothesis, each from a seed of its own, until the time is over."""
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    step = st.binary(min_size=2, max_size=4)
    steps = st.one_of(st.lists(step, max_size=30), st.lists(step, min_size=30, max_size=100)).map(
        b"".join
    )
    inputs = st.one_of(st.binary(max_size=LONGEST), steps.map(lambda data: data[:LONGEST]))
    rounds = 0
    while tally.elapsed < budget.seconds and tally.input is None:

        @seed(budget.seed + rounds)
        @settings(
            max_examples=200,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs)
        def one_round(data: bytes) -> None:
            if tally.elapsed < budget.seconds or tally.input is not None:
                tally(data)

        one_round()
        rounds += 1


def with_atheris(target: Target, budget: Budget) -> None:
    """libFuzzer over instrumented code. Does not return: libFuzzer exits the process."""
    import atheris

    seeds = Path(tempfile.mkdtemp(prefix="fuzz-"))
    rng = random.Random(budget.seed)
    for number in range(64):
        (seeds / str(number)).write_bytes(rng.randbytes(rng.randrange(LONGEST)))
    options = [
        f"-max_total_time={max(1, int(budget.seconds))}",
        f"-max_len={LONGEST}",
        f"-seed={budget.seed or 1}",
        "-verbosity=0",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={seeds}/found-",
    ]
    atheris.Setup([sys.argv[0], *options, str(seeds)], target)
    atheris.Fuzz()


class Shared:
    """What the fuzzing child has done, in memory that its parent reads."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 4096)

    def note(self, tally: Tally) -> None:
        found = tally.input
        size = -1 if found is None else len(found)
        struct.pack_into(f"<qq{max(size, 0)}s", self._map, 0, tally.runs, size, found or b"")

    def read_into(self, tally: Tally) -> None:
        tally.runs, size = struct.unpack_from("<qq", self._map)
        if size >= 0:
            (tally.input,) = struct.unpack_from(f"<{size}s", self._map, 16)


def run_atheris(server: str, budget: Budget) -> int:
    """A child process fuzzes, for libFuzzer ends the one it runs in without a word."""
    try:
        import atheris
    except ImportError as error:
        print(f"atheris is not installed here ({error}); the `fuzz` extra has it", file=sys.stderr)
        return NOT_INSTALLED
    with atheris.instrument_imports(
        include=["irismq_runtime.embedded", "irismq_runtime.protocols"]
    ):
        tally = Tally(target_of(server))
    shared = Shared()
    shared.note(tally)

    def counted(data: bytes) -> None:
        try:
            tally(data)
        finally:
            shared.note(tally)

    child = os.fork()
    if child == 0:
        with_atheris(counted, budget)
    _, status = os.waitpid(child, 0)
    shared.read_into(tally)
    code = tally.report(server, "atheris", budget.seed)
    ended = os.waitstatus_to_exitcode(status)
    if ended != 0 and code == 0:
        print(f"the fuzzing process ended with {ended}")
        return FOUND
    return code


def replay(target: Target, data: bytes) -> int:
    try:
        target(data)
    except BaseException:
        traceback.print_exc()
        return FOUND
    print("nothing happens with this input")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=["nsqd", "relay"], required=True)
    parser.add_argument("--tool", choices=["hypothesis", "atheris"], default="hypothesis")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--replay", type=bytes.fromhex)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    budget = Budget(chosen.seconds, chosen.seed)
    if chosen.replay is not None:
        return replay(target_of(chosen.server), chosen.replay)
    if chosen.tool == "atheris":
        return run_atheris(chosen.server, budget)
    tally = Tally(target_of(chosen.server))
    try:
        with_hypothesis(tally, budget)
    except BaseException:
        traceback.print_exc()
    return tally.report(chosen.server, "hypothesis", chosen.seed)


if __name__ == "__main__":
    sys.exit(main())
