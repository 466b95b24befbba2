"""The connection to NATS: kept up, subscribed, and written to by one task.

With connect.py and client.py the one place that knows nats-py. The overlay says what
it wants to hear (`want`) and nobody asks whether it is heard yet: after every connect,
the first or a later one, the wanted subscriptions are made before anything else goes
out, so a request never overtakes the membership it was sent after. What is to be sent is
taken (`take`) once a turn, when the connection stands, and waits where it is
until then. nats-py finds its way back to a server by itself; where it gives up
for good (the server refused a login that held before) a new client is made.

Order of a turn: new subscriptions, messages, subscriptions that go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from actors.delays import exponential_delay
from irismq_runtime.embedded.relay.nats.connect import (
    Client,
    NatsConnector,
    abort_socket,
    cancel_task,
    drain_subscription,
    error_text,
    errors,
)
from irismq_runtime.errors import ConfigError, NotConnected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from irismq_runtime.embedded.relay.nats.context import NatsSetup
    from irismq_runtime.observe.logs import RateLimitedLog

__all__ = ["Handler", "Interest", "NatsConnection", "NatsMessage"]

#: The status with which a server says that nobody is subscribed.
_NO_RESPONDERS: Final = "503"
_DEFAULT_MAX_PAYLOAD: Final = 1024 * 1024
_LONGEST_PAUSE: Final = 5.0
#: Seconds until what could not be written is tried again.
_BREATH: Final = 0.02
#: Words of a server that does not let us hear or say something.
_FORBIDDEN: Final = "permissions violation"


class NatsMessage(NamedTuple):
    """One NATS message to be sent; an empty reply is none."""

    subject: str
    reply: str
    payload: bytes


class Interest(NamedTuple):
    """A subscription; with a queue it shares the messages with its namesakes."""

    subject: str
    queue: str = ""


#: Called with (subject, reply, data, nobody): `nobody` when the server says that none was there.
Handler: TypeAlias = "Callable[[str, str, bytes, bool], None]"


class NatsConnection:
    """A connection to a NATS cluster. Loop thread only."""

    def __init__(
        self,
        setup: NatsSetup,
        *,
        take: Callable[[], list[NatsMessage]],
        on_up: Callable[[], None],
        log: RateLimitedLog,
    ) -> None:
        self._connector = NatsConnector(setup, events=self)
        self._clock = setup.clock
        self._rng = setup.rng
        self._options = setup.options
        self._stats = setup.stats
        self._take = take
        self._on_up = on_up
        self._log = log
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._stopping = False
        self._halted = False
        self._wanted: dict[Interest, tuple[int, Handler]] = {}
        self._held: dict[Interest, list[Subscription]] = {}
        self._changed: dict[Interest, None] = {}
        self._ready: deque[NatsMessage] = deque()
        #: Subscriptions that are about to end.
        self._going: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        #: What went wrong last, for health and errors; empty when nothing did.
        self.trouble = ""
        #: What the server does not let us do; empty when it lets us do everything.
        self.forbidden = ""

    @property
    def up(self) -> bool:
        """True while messages go out and come in."""
        return self._up.is_set() and self._client is not None and self._client.is_connected

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes."""
        return _DEFAULT_MAX_PAYLOAD if self._client is None else self._client.max_payload

    @property
    def where(self) -> str:
        """The servers' addresses, without logins."""
        return self._connector.where

    def want(self, interest: Interest, count: int, handler: Handler) -> None:
        """Hold `count` subscriptions of this kind from now on; 0 ends them.

        `handler` is called on the loop with what comes; it must not raise.
        """
        if count:
            self._wanted[interest] = (count, handler)
        else:
            self._wanted.pop(interest, None)
        self._changed[interest] = None
        self._wake.set()

    def wake(self) -> None:
        """There is something to take."""
        self._wake.set()

    async def start(self) -> None:
        """Connect. Raises `NotConnected`, or `ConfigError` when the server refuses us."""
        self._connected(await self._connector.dial())
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._keep())]

    async def stop(self) -> None:
        """Send what is to be sent, and disconnect. Bounded by `stop_seconds` for each."""
        self._stopping = True
        self._wake.set()
        if not self._tasks:
            return
        writer, keeper = self._tasks
        client = self._client
        if client is not None and client.is_connected:
            await self._say_goodbye(client, writer)
        self._client = None
        self._halted = True
        for task in (writer, keeper, *self._going):
            await cancel_task(task)
        self._tasks = []
        if client is not None:
            await self._connector.discard(client)
        self._up.clear()
        self._stats.connected = False
        self._held.clear()
        self._ready.clear()

    async def _say_goodbye(self, client: Client, writer: asyncio.Task[None]) -> None:
        """Send what waits, take what still comes for the clusters left, and answer that."""
        patience = self._options.stop_seconds
        await asyncio.wait([writer], timeout=patience)
        if writer.done() and self._going:
            await asyncio.wait(self._going, timeout=patience)
            answering = asyncio.create_task(self._publish(client))
            await asyncio.wait([answering], timeout=patience)
            await cancel_task(answering)

    # Connecting

    def _connected(self, client: Client) -> None:
        """A new client stands: everything wanted is to be subscribed on it."""
        self._client = client
        self._held.clear()
        self._changed = dict.fromkeys(self._wanted)
        self._closed.clear()
        self._mark_up()

    def _mark_up(self) -> None:
        client = self._client
        if client is None or client.connected_url is None:
            return
        self.trouble = self.forbidden = ""
        self._stats.connected = True
        self._stats.server = client.connected_url.geturl()
        self._up.set()
        self._wake.set()
        self._on_up()

    async def _keep(self) -> None:
        """Make a new client whenever nats-py has given one up."""
        failed, first = 0, self._options.reconnect_pause
        while True:
            await self._closed.wait()
            longest = max(first, _LONGEST_PAUSE)
            await self.pause(exponential_delay(failed, first, longest, self._rng.random()))
            try:
                client = await self._connector.dial()
            except (NotConnected, ConfigError) as error:
                self._log.note("connect", "a new connection to NATS: %s", error)
                failed += 1
                continue
            failed = 0
            self._stats.reconnects += 1
            self._connected(client)

    async def pause(self, seconds: float) -> None:
        """Wait, by the relay's clock."""
        waited = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(seconds, _resolve, waited)
        try:
            await waited
        finally:
            timer.cancel()

    def check(self) -> None:
        """Cut a connection off that nats-py has given up and waits to be read to its end."""
        client = self._client
        if client is not None and client.is_reconnecting and self._up.is_set():
            abort_socket(client)

    # What nats-py reports

    async def on_error(self, error: Exception) -> None:
        """Count what was thrown away; log the rest (`connect.ConnectionEvents`)."""
        if isinstance(error, errors.SlowConsumerError):
            self._stats.slow_consumer += 1
            text = "messages for %s were thrown away: too many wait"
            self._log.note("slow", text, error.subject)
            return
        self.trouble = error_text(error)
        if _FORBIDDEN in self.trouble.lower():
            self.forbidden = self.trouble
        self._log.note("nats", "NATS: %s", self.trouble)
        client = self._client
        if client is not None and not client.is_connected:
            abort_socket(client)

    async def on_disconnected(self) -> None:
        """What is to be sent waits from now on."""
        self._up.clear()
        self._stats.connected = False
        if not self._stopping:
            self.trouble = self.trouble or "the connection was lost"
            self._log.note("lost", "the connection to NATS at %s is lost", self._stats.server)

    async def on_reconnected(self) -> None:
        """nats-py has subscribed again by now."""
        self._stats.reconnects += 1
        self._mark_up()
        self._log.note("again", "connected to NATS at %s again", self._stats.server)

    async def on_closed(self) -> None:
        """A new client is needed, unless this is the end."""
        if not self._stopping:
            self._closed.set()

    # Writing

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._up.wait()
            client = self._client
            if client is None:
                return
            try:
                await self._subscribe(client)
                await self._publish(client)
                self._unsubscribe(client)
            except errors.Error as error:
                # The connection went in the middle: the rest goes out on the next one.
                self.trouble = error_text(error)
                self._wake.set()
                if not client.is_connected:
                    self._up.clear()
                    self._stats.connected = False
                await self.pause(_BREATH)
            if self._halted or (self._stopping and not self._wake.is_set()):
                return

    async def _subscribe(self, client: Client) -> None:
        for interest in list(self._changed):
            count, handler = self._wanted.get(interest, (0, None))
            held = self._held.setdefault(interest, [])
            while handler is not None and len(held) < count:
                held.append(
                    await client.subscribe(
                        interest.subject,
                        queue=interest.queue,
                        cb=self._receiver(handler),
                        pending_bytes_limit=self._options.pending_limit,
                    )
                )

    def _unsubscribe(self, client: Client) -> None:
        """Let subscriptions go that are not wanted any more, each with what it still gets."""
        for interest in list(self._changed):
            count = self._wanted.get(interest, (0, None))[0]
            held = self._held.get(interest, [])
            while len(held) > count:
                going = asyncio.create_task(drain_subscription(client, held.pop()))
                self._going.add(going)
                going.add_done_callback(self._going.discard)
            if not held:
                self._held.pop(interest, None)
            if len(held) == count:
                self._changed.pop(interest, None)
        if self._changed:
            self._wake.set()

    def _receiver(self, handler: Handler) -> Callable[[Msg], Coroutine[Any, Any, None]]:
        stats = self._stats

        async def receive(message: Msg) -> None:
            stats.messages_in += 1
            headers = message.headers
            nobody = headers is not None and headers.get("Status") == _NO_RESPONDERS
            handler(message.subject, message.reply, message.data, nobody)

        return receive

    async def _publish(self, client: Client) -> None:
        ready = self._ready
        ready.extend(self._take())
        while ready and not self._halted:
            subject, reply, payload = ready[0]
            try:
                await client.publish(subject, payload, reply)
            except (errors.MaxPayloadError, errors.BadSubjectError) as error:
                self._stats.too_large += 1
                text = "a message of %d bytes was not sent: %s"
                self._log.note("unsent", text, len(payload), error)
            ready.popleft()
            self._stats.messages_out += 1


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
