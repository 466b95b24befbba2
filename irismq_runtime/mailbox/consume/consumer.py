"""One consumer of (topic, channel) over every nsqd that has the topic.

It owns one connection per nsqd and the RDY control that says what each may ask for,
counts, watches that what is held gets done, and stops in order: RDY 0, give back
what waits, wait for what runs with leases kept, requeue the rest, CLS, and the
broker's CLOSE_WAIT proves that all of it was read.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from irismq_runtime.mailbox.consume.condition import TimedCondition
from irismq_runtime.mailbox.consume.consumer_connection import ConsumerConnection
from irismq_runtime.mailbox.consume.in_flight import InFlightMessage, InFlightState
from irismq_runtime.mailbox.consume.lookup import Discovery
from irismq_runtime.mailbox.consume.rdy import RdyControl
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.consume.requeue_delays import RequeueDelays
    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.mailbox.limits import BrokerLimits
    from irismq_runtime.mailbox.receipts import PublishReceipt
    from irismq_runtime.ports import StoredMessage

__all__ = ["Consumer", "Store"]

#: Seconds without RDY anywhere, and without a reason, after which that is a fault.
_STARVED: Final = 1.5
#: Seconds for which a consumer that waits for messages is left alone: one of thousands. Where
#: there are more than so many it is for longer, as much as there are, up to so many seconds.
_REST: Final = 5.0
_MANY: Final = 500
_LONGEST_REST: Final = 30.0

#: How long the orderly end of a connection may take once nothing runs.
GOODBYE = 1.0

if TYPE_CHECKING:
    #: (topic, record, delay, channel that is meant, broker that a copy has come from or "" for
    #: what is new) -> the receipt of its storage.
    Store = Callable[[str, bytes, float, str, str], PublishReceipt]
else:
    Store = object


class Consumer:
    """Fills `ports.Consumption`. Loop thread only."""

    def __init__(
        self,
        context: MailboxContext,
        topic: str,
        channel: str,
        on_message: Callable[[StoredMessage], None],
        *,
        window: int,
        store: Store,
        delays: RequeueDelays,
        limits: BrokerLimits,
        on_stirring: Callable[[Consumer], None],
        on_stopped: Callable[[Consumer], None],
    ) -> None:
        self.topic = topic
        self.channel = channel
        self.on_message = on_message
        self.in_flight = 0
        self.stopping = False
        self._discovery: Discovery | None = None
        self._context = context
        self._store = store
        self._delays = delays
        self._limits = limits
        #: Called when a rest ends before its time.
        self.on_stirring = on_stirring
        self._on_stopped = on_stopped
        self._connections: dict[Endpoint, ConsumerConnection] = {}
        # Lanes of nsqds that are not consumed from any more, until they are closed.
        self._departing: list[ConsumerConnection] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._rdy = RdyControl(context, topic, window, self._connections.values)
        self._stuck = False
        #: Until then no beat looks at it, unless it stirs; 0: it does not rest.
        self.rests_until = 0.0
        self._to_flush: list[ConsumerConnection] = []
        self._progress_at = context.clock.monotonic()
        #: When a broker was last asked for messages, or there was a reason not to.
        self._asked_at = self._progress_at
        self._idle: asyncio.Event = asyncio.Event()
        self._established = TimedCondition(context.clock)
        self._stopped: asyncio.Future[None] | None = None

    # Connections -----------------------------------------------------------

    def discover(self, lookupds: Sequence[Endpoint], always: Sequence[Endpoint]) -> None:
        """Consume from `always`, and from what `lookupds` name besides."""
        self.connect(always)
        if lookupds:
            self._discovery = Discovery(
                self._context,
                lookupds,
                self.topic,
                connected=self._connected,
                on_found=lambda found: self.connect({*always, *found}),
            )
            self._discovery.start()

    async def established(self) -> None:
        """See `ports.Consumption.established`."""
        await self._established.wait_while(self._awaits, self._context.config.start_timeout)

    def _awaits(self) -> bool:
        """Whether a directory or a broker has yet to answer for the first time."""
        if self.stopping:
            return False
        unasked = self._discovery is not None and not self._discovery.asked
        return unasked or any(
            connection.managed.awaited for connection in self._connections.values()
        )

    def _connected(self) -> list[Endpoint]:
        return [endpoint for endpoint, connection in self._connections.items() if connection.ready]

    def connect(self, endpoints: Iterable[Endpoint]) -> None:
        """Consume from exactly these nsqds; those not named any more are left in order."""
        self._established.notify()
        if self.stopping:
            return
        wanted = set(endpoints)
        for endpoint in [known for known in self._connections if known not in wanted]:
            self._leave(self._connections.pop(endpoint))
        for endpoint in sorted(wanted - self._connections.keys()):
            connection = ConsumerConnection(
                self._context,
                endpoint,
                self,
                limits=self._limits,
                requeue_after=self._delays.after,
            )
            self._connections[endpoint] = connection
            connection.managed.on_dialled = self._established.notify
            connection.managed.start()
            self.stir()

    def _every_connection(self) -> list[ConsumerConnection]:
        return [*self._connections.values(), *self._departing]

    @property
    def connections(self) -> Iterator[ConsumerConnection]:
        """One per nsqd."""
        return iter(self._connections.values())

    def connection_up(self, connection: ConsumerConnection, max_rdy: int) -> None:
        """Messages can be asked for from this nsqd, at most `max_rdy` at a time."""
        now = self._context.clock.monotonic()
        self._progress_at = now
        name = str(connection.managed.endpoint)
        connection.share = self._rdy.distribution.join(name, max_rdy, now)
        self.plan_soon()

    def connection_down(self, connection: ConsumerConnection) -> None:
        """The connection ended; the messages that were in flight on it are lost to us."""
        if connection.share is not None:
            self._rdy.distribution.leave(connection.share)
            connection.share = None
        self.plan_soon()

    def _leave(self, connection: ConsumerConnection) -> None:
        """Go from a nsqd that has the topic no more: what waits goes back, what runs ends."""
        if connection.share is not None:
            self._rdy.distribution.leave(connection.share)
            connection.tell_ready(0)
        self._departing.append(connection)
        for message in list(connection.leases.all()):
            if message.state is InFlightState.HELD:
                message.requeue(0.0, penalty=False)
        self._left(connection)

    def _left(self, connection: ConsumerConnection) -> None:
        """Say goodbye to a departing connection once nothing of it runs any more."""
        if connection in self._departing and not len(connection.leases):
            self._departing.remove(connection)
            task = asyncio.get_running_loop().create_task(self._goodbye(connection))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _goodbye(self, connection: ConsumerConnection) -> None:
        """CLS, its answer, and the end of the connection, all within `GOODBYE`."""
        closed = asyncio.Event()
        timer = self._context.clock.call_later(GOODBYE, closed.set)
        connection.say_goodbye(closed.set)
        await closed.wait()
        timer.cancel()
        connection.flush()
        await connection.managed.close(GOODBYE)

    # What the holder calls -------------------------------------------------

    def pause(self) -> None:
        """See `ports.Consumption.pause`."""
        self._rdy.paused = True
        self.plan_soon()

    def resume(self) -> None:
        """See `ports.Consumption.resume`."""
        self._rdy.paused = False
        self._progress_at = self._context.clock.monotonic()
        self.plan_soon()

    def set_window(self, size: int) -> None:
        """See `ports.Consumption.set_window`."""
        if size != self._rdy.window:
            self._rdy.window = size
            self.plan_soon()

    def give_back(self) -> int:
        """See `ports.Consumption.give_back`."""
        self._rdy.plan_now()  # a pause must reach the broker before what it is to give elsewhere
        waiting = [
            message
            for connection in self._connections.values()
            for message in connection.leases.all()
            if message.state is InFlightState.HELD
        ]
        for message in waiting:
            message.requeue(0.0, penalty=False)
        return len(waiting)

    def claim(self, message: StoredMessage) -> bool:
        """See `ports.Consumption.claim`."""
        return isinstance(message, InFlightMessage) and message.claim()

    def disclaim(self, message: StoredMessage) -> bool:
        """See `ports.Consumption.disclaim`."""
        return isinstance(message, InFlightMessage) and message.disclaim()

    async def stop(self, drain: float) -> None:
        """See `ports.Consumption.stop`."""
        if self._stopped is not None:
            await asyncio.shield(self._stopped)
            return
        self._stopped = asyncio.get_running_loop().create_future()
        try:
            await self._stop(drain)
        finally:
            self._on_stopped(self)
            self._stopped.set_result(None)

    async def _stop(self, drain: float) -> None:
        self.stopping = True
        self._established.notify()
        self._rdy.stop()
        if self._discovery is not None:
            await self._discovery.close()
        for connection in self._connections.values():
            if connection.ready:
                connection.tell_ready(0)
        self.give_back()
        if self.in_flight:
            timer = self._context.clock.call_later(drain, self._idle.set)
            await self._idle.wait()
            timer.cancel()
        for connection in self._every_connection():
            for message in connection.held():
                message.requeue(0.0, penalty=False)
        await asyncio.gather(*map(self._goodbye, self._every_connection()), *self._leaving)

    # What the connections report -------------------------------------------------

    def finished(self, message: InFlightMessage) -> None:
        """A message left for good. Called after the bookkeeping of its connection."""
        self.in_flight -= 1
        # Renewed at the latest, so no question to the clock for every message.
        if message.renewed_at > self._progress_at:  # noqa: PLR1730  # a call of max costs
            self._progress_at = message.renewed_at
        rdy = self._rdy
        if not rdy.backoff.calm and rdy.backoff.succeeded():
            rdy.plan_soon()
        self._left_hand(message)

    def given_up(self, message: InFlightMessage, *, failure: bool) -> None:
        """A message left to come again. Called after the bookkeeping of its connection."""
        self.in_flight -= 1
        if failure:
            self._rdy.failed(message.received_at)
        self._left_hand(message)

    def _left_hand(self, message: InFlightMessage) -> None:
        if self._rdy.distribution.waiting:
            self._rdy.plan_soon()
        if self._departing:
            self._left(message.connection)
        if self.stopping and self.in_flight == 0:
            self._idle.set()

    def handler_failed(self, message: InFlightMessage, error: Exception) -> None:
        """`on_message` raised: the message goes back."""
        self._context.log.write(
            logging.ERROR,
            f"receiver {self.topic}",
            "the receiver of %s failed; the message is requeued",
            self.topic,
            error=error,
        )
        message.requeue()

    def move(
        self, message: InFlightMessage, topic: str, record: bytes, delay: float, channel: str
    ) -> None:
        """Store `record` elsewhere, for `channel`, then call `message.connection.moved`."""
        copy_of = str(message.connection.managed.endpoint) if topic == self.topic else ""
        try:
            receipt = self._store(topic, record, delay, channel, copy_of)
        except Exception as error:  # too large, no room: the message goes back
            self._not_moved(message, topic, error)
            message.connection.moved(message, error)
            return

        def done(receipt: PublishReceipt) -> None:
            error = receipt.exception()
            if error is not None:
                self._not_moved(message, topic, error)
            message.connection.moved(message, error)

        receipt.add_done_callback(done)

    def _not_moved(self, message: InFlightMessage, topic: str, error: BaseException) -> None:
        if topic == self.topic:  # deferred: no handler has begun
            message.connection.discount(message)
        self._context.log.write(
            logging.ERROR,
            "store",
            "a message of %s could not be stored in %s and is requeued: %s",
            self.topic,
            topic,
            error,
        )

    def plan_soon(self) -> None:
        """What may be asked for has changed: share it out at the end of this loop turn."""
        self.stir()
        self._rdy.plan_soon()

    def stir(self) -> None:
        """Something happens: a rest, if this is one, ends, and beats look at it again."""
        if self.rests_until:  # up to now all was well, though nobody looked
            now = self._context.clock.monotonic()
            self._asked_at = max(self._asked_at, min(now, self.rests_until))
            self.rests_until = 0.0
            self.on_stirring(self)

    def flush_soon(self, connection: ConsumerConnection) -> None:
        """Let `connection.flush` be called at the end of this loop turn."""
        if not self._to_flush:
            asyncio.get_running_loop().call_soon(self._flush)
        self._to_flush.append(connection)

    def _flush(self) -> None:
        to_flush, self._to_flush = self._to_flush, []
        for connection in to_flush:
            connection.flush()

    def tick(self, now: float) -> float:
        """The mailbox's beat: leases and silence. Until when it rests, `now` if it does not."""
        for connection in self._every_connection():
            connection.tick(now)
        if self._asks(now):
            self._asked_at = now
        else:
            self._rdy.plan_soon()
        stuck = self._why_stuck(now)
        if stuck and not self._stuck:
            self._context.log.write(logging.ERROR, "stuck", "%s is stuck: %s", self.topic, stuck)
            self._context.events.emit(
                "consumer.stuck", topic=self.topic, channel=self.channel, reason=stuck
            )
        self._stuck = bool(stuck)
        until = self._nothing_to_watch_until(now)
        self.rests_until = until if until > now else 0.0
        return until

    def _nothing_to_watch_until(self, now: float) -> float:
        """Until when to be left alone: `now` unless nothing is held, and each broker was asked."""
        rest = min(_REST * max(1.0, self._context.consumers / _MANY), _LONGEST_REST)
        until = now + rest
        if self.in_flight or self._departing or not self._connections:
            return now
        for connection in self._connections.values():
            share, link = connection.share, connection.managed.connection
            if not connection.ready or share is None or not share.ready or connection.lost:
                return now
            until = min(until, link.silent_at if link is not None else now)
        return until

    # Health ----------------------------------------------------------------

    def remark(self) -> str:
        """See `ports.Consumption.remark`."""
        return self._discovery.fault if self._discovery is not None else ""

    def health(self) -> TransportHealth:
        """See `ports.Consumption.health`. Of one that rests it is as when it was looked at."""
        now = self._context.clock.monotonic()
        if now < self.rests_until and not (self.in_flight or self.stopping or self._rdy.slow):
            return WELL
        if reason := self._why_not():
            return TransportHealth(ok=False, reason=f"{self.topic}: {reason}")
        if slow := self._rdy.why_slow(now):
            return TransportHealth(ok=False, reason=f"{self.topic}: {slow}", advisory=True)
        return WELL

    def _why_not(self) -> str:
        if self.stopping:
            return "stopped"
        if not self._connections:
            return self.remark() or "no nsqd has this topic yet"
        down = [connection for connection in self._connections.values() if not connection.ready]
        unreached = "; ".join(
            f"nsqd {connection.managed.endpoint}: {connection.managed.reason}"
            for connection in down
        )
        if len(down) == len(self._connections):
            return unreached
        now = self._context.clock.monotonic()
        return self._rdy.why_paused() or self._why_starved(now) or self._why_stuck(now) or unreached

    def _asks(self, now: float) -> bool:
        """Whether messages come, or may, or there is a good reason why not."""
        shares = [
            connection.share
            for connection in self._connections.values()
            if connection.ready and connection.share
        ]
        busy = self.in_flight > 0 or any(share.ready > 0 for share in shares)
        return busy or not shares or self.stopping or bool(self._rdy.why_not(now))

    def _why_starved(self, now: float) -> str:
        """The other watchdog: all stands, and no broker has been asked for anything."""
        starved = now - self._asked_at
        if starved <= _STARVED or self._asks(now):
            return ""
        return f"no broker has been asked for messages for {starved:.0f} s (RDY 0)"

    def _why_stuck(self, now: float) -> str:
        """The watchdog: all that may be held is held, and none of it gets done."""
        if self.in_flight < self._rdy.window:
            return ""
        held = [
            message.received_at
            for connection in self._every_connection()
            for message in connection.held()
        ]
        stuck = now - max(self._progress_at, min(held, default=now))
        if stuck <= self._context.config.stuck_after:
            return ""
        return f"{self.in_flight} messages are held, none was finished for {stuck:.0f} s"
