"""`register`, which makes a member of a cluster with a handler for what reaches it.

A handler is an `async` function from request to reply, or a `Handler` with a
method for each kind of traffic. Requests run side by side, up to `workers` at
once, the others wait in order; broadcasts run one at a time, in the order in
which they came; each tunnel has a task of its own. What waits is bounded by the
connection's limits: a request over them is answered "overloaded" at once, a
broadcast is dropped, counted and told.

Whatever a handler raises is an answer to one caller: a `Fault` its text, any
other exception its type and text, and a line in the log. Nothing a handler
raises ends the member.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from actors.clock import default_clock
from actors.texts import class_name, sendable, text_of, trace_of
from irismq_runtime.errors import TunnelClosed
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.pyiris.client import Iris
from irismq_runtime.pyiris.limits import Quota
from irismq_runtime.pyiris.options import DEFAULT_PORT, Options

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from actors.clock import Clock
    from actors.events import Events
    from irismq_runtime.ports import InboundRequest, InboundTunnel
    from irismq_runtime.pyiris.limits import Limits
    from irismq_runtime.pyiris.tunnel import Tunnel

__all__ = ["Fault", "Handler", "Service", "register"]

logger = logging.getLogger(__name__)

#: Characters of a foreign exception's text that are told to a caller.
_LONGEST_FAULT: Final = 1000

#: Characters of its traceback that go to the log.
_LONGEST_LOG: Final = 8000


class Fault(Exception):
    """Raised by a handler: the caller gets this text as a `RemoteFault`."""


class Handler:
    """What a member does with what reaches it. Override what you serve."""

    async def on_request(self, request: bytes) -> bytes:  # noqa: ARG002  # for whoever overrides it
        """Answer a request.

        Args:
            request: its bytes.

        Returns:
            The reply, at least one byte: Iris cannot carry an empty one.

        Raises:
            Fault: the caller gets its text as a `RemoteFault`. Any other exception is
                answered with its type and text, and logged.
        """
        raise Fault("this member answers no requests")

    async def on_broadcast(self, message: bytes) -> None:
        """Take the bytes of a broadcast; there is no answer to one."""

    async def on_tunnel(self, tunnel: Tunnel) -> None:
        """Serve a tunnel; it is closed when this returns."""

    def on_lost(self, reason: str) -> None:
        """The relay is gone (`reason`: why); this member joins again by itself."""

    def on_joined(self) -> None:
        """The membership stands (again)."""


class _Function(Handler):
    """A handler that is a function from request to reply."""

    def __init__(self, function: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._function = function

    async def on_request(self, request: bytes) -> bytes:
        return await self._function(request)


class _HandlerRunner:
    """Runs a `Handler` for the connection (`ports.MemberHandler`)."""

    def __init__(
        self, handler: Handler, workers: int, limits: Limits, cluster: str, clock: Clock
    ) -> None:
        self.broadcasts = Quota(limits.broadcasts)
        self._handler = handler
        self._free = workers
        self._cluster = cluster
        self._clock = clock
        #: Requests that wait for a worker, each with the moment its caller gives up.
        self._waiting: deque[tuple[InboundRequest, float]] = deque()
        self._messages: deque[bytes] = deque()
        self._reading = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._throttle = Throttle()
        self._ending = False

    def on_request(self, request: InboundRequest) -> None:
        """Run the handler, now or when a worker is free."""
        if self._free:
            self._free -= 1
            self._spawn(self._work(request))
        else:
            self._waiting.append((request, self._clock.monotonic() + request.timeout))

    def on_broadcast(self, body: bytes) -> None:
        """Run the handler after those of earlier broadcasts."""
        if not self.broadcasts.take(len(body)):
            count = self._throttle.note(self._clock.monotonic())
            if count:
                logger.warning(
                    "%d broadcasts to %r dropped: %d wait for the handler already",
                    count,
                    self._cluster,
                    self.broadcasts.count,
                )
            return
        self._messages.append(body)
        if not self._reading:
            self._reading = True
            self._spawn(self._read())

    def on_tunnel(self, tunnel: InboundTunnel) -> None:
        """Accept, and run the handler until it has done with the tunnel."""
        self._spawn(self._serve(tunnel))

    def on_lost(self, reason: str) -> None:
        """Nothing that waits can be answered any more."""
        self._waiting.clear()
        self._handler.on_lost(reason)

    def on_joined(self) -> None:
        """Tell the handler that its member is one (again)."""
        self._handler.on_joined()

    async def stop(self) -> None:
        """Cancel the handlers that still run, and wait for their end."""
        self._ending = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, request: InboundRequest) -> None:
        """Answer this request, and then those that wait; one worker."""
        try:
            await self._answer(request)
            while self._waiting:
                request, deadline = self._waiting.popleft()
                if self._clock.monotonic() < deadline:
                    await self._answer(request)
        finally:
            self._free += 1

    async def _answer(self, request: InboundRequest) -> None:
        try:
            request.reply(_checked(await self._handler.on_request(request.body)))
        except Fault as fault:
            request.fail(str(fault) or "refused without a reason")
        except BaseException as error:  # any: a caller waits, and the member lives on
            request.fail(_told(error))
            self._report(error, "requests")

    async def _read(self) -> None:
        """Run the handler of broadcasts until none waits."""
        try:
            while self._messages:
                body = self._messages.popleft()
                self.broadcasts.give(len(body))
                try:
                    await self._handler.on_broadcast(body)
                except BaseException as error:  # any: the next broadcast must be read
                    self._report(error, "broadcasts")
        finally:
            self._reading = False

    async def _serve(self, offer: InboundTunnel) -> None:
        try:
            tunnel = cast("Tunnel", await offer.accept())  # our own offers give our own ends
        except TunnelClosed:
            return  # its caller has gone, or the connection
        try:
            await self._handler.on_tunnel(tunnel)
        except TunnelClosed as closed:
            logger.info("a tunnel to %r ended: %s", self._cluster, closed)
        except BaseException as error:  # any: it must end this tunnel alone
            self._report(error, "tunnels")
        finally:
            await tunnel.close()

    def _report(self, error: BaseException, kind: str) -> None:
        """Log what a handler raised; go on, unless it is our own cancellation."""
        if self._ending and issubclass(type(error), asyncio.CancelledError):
            raise error
        logger.error(
            "the handler of %s of %r failed\n%s",
            kind,
            self._cluster,
            _shortened(trace_of(error), _LONGEST_LOG),
        )


class Service(Iris):
    """A member of a cluster, and a client as well. Made by `register`."""

    def __init__(
        self,
        cluster: str,
        handler: Handler | Callable[[bytes], Awaitable[bytes]],
        host: str,
        port: int,
        *,
        workers: int,
        drain: float,
        options: Options | None,
        clock: Clock | None,
        rng: random.Random | None,
        events: Events | None,
    ) -> None:
        options = options or Options()
        clock = clock or default_clock()
        given = handler if isinstance(handler, Handler) else _Function(handler)
        self._runner = _HandlerRunner(given, workers, options.limits, cluster, clock)
        super().__init__(
            host,
            port,
            cluster=cluster,
            handler=self._runner,
            drain=drain,
            options=options,
            clock=clock,
            rng=rng,
            events=events,
        )

    async def close(self) -> None:
        """Leave: refuse new requests ("leaving"), answer those at hand, close."""
        try:
            await super().close()
        finally:
            await self._runner.stop()

    @property
    def dropped(self) -> int:
        """Broadcasts for which there was no room."""
        return self._runner.broadcasts.refused


def register(
    cluster: str,
    handler: Handler | Callable[[bytes], Awaitable[bytes]],
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    workers: int = 64,
    drain: float = 5.0,
    options: Options | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    events: Events | None = None,
) -> Service:
    """Make a member of a cluster; enter it with `async with`, in a running loop.

    Args:
        cluster: 1 to 1,024 characters.
        handler: a function from request to reply, or a `Handler`. It runs on the loop.
        host: where the relay is.
        port: its TCP port.
        workers: how many requests run at once; the others wait in order.
        drain: seconds that closing gives to what is under way.
        options: limits, timeouts and delays.
        clock: tells the time and sets timers; the loop's by default. For tests.
        rng: draws the jitter of reconnects. For tests.
        events: hears `iris.connected` and `iris.lost`.

    Returns:
        The member, not yet connected. It is a client as well.

    Raises:
        ValueError: an empty cluster, or no workers.
    """
    if not cluster:
        raise ValueError("the name of the cluster is empty; without one nobody can join")
    if workers < 1:
        raise ValueError(f"workers={workers} answer no request; give at least 1")
    return Service(
        cluster,
        handler,
        host,
        port,
        workers=workers,
        drain=drain,
        options=options,
        clock=clock,
        rng=rng,
        events=events,
    )


def _checked(reply: object) -> bytes:
    if not isinstance(reply, bytes):
        raise TypeError(f"the handler returned {type(reply).__name__}, not bytes")
    return reply


def _told(error: BaseException) -> str:
    """What a caller is told of a handler's failure: its type and text, shortened."""
    text = _shortened(text_of(error), _LONGEST_FAULT)
    return f"{class_name(error)}: {text}" if text else class_name(error)


def _shortened(text: str, limit: int) -> str:
    """The beginning of `text`, without lone surrogates: no log or wire carries those."""
    cut = text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"
    return sendable(cut)
