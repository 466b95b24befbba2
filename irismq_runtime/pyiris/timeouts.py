"""Timeouts by a given clock: wait for a future, or sleep, without cancelling anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.clock import Clock

__all__ = ["done_within", "sleep"]


async def done_within(future: asyncio.Future[Any], seconds: float, clock: Clock) -> bool:
    """True once `future` is done, False after `seconds`; the future goes on either way."""
    if future.done() or seconds <= 0:
        return future.done()
    waiter = asyncio.get_running_loop().create_future()

    def wake(*_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    timer = clock.call_later(seconds, wake)
    try:
        await waiter
    finally:
        timer.cancel()
        future.remove_done_callback(wake)
    return future.done()


async def sleep(seconds: float, clock: Clock) -> None:
    """Wait for `seconds`, by `clock`."""
    await done_within(asyncio.get_running_loop().create_future(), seconds, clock)
