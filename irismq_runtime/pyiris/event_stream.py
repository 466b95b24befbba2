"""The events of one topic as an asynchronous iterator, bounded.

Events wait for their reader up to the limits; beyond, they are dropped (an
event cannot be refused), counted, and told once a second at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Self

from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.pyiris.limits import Quota

if TYPE_CHECKING:
    from types import TracebackType

    from actors.clock import Clock
    from irismq_runtime.pyiris.managed_connection import ManagedConnection
    from irismq_runtime.pyiris.topics import Listener

__all__ = ["EventStream"]

logger = logging.getLogger(__name__)


class EventStream:
    """`async with iris.subscribe("topic") as events: async for event in events`.

    Entering returns when events are sure to arrive, and raises `NotConnected`
    when that takes more than 5 s. The stream goes on over reconnects (what is
    published meanwhile is missed) and ends when it is closed.
    """

    def __init__(self, connection: ManagedConnection, topic: str, clock: Clock) -> None:
        self.topic = topic
        self._connection = connection
        self._clock = clock
        self._meter = Quota(connection.options.limits.events)
        self._throttle = Throttle()
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._listener: Listener | None = None
        self._closed = False

    @property
    def dropped(self) -> int:
        """Events for which there was no room."""
        return self._meter.refused

    async def __aenter__(self) -> Self:
        self._listener = await self._connection.listen(self.topic, self._take)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        body = self._waiting.popleft()
        self._meter.give(len(body))
        return body

    async def close(self) -> None:
        """Listen no more; what waits can still be read. Idempotent."""
        self._closed = True
        self._arrived.set()
        if self._listener is not None:
            await self._listener.close()

    def _take(self, body: bytes) -> None:
        if self._meter.take(len(body)):
            self._waiting.append(body)
            self._arrived.set()
            return
        count = self._throttle.note(self._clock.monotonic())
        if count:
            logger.warning(
                "%d events of %r dropped: %d wait for their reader already",
                count,
                self.topic,
                self._meter.count,
            )
