"""Waiting in tests for what happens by itself: a condition, an event. In real time, bounded.

What depends on a `ManualClock` does not happen by itself: move the clock. For actors alone,
`settle` and probes wait for nothing at all.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from actors.events import Event, Events

__all__ = ["eventually", "expect_event"]

T = TypeVar("T")
#: Seconds of real time that anything of this waits unless it is told otherwise.
PATIENCE: Final = 10.0
#: Turns of the loop before it pauses between two looks, and seconds of a pause.
_TURNS: Final = 100
_PAUSE: Final = 0.002


async def eventually(
    condition: Callable[[], T | Awaitable[T]], what: str = "", *, timeout: float = PATIENCE
) -> T:
    """Return what `condition()` gives as soon as that is true.

    Args:
        condition: A function without arguments, plain or async. An `AssertionError` of it
            counts as not true yet.
        what: What is waited for, for the error.
        timeout: Seconds of real time.

    Raises:
        AssertionError: It was not true within that time; what `condition` raised last is
            its cause.
    """
    turns = 0
    last: AssertionError | None = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    found: Any = condition()
                    if asyncio.iscoroutine(found):
                        found = await found
                    if found:
                        result: T = found
                        return result
                except AssertionError as error:
                    last = error
                turns += 1
                await asyncio.sleep(0 if turns < _TURNS else _PAUSE)
    except TimeoutError:
        said = what or getattr(condition, "__name__", repr(condition))
        raise AssertionError(f"not so within {timeout:g} s: {said}") from last


@asynccontextmanager
async def expect_event(
    events: Events, name: str, *, count: int = 1, timeout: float = PATIENCE, **fields: Any
) -> AsyncIterator[list[Event]]:
    """Wait, at the end of the block, for an event that what the block did brings about.

        async with expect_event(node.system.events, "settlement.buried", address="shop.mail"):
            node.ref("shop.mail").tell(BadAddress())

    Args:
        events: Where it is heard: `system.events`.
        name: The name of the event; docs/observing.md has all of them.
        count: How many of them.
        timeout: Seconds of real time from the end of the block.
        **fields: What the event must say; others do not count.

    Returns:
        The events that came, a list that is filled meanwhile.

    Raises:
        AssertionError: Fewer came.
    """
    seen: list[Event] = []
    loop = asyncio.get_running_loop()
    enough = asyncio.Event()
    missing = object()

    def heard(event: Event) -> None:
        if event.name == name and all(
            event.fields.get(key, missing) == value for key, value in fields.items()
        ):
            seen.append(event)
            if len(seen) >= count:
                loop.call_soon_threadsafe(enough.set)

    forget = events.subscribe(heard)
    try:
        yield seen
        try:
            async with asyncio.timeout(timeout):
                await enough.wait()
        except TimeoutError:
            said = ", ".join(f"{key}={value!r}" for key, value in fields.items())
            raise AssertionError(
                f"{len(seen)} of {count} events {name}({said}) came within {timeout:g} s"
            ) from None
    finally:
        forget()
