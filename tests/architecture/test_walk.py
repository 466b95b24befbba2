"""A test of many cases fails with each that failed, and with none at all."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tests.support.walk import walk, walked


def test_each_case_that_fails_is_named_and_the_others_are_walked() -> None:
    walked = []

    def walk_three() -> None:
        with walk() as case:
            for number in range(3):
                with case("a number", number):
                    walked.append(number)
                    with pytest.raises(ValueError, match="odd"):
                        int("odd" if number == 1 else "0")

    with pytest.raises(BaseExceptionGroup, match="2 of 3 cases failed") as failed:
        walk_three()
    assert walked == [0, 1, 2]
    notes = [error.__notes__ for error in failed.value.exceptions]
    assert notes == [["case 'a number', 0"], ["case 'a number', 2"]]


def test_a_walk_without_a_case_fails() -> None:
    with pytest.raises(AssertionError, match="there was no case"), walk():
        pass


async def test_what_cancels_the_test_is_no_failed_case() -> None:
    reached = []

    async def cancelled() -> None:
        with walk() as case:
            for number in range(2):
                with case(number):
                    reached.append(number)
                    await asyncio.Event().wait()

    task = asyncio.ensure_future(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached == [0]


def test_a_test_is_given_all_values_beside_its_fixtures() -> None:
    seen = []

    @walked(("letter", "number"), [("a", 1), ("b", 2)])
    def test(letter: str, number: int, fixture: str) -> None:
        seen.append((letter, number, fixture))

    @walked("number", [1, 2])
    async def test_later(number: int) -> None:
        await asyncio.sleep(0)
        assert number == 1

    assert list(inspect.signature(test).parameters) == ["fixture"]
    test(fixture="x")
    assert seen == [("a", 1, "x"), ("b", 2, "x")]
    with pytest.raises(BaseExceptionGroup, match="1 of 2 cases failed"):
        asyncio.run(test_later())
