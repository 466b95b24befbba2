"""What is found out about a run that failed, on runs that are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actors import Event, Exit
from irismq_runtime.simulation.failures import InvariantBroken
from irismq_runtime.simulation.faults import Fault
from irismq_runtime.simulation.invariants import Life
from irismq_runtime.simulation.investigation import SimulatedRun, investigate, kind_of
from irismq_runtime.simulation.story import story

if TYPE_CHECKING:
    from collections.abc import Collection

    from irismq_runtime.simulation.witness import Happened

PLAN = tuple(Fault(n, "kill", (name,), 10.0 * n, 2.0) for n, name in enumerate("abcabcabcabcab"))


class Play:
    """Fails when the faults 3 and 11 are there; counts how often it was played."""

    def __init__(self, digests: Collection[str] = ("d",)) -> None:
        self.runs = 0
        self.digests = list(digests)

    def __call__(self, kept: Collection[int] | None) -> SimulatedRun:
        self.runs += 1
        faults = tuple(each for each in PLAN if kept is None or each.number in kept)
        failure = None
        if {3, 11} <= {each.number for each in faults}:
            failure = InvariantBroken("nothing is lost", "m1 is lost", at=150.0, about="m1")
        trace: list[Happened] = [(each.at, None, str(each)) for each in faults]
        digest = self.digests[min(self.runs, len(self.digests)) - 1]
        return SimulatedRun(0x8F31, failure, digest, 600.0, 1000, faults, trace)


def test_a_report_names_the_seed_and_the_faults_that_matter() -> None:
    play = Play()
    failed = investigate(play, play(None), file=__file__, passed=11, most=200)
    first, replay, only, why, *rest = str(failed).splitlines()
    assert first == "seed 8f31 failed, after 11 that passed"
    assert replay == (
        "IRISMQ_SEED=8f31 replays it; 2 of 14 faults matter: kill a at 30.0 s, until 32.0 s; "
        "kill c at 110.0 s, until 112.0 s"
    )
    assert only == "IRISMQ_FAULTS=3,11 beside it leaves the others out"
    assert "it did not hold that nothing is lost: m1 is lost" in why
    assert [line.split("--")[1] for line in rest[2:]] == [" kill a", " kill c"]
    assert (failed.seed, failed.faults) == (0x8F31, (3, 11))


def test_a_run_that_does_not_repeat_says_so_and_nothing_that_could_not_be_relied_on() -> None:
    play = Play(digests=("one", "two"))
    failed = investigate(play, play(None), file=__file__, passed=0, most=200)
    assert play.runs == 2
    assert "it does not repeat" in str(failed)
    assert "faults matter" not in str(failed)


def test_what_the_search_had_no_time_for_is_said() -> None:
    play = Play()
    failed = investigate(play, play(None), file=__file__, passed=0, most=3)
    assert "at most 14 of 14 faults matter" in str(failed) or "at most 7" in str(failed)


@pytest.mark.parametrize(
    ("needed", "text"),
    [
        (set(), "none of 14 faults matters: it fails without them"),
        ({5}, "1 of 14 faults matters: kill c at 50.0 s, until 52.0 s"),
    ],
)
def test_none_or_one_is_said_in_words(needed: set[int], text: str) -> None:
    def play(kept: Collection[int] | None) -> SimulatedRun:
        faults = tuple(each for each in PLAN if kept is None or each.number in kept)
        failed = needed <= {each.number for each in faults}
        return SimulatedRun(1, ValueError("boom") if failed else None, "d", 1.0, 1, faults)

    failed = investigate(play, play(None), file=__file__, passed=0, most=200)
    assert text in str(failed)


def fail_here(value: int) -> None:
    assert value == 1


def caught(value: int, *, there: bool) -> BaseException:
    try:
        if there:
            fail_here(value)
        assert value == 1
    except AssertionError as error:
        return error
    raise ValueError


def test_two_failures_are_alike_when_class_and_line_are() -> None:
    one = kind_of(caught(2, there=False), __file__)
    assert one == kind_of(caught(3, there=False), __file__)
    assert one != kind_of(caught(2, there=True), __file__)
    broken = InvariantBroken("nothing is lost", "m1", at=1.0)
    assert kind_of(broken, __file__) == kind_of(
        InvariantBroken("nothing is lost", "m2", at=2.0), __file__
    )
    assert kind_of(broken, __file__) != kind_of(
        InvariantBroken("presence converges", "m2", at=2.0), __file__
    )
    assert kind_of(None, __file__) is None


def test_a_story_has_what_was_done_and_the_life_of_one_message() -> None:
    life = Life("b", 2)
    trace: list[Happened] = [
        (1.0, None, "kill b"),
        (2.0, life, Event("handler.started", 2.0, {"id": "0123456789ab", "attempt": 2})),
        (2.5, life, Event("handler.started", 2.5, {"id": "another", "attempt": 1})),
        (3.0, life, Event("actor.crashed", 3.0, {"exit": Exit("crash", ValueError("x"))})),
    ]
    assert story(trace, about="0123456789ab") == [
        "     1.000 s                -- kill b",
        "     2.000 s  b (life 2)    handler.started: id 01234567, attempt 2",
        "     3.000 s  b (life 2)    actor.crashed: exit crash (ValueError: x)",
    ]


def test_a_long_story_ends_with_the_end_and_a_long_line_is_cut() -> None:
    trace: list[Happened] = [(float(n), None, f"{n} {'x' * 300}") for n in range(100)]
    lines = story(trace)
    assert lines[0] == "(40 lines before)"
    assert lines[-1].startswith("    99.000 s")
    assert max(map(len, lines)) == 150
