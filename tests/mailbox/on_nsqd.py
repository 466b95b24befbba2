"""What tests on a running nsqd share: a mailbox, a collector, a question to /stats."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from irismq_runtime.mailbox import MailboxConfig, NsqMailbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

_numbers = itertools.count()


def fresh_topic() -> str:
    """A topic that no other test uses."""
    return f"t{os.getpid()}.{next(_numbers)}"


@asynccontextmanager
async def mailbox(
    *ports: int, lookupds: Sequence[str] = (), **options: Any
) -> AsyncIterator[NsqMailbox]:
    """A started mailbox, closed at the end."""
    made = NsqMailbox(
        [f"127.0.0.1:{port}" for port in ports],
        lookupds,
        rng=random.Random(1),
        config=MailboxConfig(**{"reconnect_min": 0.02, "reconnect_max": 0.2, **options}),
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close(2.0)


class Collector:
    """Takes messages and finishes them, unless told otherwise; waits for what comes."""

    def __init__(self, handle: Callable[[Any], Any] | None = None) -> None:
        self.messages: list[Any] = []
        self.consumption: Any = None
        self.bodies: set[bytes] = set()
        self._handle = handle or (lambda message: message.finish())
        self._changed = asyncio.Event()

    async def on(
        self, made: NsqMailbox, topic: str, channel: str = "mailbox", window: int = 100
    ) -> Any:
        self.consumption = await made.consume(topic, channel, self, window=window)
        return self.consumption

    def __call__(self, message: Any) -> None:
        self.messages.append(message)
        self.bodies.add(message.body)
        self._handle(message)
        self._changed.set()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until `condition()`; it is looked at whenever a message has come."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                self._changed.clear()
                await self._changed.wait()
            return found

    async def count(self, number: int, seconds: float = 60.0) -> list[Any]:
        """Wait for so many deliveries."""
        await self.until(lambda: len(self.messages) >= number, seconds)
        return self.messages


async def ready(consumption: Any, seconds: float = 60.0) -> None:
    """Wait until the consumption is connected."""
    await eventually(lambda: consumption.health().ok, seconds)


async def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for something that has no event to wait for; looks again every turn of the loop."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0)
        return found
