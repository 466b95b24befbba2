"""Both ports in memory, for quick tests of refs, dispatch and the node.

A `MemoryBroker` is shared by the `MemoryMailbox`es of several nodes, a
`MemoryRelay` by their `MemoryAddresses`. Deliveries go through the loop
(`call_soon`), so that nothing is handled inside the call that sent it. Deferred
messages wait on the clock given. Switches make the unfriendly cases: a broker
that does not confirm, a relay that is cut.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.errors import AskTimeout
from irismq_runtime.errors import (
    ConnectionLost,
    DeliveryError,
    MessageTooLarge,
    RemoteFault,
    TunnelClosed,
    TunnelTimeout,
)
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from actors.clock import Clock
    from irismq_runtime.ports import MemberHandler

MAX_BODY = 1024 * 1024


@dataclass
class Record:
    id: str
    body: bytes
    timestamp: float
    attempts: int = 0


class Channel:
    def __init__(self) -> None:
        self.waiting: deque[Record] = deque()
        self.consumers: list[MemoryConsumption] = []

    def pump(self) -> None:
        """Hand out what waits to whoever has room, in turn."""
        while self.waiting:
            ready = [c for c in self.consumers if c.ready]
            if not ready:
                return
            consumer = min(ready, key=lambda c: c.in_flight)
            consumer.push(self.waiting.popleft())


class MemoryBroker:
    """Topics and channels as nsqd keeps them, without sockets."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.topics: dict[str, dict[str, Channel]] = {}
        self.unrouted: dict[str, list[Record]] = {}
        self.ids = itertools.count(1)
        self.confirms = True
        self.published: list[tuple[str, bytes, float]] = []

    def channel(self, topic: str, name: str) -> Channel:
        channels = self.topics.setdefault(topic, {})
        if name not in channels:
            channels[name] = Channel()
            channels[name].waiting.extend(self.unrouted.pop(topic, []))
        return channels[name]

    def store(self, topic: str, body: bytes, delay: float) -> None:
        self.published.append((topic, body, delay))
        record = Record(f"{next(self.ids):016x}", body, self.clock.time())
        if delay > 0:
            self.clock.call_later(delay, self._route, topic, record)
        else:
            self._route(topic, record)

    def _route(self, topic: str, record: Record) -> None:
        channels = self.topics.get(topic)
        if not channels:
            self.unrouted.setdefault(topic, []).append(record)
            return
        for channel in channels.values():
            channel.waiting.append(Record(record.id, record.body, record.timestamp))
            channel.pump()

    def bodies(self, topic: str) -> list[bytes]:
        """What was stored in `topic`, in order."""
        return [body for name, body, _ in self.published if name == topic]


class MemoryStored:
    """One delivery. See ports.StoredMessage."""

    def __init__(self, record: Record, consumption: MemoryConsumption) -> None:
        self.body = record.body
        self.id = record.id
        self.attempts = record.attempts
        self.timestamp = record.timestamp
        self.lease_lost = False
        self.on_lease_lost: Callable[[], None] | None = None
        self.record = record
        self.consumption = consumption
        self.claimed = False
        self.settled: tuple[Any, ...] | None = None

    def _settle(self, *how: Any) -> bool:
        if self.settled is not None or self.lease_lost:
            return False
        self.settled = how
        self.consumption.release(self)
        return True

    def finish(self) -> bool:
        return self._settle("finish")

    def requeue(self, delay: float | None = None, *, penalty: bool = True) -> bool:
        if not self._settle("requeue", delay, penalty):
            return False
        if not penalty:
            self._spare()
        wait = 1.0 if delay is None else delay
        channel = self.consumption.channel
        if wait > 0:
            self.consumption.broker.clock.call_later(wait, self._again, channel)
        else:
            self._again(channel)
        return True

    def _spare(self) -> None:
        """A delivery that began no handler is no attempt."""
        if not self.claimed:
            self.record.attempts -= 1

    def _again(self, channel: Channel) -> None:
        channel.waiting.append(self.record)
        channel.pump()

    def defer(self, delay: float, body: bytes | None = None) -> bool:
        if not self._settle("defer", delay):
            return False
        data = self.body if body is None else body
        self.consumption.broker.store(self.consumption.topic, data, min(delay, 3600.0))
        return True

    def bury(self, topic: str, record: bytes, *, channel: str = "") -> bool:
        if not self._settle("bury", topic):
            return False
        if channel:
            self.consumption.broker.channel(topic, channel)
        self.consumption.broker.store(topic, record, 0)
        return True

    def lose_lease(self) -> None:
        """Let the broker give the message out again, as after its time limit."""
        self.lease_lost = True
        self._spare()
        if self.on_lease_lost is not None:
            self.on_lease_lost()
        self.consumption.release(self)
        self._again(self.consumption.channel)


class MemoryConsumption:
    """See ports.Consumption."""

    def __init__(
        self,
        broker: MemoryBroker,
        topic: str,
        channel: Channel,
        on_message: Callable[[MemoryStored], None],
        window: int,
    ) -> None:
        self.broker = broker
        self.topic = topic
        self.channel = channel
        self.on_message = on_message
        self.window = window
        self.paused = False
        self.stopped = False
        self.held: dict[int, MemoryStored] = {}
        self.history: list[MemoryStored] = []
        self._idle: asyncio.Event = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return len(self.held)

    @property
    def ready(self) -> bool:
        return not self.paused and not self.stopped and len(self.held) < self.window

    def push(self, record: Record) -> None:
        record.attempts += 1
        message = MemoryStored(record, self)
        self.held[id(message)] = message
        self.history.append(message)
        asyncio.get_running_loop().call_soon(self._deliver, message)

    def _deliver(self, message: MemoryStored) -> None:
        if message.settled is None:
            self.on_message(message)

    def release(self, message: MemoryStored) -> None:
        self.held.pop(id(message), None)
        if not self.held:
            self._idle.set()
        self.channel.pump()

    async def established(self) -> None:
        return

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self.channel.pump()

    def set_window(self, size: int) -> None:
        self.window = size
        self.channel.pump()

    def give_back(self) -> int:
        back = [m for m in self.held.values() if not m.claimed]
        return sum(m.requeue(0, penalty=False) for m in back)

    def claim(self, message: MemoryStored) -> bool:
        """Once only, as the transport on NSQ grants it."""
        if message.claimed or message.settled is not None or message.lease_lost:
            return False
        message.claimed = True
        return True

    def disclaim(self, message: MemoryStored) -> bool:
        if not message.claimed or message.settled is not None or message.lease_lost:
            return False
        message.claimed = False
        return True

    async def stop(self, drain: float) -> None:
        self.stopped = True
        self.give_back()
        if self.held:
            self._idle.clear()
            done = asyncio.get_running_loop().create_future()
            timer = self.broker.clock.call_later(drain, lambda: done.done() or done.set_result(0))
            waiter = asyncio.ensure_future(self._idle.wait())
            await asyncio.wait({done, waiter}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            waiter.cancel()
        for message in list(self.held.values()):
            message.requeue(0, penalty=False)
        if self in self.channel.consumers:
            self.channel.consumers.remove(self)

    def remark(self) -> str:
        return ""

    def health(self) -> TransportHealth:
        reason = "stopped" if self.stopped else "paused" if self.paused else ""
        return TransportHealth(not reason, reason)


class MemoryMailbox:
    """See ports.MailboxTransport."""

    max_body = MAX_BODY
    max_delay = 3600.0

    def __init__(self, broker: MemoryBroker, *, max_attempts: int = 5) -> None:
        self.broker = broker
        self.max_attempts = max_attempts
        self.consumptions: list[MemoryConsumption] = []
        self.closed = False

    async def start(self) -> None:
        return

    def publish(
        self,
        topic: str,
        body: bytes,
        *,
        delay: float = 0.0,
        timeout: float | None = None,
        key: str = "",
        channel: str = "",
    ) -> asyncio.Future[None]:
        if len(body) > self.max_body:
            raise MessageTooLarge(len(body), self.max_body)
        future = asyncio.get_running_loop().create_future()
        if self.broker.confirms:
            if channel:
                self.broker.channel(topic, channel)
            self.broker.store(topic, body, delay)
            future.set_result(None)
        else:
            future.set_exception(DeliveryError(topic, "unknown", "no confirmation"))
            future.exception()
        return future

    def publish_all(
        self,
        topic: str,
        bodies: Sequence[bytes],
        *,
        timeout: float | None = None,
        keys: Sequence[str] = (),
        channel: str = "",
    ) -> list[asyncio.Future[None]]:
        for index, body in enumerate(bodies):
            if len(body) > self.max_body:
                raise MessageTooLarge(len(body), self.max_body, index=index)
        return [self.publish(topic, body, channel=channel) for body in bodies]

    async def consume(
        self, topic: str, channel: str, on_message: Callable[[Any], None], *, window: int
    ) -> MemoryConsumption:
        place = self.broker.channel(topic, channel)
        consumption = MemoryConsumption(self.broker, topic, place, on_message, window)
        place.consumers.append(consumption)
        self.consumptions.append(consumption)
        place.pump()
        return consumption

    async def close(self, drain: float) -> None:
        self.closed = True
        for consumption in self.consumptions:
            await consumption.stop(drain)

    def health(self) -> TransportHealth:
        return WELL


class MemoryRelay:
    """Clusters and topics as a relay keeps them, without sockets."""

    def __init__(self) -> None:
        self.members: dict[str, list[MemoryMember]] = {}
        self.topics: dict[str, list[Callable[[bytes], None]]] = {}
        self.turn = itertools.count()
        self.cut = False
        self.requests = 0

    def check(self) -> None:
        if self.cut:
            raise ConnectionLost("relay in memory", "not sent", "cut by the test")

    def member_for(self, cluster: str) -> MemoryMember | None:
        members = self.members.get(cluster)
        return members[next(self.turn) % len(members)] if members else None


class MemoryMember:
    """See ports.Member."""

    def __init__(self, relay: MemoryRelay, cluster: str, handler: MemberHandler) -> None:
        self.relay = relay
        self.cluster = cluster
        self.handler = handler

    async def leave(self, drain: float) -> None:
        members = self.relay.members.get(self.cluster, [])
        if self in members:
            members.remove(self)

    def health(self) -> TransportHealth:
        return WELL


class MemoryRequest:
    """See ports.InboundRequest."""

    #: It comes in a step of who asks.
    alone = False

    def __init__(self, body: bytes, timeout: float, answer: asyncio.Future[bytes]) -> None:
        self.body = body
        self.timeout = timeout
        self.answer = answer

    def reply(self, body: bytes) -> bool:
        if self.answer.done():
            return False
        self.answer.set_result(body)
        return True

    def fail(self, fault: str) -> bool:
        if self.answer.done():
            return False
        self.answer.set_exception(RemoteFault(fault))
        return True


class MemoryTunnel:
    """One end of a tunnel with room for a few messages. See ports.TunnelPort."""

    def __init__(
        self,
        inbox: asyncio.Queue[bytes],
        outbox: asyncio.Queue[bytes],
        over: asyncio.Event,
    ) -> None:
        self.inbox = inbox
        self.outbox = outbox
        self.over = over

    async def _or_over(self, work: Any) -> Any:
        """The result of `work`, unless the tunnel is over before."""
        doing = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise TunnelClosed
        finally:
            doing.cancel()
            ending.cancel()

    async def send(self, body: bytes) -> None:
        if self.over.is_set():
            raise TunnelClosed
        await self._or_over(self.outbox.put(body))

    async def receive(self) -> bytes:
        if not self.inbox.empty():
            return self.inbox.get_nowait()
        return await self._or_over(self.inbox.get())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                body = await self.receive()
            except TunnelClosed:
                return
            yield body

    async def close(self) -> None:
        self.over.set()


class MemoryInboundTunnel:
    """See ports.InboundTunnel."""

    def __init__(self, room: int) -> None:
        forth: asyncio.Queue[bytes] = asyncio.Queue(room)
        back: asyncio.Queue[bytes] = asyncio.Queue(room)
        over = asyncio.Event()
        self.ours = MemoryTunnel(forth, back, over)
        self.theirs = MemoryTunnel(back, forth, over)
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def accept(self) -> MemoryTunnel:
        self.accepted.set_result(None)
        return self.ours


class MemoryHandle:
    """See ports.Handle."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    async def close(self) -> None:
        self.end()
        self.end = lambda: None


class MemoryAddresses:
    """See ports.AddressTransport. Deadlines of requests run on `clock`."""

    max_body = MAX_BODY
    on_back: Callable[[], None] | None = None

    def __init__(self, relay: MemoryRelay, clock: Clock, *, tunnel_room: int = 4) -> None:
        self.relay = relay
        self.clock = clock
        self.tunnel_room = tunnel_room
        self.members: list[MemoryMember] = []
        #: The last will, as (cluster, body).
        self.will: tuple[str, bytes] | None = None

    async def start(self) -> None:
        self.relay.check()

    async def join(self, cluster: str, handler: MemberHandler) -> MemoryMember:
        member = MemoryMember(self.relay, cluster, handler)
        self.relay.members.setdefault(cluster, []).append(member)
        self.members.append(member)
        handler.on_joined()
        return member

    def request(
        self,
        cluster: str,
        body: bytes,
        timeout: float,
        on_done: Callable[[asyncio.Future[bytes]], None] | None = None,
    ) -> asyncio.Future[bytes]:
        self.relay.requests += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        answer.add_done_callback(lambda f: f.cancelled() or f.exception())
        if self.relay.cut:
            answer.set_exception(ConnectionLost("relay in memory", "not sent", "cut"))
            return answer
        if on_done is not None:
            answer.add_done_callback(on_done)
        timer = self.clock.call_later(timeout, self._expire, cluster, timeout, answer)
        answer.add_done_callback(lambda _: timer.cancel())
        member = self.relay.member_for(cluster)
        if member is not None:
            loop.call_soon(member.handler.on_request, MemoryRequest(body, timeout, answer))
        return answer

    def _expire(self, cluster: str, timeout: float, answer: asyncio.Future[bytes]) -> None:
        if not answer.done():
            answer.set_exception(AskTimeout(cluster, "request", timeout, "no reply"))

    def broadcast(self, cluster: str, body: bytes) -> None:
        self.relay.check()
        for member in self.relay.members.get(cluster, []):
            asyncio.get_running_loop().call_soon(member.handler.on_broadcast, body)

    async def subscribe(self, topic: str, on_event: Callable[[bytes], None]) -> MemoryHandle:
        listeners = self.relay.topics.setdefault(topic, [])
        listeners.append(on_event)
        return MemoryHandle(lambda: listeners.remove(on_event))

    def publish(self, topic: str, body: bytes) -> None:
        self.relay.check()
        for listener in self.relay.topics.get(topic, []):
            asyncio.get_running_loop().call_soon(listener, body)

    def leave_will(self, cluster: str, body: bytes) -> None:
        self.will = (cluster, body) if body else None

    #: A relay in memory tells of nobody by itself; a test that wants it so calls `lose`.
    holds_will = False

    def lose(self) -> None:
        """The process is killed: its relay notices, and does what it has left."""
        for member in self.members:
            members = self.relay.members.get(member.cluster, [])
            if member in members:
                members.remove(member)
        if self.will is not None:
            self.broadcast(*self.will)

    async def tunnel(self, cluster: str, timeout: float) -> MemoryTunnel:
        self.relay.check()
        member = self.relay.member_for(cluster)
        if member is None:
            raise TunnelTimeout(cluster, timeout)
        inbound = MemoryInboundTunnel(self.tunnel_room)
        asyncio.get_running_loop().call_soon(member.handler.on_tunnel, inbound)
        await inbound.accepted
        return inbound.theirs

    async def close(self, drain: float) -> None:
        for member in self.members:
            await member.leave(drain)

    def health(self) -> TransportHealth:
        return TransportHealth(not self.relay.cut, "cut" if self.relay.cut else "")
