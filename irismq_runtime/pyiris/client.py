"""The library's face: `connect` for a client. service.py adds members.

Both are connections with everything Iris has: requests, broadcasts, topics,
tunnels. Made inside a running loop; begun and ended by `async with`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from actors.clock import LoopClock
from irismq_runtime.pyiris.event_stream import EventStream
from irismq_runtime.pyiris.managed_connection import ManagedConnection
from irismq_runtime.pyiris.options import DEFAULT_PORT

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable, Generator
    from types import TracebackType

    from actors.clock import Clock
    from actors.events import Events
    from irismq_runtime.ports import MemberHandler, TransportHealth
    from irismq_runtime.pyiris.options import Options
    from irismq_runtime.pyiris.statistics import Statistics
    from irismq_runtime.pyiris.topics import Listener
    from irismq_runtime.pyiris.tunnel import Tunnel

__all__ = ["Iris", "TunnelOpening", "connect"]


class TunnelOpening:
    """A tunnel that is being opened: `async with` it, or await it and close it yourself."""

    def __init__(self, connection: ManagedConnection, cluster: str, timeout: float) -> None:
        self._connection = connection
        self._cluster = cluster
        self._timeout = timeout
        self._tunnel: Tunnel | None = None

    def __await__(self) -> Generator[None, None, Tunnel]:
        return self._connection.tunnel(self._cluster, self._timeout).__await__()

    async def __aenter__(self) -> Tunnel:
        self._tunnel = await self
        return self._tunnel

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tunnel is not None:
            await self._tunnel.close()


class Iris:
    """A client of a relay, which connects again by itself. Loop thread only.

    `async with` connects (raises `NotConnected`) and closes in order, giving
    what is under way up to `drain` seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        cluster: str = "",
        handler: MemberHandler | None = None,
        drain: float = 5.0,
        options: Options | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        events: Events | None = None,
    ) -> None:
        self._drain = drain
        self._clock: Clock = clock or LoopClock()
        self._connection = ManagedConnection(
            host,
            port,
            cluster=cluster,
            handler=handler,
            options=options,
            clock=self._clock,
            rng=rng,
            events=events,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect. Raises `NotConnected` when no relay takes us in time."""
        await self._connection.start()

    async def close(self) -> None:
        """Finish what is under way, flush, leave. Idempotent."""
        await self._connection.close(self._drain)

    def request(self, cluster: str, body: bytes, *, timeout: float = 5.0) -> asyncio.Future[bytes]:
        """Send a request to one live member of `cluster`; await the reply.

        It fails with `AskTimeout` after `timeout` seconds, `RemoteFault` (the
        member's fault text), `ConnectionLost` (its `outcome` says whether the
        request may have run), `Overloaded` or `MessageTooLarge`. Cancelling it
        forgets the request. Raises `ValueError` for an empty cluster or body.
        """
        return self._connection.request(cluster, body, timeout)

    def broadcast(self, cluster: str, body: bytes) -> None:
        """Send to every live member of `cluster`: best effort, in no sure order.

        Raises `ConnectionLost`, `Overloaded`, `MessageTooLarge`, `ValueError`.
        """
        self._connection.broadcast(cluster, body)

    def publish(self, topic: str, body: bytes) -> None:
        """Send an event to who listens to `topic` now. Raises as `broadcast`."""
        self._connection.publish(topic, body)

    def subscribe(self, topic: str) -> EventStream:
        """The events of `topic`, as a stream to be entered with `async with`."""
        return EventStream(self._connection, topic, self._clock)

    async def listen(self, topic: str, on_event: Callable[[bytes], None]) -> Listener:
        """Call `on_event` on the loop with each event, until the listener is closed.

        Returns when events are sure to arrive. Raises `NotConnected`.
        """
        return await self._connection.listen(topic, on_event)

    def tunnel(self, cluster: str, *, timeout: float = 5.0) -> TunnelOpening:
        """A tunnel to one live member of `cluster`: `async with` it.

        Raises `TunnelTimeout` when no member took it within `timeout` seconds,
        `ConnectionLost`, `Overloaded`.
        """
        return TunnelOpening(self._connection, cluster, timeout)

    def health(self) -> TransportHealth:
        """Whether the relay is reached, and if not, why."""
        return self._connection.health()

    def statistics(self) -> Statistics:
        """What was counted so far, and what is under way now."""
        return self._connection.statistics()


def connect(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    drain: float = 5.0,
    options: Options | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    events: Events | None = None,
) -> Iris:
    """A client: it asks, publishes, listens and opens tunnels, and is asked nothing.

    `drain`: seconds that closing gives to what is under way. `clock` and `rng`
    (for the jitter of reconnects) are arguments for tests. Call it in a running
    loop, and enter the result with `async with`.
    """
    return Iris(host, port, drain=drain, options=options, clock=clock, rng=rng, events=events)
