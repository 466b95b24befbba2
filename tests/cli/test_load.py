"""A load is sent at its rate, so many at a time, and each message is timed from when it was due."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from actors import Refused
from irismq_runtime.cli.load import LoadOutcome, LoadPlan, send_load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class SkippingLoop(asyncio.SelectorEventLoop):
    """Where nothing is to be done, the time of the next timer comes at once."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0
        select = self._selector.select

        def skip(timeout: float | None) -> Any:
            self._skipped += timeout or 0.0
            return select(0)

        self._selector.select = skip

    def time(self) -> float:
        return self._skipped


def sent(load: LoadPlan, send: Callable[[], Awaitable[object]]) -> LoadOutcome:
    loop = SkippingLoop()
    try:
        return loop.run_until_complete(send_load(load, send, loop.time))
    finally:
        loop.close()


class Service:
    """Takes so long for each message, and notes when they came and how many were there."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun: list[float] = []
        self.there = self.most = 0

    async def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun.append(loop.time())
        self.there += 1
        self.most = max(self.most, self.there)
        ended = loop.create_future()
        loop.call_later(self.seconds, ended.set_result, None)
        await ended
        self.there -= 1


def test_without_a_rate_the_next_is_sent_when_another_has_ended():
    service = Service(0.1)
    outcome = sent(LoadPlan(count=20, in_flight=4), service)
    assert service.most == 4
    assert outcome.to_dict() == {
        "done": 20,
        "failed": 0,
        "seconds": 0.5,
        "rate": 40.0,
        **dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "longest_ms"), pytest.approx(100)),
        "errors": {},
    }


def test_with_a_rate_each_is_sent_at_its_time():
    service = Service(0.1)
    outcome = sent(LoadPlan(count=5, in_flight=100, rate=2.0), service)
    begin = service.begun[0]
    assert [each - begin for each in service.begun] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert list(outcome.times) == pytest.approx([0.1] * 5)


def test_a_service_that_falls_behind_shows_in_the_times():
    outcome = sent(LoadPlan(count=5, in_flight=1, rate=10.0), Service(0.3))
    assert list(outcome.times) == pytest.approx([0.3, 0.5, 0.7, 0.9, 1.1])
    assert outcome.to_dict()["p50_ms"] == pytest.approx(700)
    assert outcome.to_dict()["longest_ms"] == pytest.approx(1100)


def test_errors_are_counted_by_their_text_and_have_no_time():
    async def refuse() -> None:
        raise Refused("sold out")

    figures = sent(LoadPlan(count=3, in_flight=2), refuse).to_dict()
    assert (figures["done"], figures["failed"], figures["p99_ms"]) == (0, 3, None)
    assert list(figures["errors"].values()) == [3]
    assert "sold out" in next(iter(figures["errors"]))


def test_what_is_no_error_of_a_message_ends_it():
    async def broken() -> None:
        raise KeyError("a fault of ours")

    with pytest.raises(ExceptionGroup):
        sent(LoadPlan(count=3, in_flight=2), broken)
