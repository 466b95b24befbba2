"""`connect`, which makes a client of a relay. service.py adds members.

Both are connections with everything Iris has: requests, broadcasts, topics,
tunnels. Made inside a running loop; begun and ended by `async with`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from actors.clock import default_clock
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

    Made by `connect`, which has the arguments. `async with` connects (raises
    `NotConnected`) and closes in order, giving what is under way up to `drain` seconds.
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
        self._clock: Clock = clock or default_clock()
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
        """Connect, and stay connected until `close`.

        Raises:
            NotConnected: no relay accepts this client within `Options.connect_timeout`.
        """
        await self._connection.start()

    async def close(self) -> None:
        """Finish what is under way within `drain` seconds, flush, leave. Idempotent."""
        await self._connection.close(self._drain)

    def request(self, cluster: str, body: bytes, *, timeout: float = 5.0) -> asyncio.Future[bytes]:
        """Send a request to one live member of a cluster; await the reply.

        Args:
            cluster: who is to answer: 1 to 1,024 characters.
            body: the request, at least one byte: Iris cannot carry an empty one.
            timeout: seconds until the reply is not waited for any more.

        Returns:
            A future of the reply's bytes; cancelling it forgets the request. It fails
            with `AskTimeout`, `RemoteFault` (the member's fault text),
            `ConnectionLost` (its `outcome` says whether the request may have run),
            `Overloaded` or `MessageTooLarge`.

        Raises:
            ValueError: an empty cluster or body, or a timeout that is not positive
                and finite.
        """
        return self._connection.request(cluster, body, timeout)

    def broadcast(self, cluster: str, body: bytes) -> None:
        """Send to every live member of a cluster: best effort, in no sure order.

        Args:
            cluster: who gets it: 1 to 1,024 characters.
            body: at least one byte.

        Raises:
            ConnectionLost: there is no connection now; nothing was sent.
            Overloaded: too many bytes wait for the socket (`Limits.unsent`).
            MessageTooLarge: the body is above `Limits.body`.
            ValueError: an empty cluster or body.
        """
        self._connection.broadcast(cluster, body)

    def publish(self, topic: str, body: bytes) -> None:
        """Send an event to who listens now.

        Args:
            topic: 1 to 1,024 characters.
            body: at least one byte.

        Raises:
            Exception: as `broadcast`.
        """
        self._connection.publish(topic, body)

    def subscribe(self, topic: str) -> EventStream:
        """Return the events of `topic` as a stream, to be entered with `async with`."""
        return EventStream(self._connection, topic, self._clock)

    async def listen(self, topic: str, on_event: Callable[[bytes], None]) -> Listener:
        """Call a function with each event, until the listener is closed.

        Args:
            topic: 1 to 1,024 characters.
            on_event: gets the bytes of an event, on the loop; it must return quickly.

        Returns:
            The listener, once events are sure to arrive.

        Raises:
            NotConnected: that takes more than 5 seconds.
            ValueError: the name cannot be one of a topic.
        """
        return await self._connection.listen(topic, on_event)

    def tunnel(self, cluster: str, *, timeout: float = 5.0) -> TunnelOpening:
        """Open a tunnel to one live member of a cluster: `async with` what this returns.

        Args:
            cluster: 1 to 1,024 characters.
            timeout: seconds within which a member has to accept it.

        Returns:
            An opening. Entering or awaiting it raises `TunnelTimeout` when no member
            accepted, `ConnectionLost`, `Overloaded` over the limit of tunnels.
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
    """Make a client: it asks, publishes, listens and opens tunnels, and is asked nothing.

    Call it in a running loop, and enter the result with `async with`.

    Args:
        host: where the relay is.
        port: its TCP port.
        drain: seconds that closing gives to what is under way.
        options: limits, timeouts and delays.
        clock: tells the time and sets timers; the loop's by default. For tests.
        rng: draws the jitter of reconnects. For tests.
        events: hears `iris.connected` and `iris.lost`.

    Returns:
        The client, not yet connected.
    """
    return Iris(host, port, drain=drain, options=options, clock=clock, rng=rng, events=events)
