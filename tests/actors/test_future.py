"""Futures: awaited on a loop, fetched from threads, resolved once."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING

import pykka
import pytest

from actors import AskCancelled, AskTimeout, BlockingCall, Future

if TYPE_CHECKING:
    from collections.abc import Iterator


async def test_awaiting_wakes_every_waiter() -> None:
    future: Future[int] = Future()
    waiters = [asyncio.ensure_future(_wait(future)) for _ in range(3)]
    await asyncio.sleep(0)
    future.set(5)
    assert await asyncio.gather(*waiters) == [5, 5, 5]
    assert await future == 5
    assert future.get() == 5


async def _wait(future: Future[int]) -> int:
    return await future


def test_threads_wait_and_get_the_value_from_another_thread() -> None:
    future: Future[str] = Future()
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(future.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    future.set("x")
    for thread in threads:
        thread.join()
    assert got == ["x"] * 4


def test_get_gives_up_after_its_timeout() -> None:
    with pytest.raises(AskTimeout) as caught:
        Future[int]().get(timeout=0)
    assert isinstance(caught.value, pykka.Timeout)
    assert isinstance(caught.value, TimeoutError)


async def test_get_on_a_loop_raises_instead_of_blocking_it() -> None:
    future: Future[int] = Future()
    with pytest.raises(BlockingCall, match="await"):
        future.get()
    future.set(1)
    assert future.get() == 1


async def test_a_future_resolved_on_a_thread_wakes_the_loop() -> None:
    future: Future[int] = Future()
    thread = threading.Thread(target=future.set, args=(9,))
    waiter = asyncio.ensure_future(_wait(future))
    await asyncio.sleep(0)
    thread.start()
    assert await waiter == 9
    thread.join()


def test_a_future_is_resolved_once() -> None:
    future: Future[int] = Future()
    future.set(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    with pytest.raises(queue.Full):
        future.set_get_hook(lambda timeout: 3)
    assert future.get() == 1


def test_an_exception_is_raised_at_every_get() -> None:
    future: Future[int] = Future()
    try:
        raise ValueError("boom")
    except ValueError:
        future.set_exception()
    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            future.get()
    bare: Future[int] = Future()
    bare.set_exception((KeyError, None, None))
    with pytest.raises(KeyError):
        bare.get()
    with pytest.raises(TypeError, match="needs an exception"):
        Future[int]().set_exception()


async def test_derived_futures_can_be_awaited() -> None:
    one: Future[int] = Future()
    two: Future[int] = Future()
    many: Future[list[int]] = Future()
    mapped = one.map(lambda value: value + 1)
    joined = one.join(two)
    filtered = many.filter(lambda value: value > 1)
    reduced = many.reduce(lambda total, value: total + value, 10)
    waiter = asyncio.gather(*(asyncio.ensure_future(_wait(f)) for f in (mapped, joined)))  # type: ignore[arg-type]  # pykka.Future is awaited alike
    await asyncio.sleep(0)
    one.set(1)
    two.set(2)
    many.set([1, 2, 3])
    assert await waiter == [2, [1, 2]]
    assert await filtered == [2, 3]  # type: ignore[comparison-overlap]  # Pykka says Iterable
    assert await reduced == 16


async def test_a_derived_future_fails_with_its_source() -> None:
    source: Future[int] = Future()
    source.set_exception((ValueError, ValueError("x"), None))
    with pytest.raises(ValueError, match="x"):
        await source.map(lambda value: value)


async def test_a_cancelled_waiter_leaves_and_the_last_one_cancels() -> None:
    cancelled: list[bool] = []
    future: Future[int] = Future(on_cancel=lambda: cancelled.append(True))
    first, second = (asyncio.ensure_future(_wait(future)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert not future.done()
    second.cancel()
    await asyncio.wait([second])
    assert cancelled == [True]
    with pytest.raises(AskCancelled):
        future.get()
    assert not future.cancel()


async def test_callbacks_are_called_once_with_the_future(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[object] = []
    future: Future[int] = Future()
    future.add_done_callback(seen.append)
    future.add_done_callback(lambda _: 1 / 0)
    future.set(1)
    future.add_done_callback(seen.append)
    assert seen == [future, future]
    assert "ZeroDivisionError" in caplog.text


def test_two_threads_that_are_the_first_to_wait_are_both_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    future: Future[int] = Future()
    woken: list[str] = []

    @contextlib.contextmanager
    def another_is_quicker() -> Iterator[None]:
        """The moment in which a thread has seen that nobody waits, and has done nothing yet."""
        monkeypatch.undo()
        future.add_done_callback(lambda _: woken.append("quicker"))
        yield

    monkeypatch.setattr("actors.future._making_waiters", another_is_quicker())
    future.add_done_callback(lambda _: woken.append("slower"))
    future.set(1)
    assert woken == ["quicker", "slower"]


async def test_a_waiter_on_a_closed_loop_hurts_nobody() -> None:
    future: Future[int] = Future()

    def other_loop() -> None:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(_wait(future))
        loop.run_until_complete(asyncio.sleep(0))
        waiting.cancel()
        loop.run_until_complete(asyncio.wait([waiting]))
        loop.close()

    await asyncio.to_thread(other_loop)
    future.set(1)
    assert await future == 1
