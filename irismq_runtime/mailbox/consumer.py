"""One consumer of (topic, channel) over every nsqd that has the topic.

It owns one lane per nsqd and the flow that says what each may ask for, counts,
watches that what is held gets done, and stops in order: RDY 0, give back what
waits, wait for what runs with leases kept, requeue the rest, CLS, and the
broker's CLOSE_WAIT proves that all of it was read.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from irismq_runtime.mailbox.flow import Flow
from irismq_runtime.mailbox.lane import Lane
from irismq_runtime.mailbox.lookup import Discovery
from irismq_runtime.mailbox.patience import Patience
from irismq_runtime.mailbox.stored import State, Stored
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.limits import BrokerLimits
    from irismq_runtime.mailbox.receipts import PublishReceipt
    from irismq_runtime.mailbox.settlement import RequeueDelays
    from irismq_runtime.mailbox.wiring import Wiring
    from irismq_runtime.ports import StoredMessage

__all__ = ["Consumer", "Store"]

#: Seconds without RDY anywhere, and without a reason, after which that is a fault.
_STARVED: Final = 1.5

#: How long the orderly end of a connection may take once nothing runs.
GOODBYE = 1.0

if TYPE_CHECKING:
    #: (topic, record, delay, channel that is meant) -> the receipt of its storage.
    Store = Callable[[str, bytes, float, str], PublishReceipt]
else:
    Store = object


class Consumer:
    """Fills `ports.Consumption`. Loop thread only."""

    def __init__(
        self,
        wiring: Wiring,
        topic: str,
        channel: str,
        on_message: Callable[[StoredMessage], None],
        *,
        window: int,
        store: Store,
        delays: RequeueDelays,
        limits: BrokerLimits,
        on_stopped: Callable[[Consumer], None],
    ) -> None:
        self.topic = topic
        self.channel = channel
        self.on_message = on_message
        self.in_flight = 0
        self.stopping = False
        self._discovery: Discovery | None = None
        self._wiring = wiring
        self._store = store
        self._delays = delays
        self._limits = limits
        self._on_stopped = on_stopped
        self._lanes: dict[Endpoint, Lane] = {}
        # Lanes of nsqds that are not consumed from any more, until they are closed.
        self._departing: list[Lane] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._flow = Flow(wiring, topic, window, self._lanes.values)
        self._stuck = False
        self._dirty: list[Lane] = []
        self._progress_at = wiring.clock.monotonic()
        #: When a broker was last asked for messages, or there was a reason not to.
        self._asked_at = self._progress_at
        self._idle: asyncio.Event = asyncio.Event()
        self._first = Patience(wiring.clock)
        self._stopped: asyncio.Future[None] | None = None

    # Connections -----------------------------------------------------------

    def discover(self, lookupds: Sequence[Endpoint], always: Sequence[Endpoint]) -> None:
        """Consume from `always`, and from what `lookupds` name besides."""
        self.connect(always)
        if lookupds:
            self._discovery = Discovery(
                self._wiring,
                lookupds,
                self.topic,
                connected=self._connected,
                on_found=lambda found: self.connect({*always, *found}),
            )
            self._discovery.start()

    async def established(self) -> None:
        """See `ports.Consumption.established`."""
        await self._first.over(self._awaits, self._wiring.config.start_timeout)

    def _awaits(self) -> bool:
        """Whether a directory or a broker has yet to answer for the first time."""
        if self.stopping:
            return False
        unasked = self._discovery is not None and not self._discovery.asked
        return unasked or any(lane.link.awaited for lane in self._lanes.values())

    def _connected(self) -> list[Endpoint]:
        return [endpoint for endpoint, lane in self._lanes.items() if lane.link.ready]

    def connect(self, endpoints: Iterable[Endpoint]) -> None:
        """Consume from exactly these nsqds; those not named any more are left in order."""
        self._first.look()
        if self.stopping:
            return
        wanted = set(endpoints)
        for endpoint in [known for known in self._lanes if known not in wanted]:
            self._leave(self._lanes.pop(endpoint))
        for endpoint in sorted(wanted - self._lanes.keys()):
            lane = Lane(
                self._wiring,
                endpoint,
                self,
                limits=self._limits,
                requeue_after=self._delays.after,
            )
            self._lanes[endpoint] = lane
            lane.link.on_dialled = self._first.look
            lane.link.start()

    def _every_lane(self) -> list[Lane]:
        return [*self._lanes.values(), *self._departing]

    @property
    def lanes(self) -> Iterator[Lane]:
        """One per nsqd."""
        return iter(self._lanes.values())

    def lane_ready(self, lane: Lane, max_rdy: int) -> None:
        """See `LaneOwner`."""
        now = self._wiring.clock.monotonic()
        self._progress_at = now
        lane.share = self._flow.credit.join(str(lane.link.endpoint), max_rdy, now)
        self.plan_soon()

    def lane_lost(self, lane: Lane) -> None:
        """See `LaneOwner`."""
        if lane.share is not None:
            self._flow.credit.leave(lane.share)
            lane.share = None
        self.plan_soon()

    def _leave(self, lane: Lane) -> None:
        """Go from a nsqd that has the topic no more: what waits goes back, what runs ends."""
        if lane.share is not None:
            self._flow.credit.leave(lane.share)
            lane.tell_ready(0)
        self._departing.append(lane)
        for message in list(lane.leases.all()):
            if message.state is State.HELD:
                message.requeue(0.0, penalty=False)
        self._left(lane)

    def _left(self, lane: Lane) -> None:
        """Say goodbye to a departing lane once nothing of it runs any more."""
        if lane in self._departing and not len(lane.leases):
            self._departing.remove(lane)
            task = asyncio.get_running_loop().create_task(self._goodbye(lane))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _goodbye(self, lane: Lane) -> None:
        """CLS, its answer, and the end of the connection, all within `GOODBYE`."""
        closed = asyncio.Event()
        timer = self._wiring.clock.call_later(GOODBYE, closed.set)
        lane.say_goodbye(closed.set)
        await closed.wait()
        timer.cancel()
        lane.flush()
        await lane.link.close(GOODBYE)

    # What the holder calls -------------------------------------------------

    def pause(self) -> None:
        """See `ports.Consumption.pause`."""
        self._flow.paused = True
        self.plan_soon()

    def resume(self) -> None:
        """See `ports.Consumption.resume`."""
        self._flow.paused = False
        self._progress_at = self._wiring.clock.monotonic()
        self.plan_soon()

    def set_window(self, size: int) -> None:
        """See `ports.Consumption.set_window`."""
        if size != self._flow.window:
            self._flow.window = size
            self.plan_soon()

    def give_back(self) -> int:
        """See `ports.Consumption.give_back`."""
        self._flow.plan_now()  # a pause must reach the broker before what it is to give elsewhere
        waiting = [
            message
            for lane in self._lanes.values()
            for message in lane.leases.all()
            if message.state is State.HELD
        ]
        for message in waiting:
            message.requeue(0.0, penalty=False)
        return len(waiting)

    def claim(self, message: StoredMessage) -> bool:
        """See `ports.Consumption.claim`."""
        return isinstance(message, Stored) and message.claim()

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
        self._first.look()
        self._flow.stop()
        if self._discovery is not None:
            await self._discovery.close()
        for lane in self._lanes.values():
            if lane.link.ready:
                lane.tell_ready(0)
        self.give_back()
        if self.in_flight:
            timer = self._wiring.clock.call_later(drain, self._idle.set)
            await self._idle.wait()
            timer.cancel()
        for lane in self._every_lane():
            for message in lane.held():
                message.requeue(0.0, penalty=False)
        await asyncio.gather(*map(self._goodbye, self._every_lane()), *self._leaving)

    # What the lanes report -------------------------------------------------

    def finished(self, message: Stored) -> None:
        """See `LaneOwner`."""
        self.in_flight -= 1
        # Renewed at the latest, so no question to the clock for every message.
        if message.renewed_at > self._progress_at:  # noqa: PLR1730  # a call of max costs
            self._progress_at = message.renewed_at
        flow = self._flow
        if not flow.backoff.calm and flow.backoff.succeeded():
            flow.plan_soon()
        self._left_hand(message)

    def given_up(self, message: Stored, *, failure: bool) -> None:
        """See `LaneOwner`."""
        self.in_flight -= 1
        if failure:
            self._flow.failed(message.received_at)
        self._left_hand(message)

    def _left_hand(self, message: Stored) -> None:
        if self._flow.credit.hungry:
            self._flow.plan_soon()
        if self._departing:
            self._left(message.lane)
        if self.stopping and self.in_flight == 0:
            self._idle.set()

    def handler_failed(self, message: Stored, error: Exception) -> None:
        """See `LaneOwner`."""
        self._wiring.log.write(
            logging.ERROR,
            f"receiver {self.topic}",
            "the receiver of %s failed; the message is requeued",
            self.topic,
            error=error,
        )
        message.requeue()

    def move(self, message: Stored, topic: str, record: bytes, delay: float, channel: str) -> None:
        """See `LaneOwner`."""
        try:
            receipt = self._store(topic, record, delay, channel)
        except Exception as error:  # too large, no room: the message goes back
            self._not_moved(message, topic, error)
            message.lane.moved(message, error)
            return

        def done(receipt: PublishReceipt) -> None:
            error = receipt.exception()
            if error is not None:
                self._not_moved(message, topic, error)
            message.lane.moved(message, error)

        receipt.add_done_callback(done)

    def _not_moved(self, message: Stored, topic: str, error: BaseException) -> None:
        if topic == self.topic:  # deferred: no handler has begun
            message.lane.spare(message)
        self._wiring.log.write(
            logging.ERROR,
            "store",
            "a message of %s could not be stored in %s and is requeued: %s",
            self.topic,
            topic,
            error,
        )

    def plan_soon(self) -> None:
        """See `LaneOwner`."""
        self._flow.plan_soon()

    def flush_soon(self, lane: Lane) -> None:
        """See `LaneOwner`."""
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(lane)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for lane in dirty:
            lane.flush()

    def pulse(self, now: float) -> None:
        """The mailbox's beat: leases and silence."""
        for lane in self._every_lane():
            lane.pulse(now)
        if self._asks(now):
            self._asked_at = now
        else:
            self._flow.plan_soon()
        stuck = self._why_stuck(now)
        if stuck and not self._stuck:
            self._wiring.log.write(logging.ERROR, "stuck", "%s is stuck: %s", self.topic, stuck)
            self._wiring.events.emit(
                "consumer.stuck", topic=self.topic, channel=self.channel, reason=stuck
            )
        self._stuck = bool(stuck)

    # Health ----------------------------------------------------------------

    def remark(self) -> str:
        """See `ports.Consumption.remark`."""
        return self._discovery.fault if self._discovery is not None else ""

    def health(self) -> TransportHealth:
        """See `ports.Consumption.health`."""
        if reason := self._why_not():
            return TransportHealth(ok=False, reason=f"{self.topic}: {reason}")
        if slow := self._flow.why_slow(self._wiring.clock.monotonic()):
            return TransportHealth(ok=False, reason=f"{self.topic}: {slow}", advisory=True)
        return WELL

    def _why_not(self) -> str:
        if self.stopping:
            return "stopped"
        if not self._lanes:
            return self.remark() or "no nsqd has this topic yet"
        down = [lane for lane in self._lanes.values() if not lane.link.ready]
        unreached = "; ".join(f"nsqd {lane.link.endpoint}: {lane.link.reason}" for lane in down)
        if len(down) == len(self._lanes):
            return unreached
        now = self._wiring.clock.monotonic()
        return (
            self._flow.why_paused() or self._why_starved(now) or self._why_stuck(now) or unreached
        )

    def _asks(self, now: float) -> bool:
        """Whether messages come, or may, or there is a good reason why not."""
        shares = [lane.share for lane in self._lanes.values() if lane.link.ready and lane.share]
        busy = self.in_flight > 0 or any(share.ready > 0 for share in shares)
        return busy or not shares or self.stopping or bool(self._flow.why_not(now))

    def _why_starved(self, now: float) -> str:
        """The other watchdog: all stands, and no broker has been asked for anything."""
        starved = now - self._asked_at
        if starved <= _STARVED or self._asks(now):
            return ""
        return f"no broker has been asked for messages for {starved:.0f} s (RDY 0)"

    def _why_stuck(self, now: float) -> str:
        """The watchdog: all that may be held is held, and none of it gets done."""
        if self.in_flight < self._flow.window:
            return ""
        held = [message.received_at for lane in self._every_lane() for message in lane.held()]
        stuck = now - max(self._progress_at, min(held, default=now))
        if stuck <= self._wiring.config.stuck_after:
            return ""
        return f"{self.in_flight} messages are held, none was finished for {stuck:.0f} s"
