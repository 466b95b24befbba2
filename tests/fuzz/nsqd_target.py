"""Anything fed to the embedded nsqd without its sockets: what must hold is checked.

Two parts. The decoders: cut or whole, a stream means the same, and only the
protocol's one error comes out. The broker: several sessions over one broker, a
clock that is moved and a store whose commits come late or fail. After each
step the store holds exactly what memory holds, no message is in two places,
nothing waits while somebody has room, and what was written reads as frames.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from actors.testing import ManualClock
from irismq_runtime.embedded.nsqd.broker import Broker
from irismq_runtime.embedded.nsqd.codings import CodingError, DeflateCoding
from irismq_runtime.embedded.nsqd.context import ServerContext
from irismq_runtime.embedded.nsqd.journal import JournalRecord, MemoryJournal
from irismq_runtime.embedded.nsqd.options import NsqdOptions
from irismq_runtime.embedded.nsqd.reply_queue import ReplyQueue
from irismq_runtime.embedded.nsqd.session import ClientSession
from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import CommandDecoder, FrameDecoder, NsqProtocolError
from tests.fuzz.script import Script, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irismq_runtime.embedded.nsqd.channel import Channel
    from irismq_runtime.embedded.nsqd.messages import BrokerMessage
    from irismq_runtime.embedded.nsqd.subscriber import Subscriber

OPTIONS: Final = NsqdOptions(
    msg_timeout=10.0,
    max_msg_timeout=25.0,
    max_msg_size=64,
    max_body_size=256,
    max_rdy_count=20,
    mem_queue_size=3,
    max_channel_consumers=2,
    max_req_timeout=60.0,
)
ID: Final = b"0123456789abcdef"
#: Whole commands and broken ones; a script names them by number.
PIECES: Final = (
    nsq.identify({"feature_negotiation": True}),
    nsq.identify({"heartbeat_interval": -1}),
    nsq.identify({"feature_negotiation": True, "sample_rate": 50, "msg_timeout": 2000}),
    b"IDENTIFY\n\x00\x00\x00\x02[]",
    nsq.sub("t", "c"),
    nsq.sub("t", "d"),
    nsq.sub("t", "e#ephemeral"),
    nsq.sub("v#ephemeral", "e#ephemeral"),
    nsq.rdy(5),
    nsq.rdy(1),
    nsq.rdy(0),
    nsq.rdy(21),
    nsq.pub("t", b"x"),
    nsq.pub("u", b"y"),
    nsq.pub("v#ephemeral", b"z"),
    nsq.mpub("t", [b"1", b"2", b"3", b"4", b"5"]),
    nsq.mpub("t", [b"x" * 60] * 3),
    nsq.dpub("t", 5000, b"x"),
    nsq.dpub("u", 1, b"x"),
    nsq.cls(),
    nsq.nop(),
    nsq.fin(ID),
    nsq.req(ID, 5),
    nsq.touch(ID),
    nsq.auth("secret"),
    b"PUB t\n\xff\xff\xff\xff",
    b"PUB t\n\x00\x00\x00\x00",
    b"MPUB t\n\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x09",
    b"\n",
    b"NOP \r\n",
    nsq.MAGIC,
    b"x" * 100,
)


# -- decoders ----------------------------------------------------------------------------

Heard = tuple[list[Any], str | None]


def hear(decoder: Any, pieces: Sequence[bytes], *, resume: bool = False) -> Heard:
    """The records of a stream given in pieces, and the code of its fault."""
    got: list[Any] = []
    try:
        for piece in pieces:
            got.extend(decoder.feed(piece))
            while resume and (more := decoder.resume()):
                got.extend(more)
    except NsqProtocolError as fault:
        return got + list(fault.records), fault.code
    return got, None


def decoders(script: Script) -> None:
    """Commands and frames mean the same whole, cut and byte by byte."""
    which = script.below(3)
    data = script.rest()
    pieces = cut(data, Script(data), 4)
    if which == 0:
        whole = hear(CommandDecoder(OPTIONS.limits), [data], resume=True)
        assert hear(CommandDecoder(OPTIONS.limits), pieces, resume=True) == whole
        assert hear(CommandDecoder(OPTIONS.limits), byte_by_byte(data), resume=True) == whole
    elif which == 1:
        whole = hear(FrameDecoder(100), [data])
        assert hear(FrameDecoder(100), pieces) == whole
        assert hear(FrameDecoder(100), byte_by_byte(data)) == whole
    else:
        inflated = inflate([data])
        assert inflate(pieces) == inflated


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def inflate(pieces: Sequence[bytes]) -> bytes | None:
    """What deflated pieces hold; None: they are no deflate."""
    coding, plain = DeflateCoding(6), b""
    try:
        for piece in pieces:
            for part in coding.decode_untrusted(piece):
                plain += part
    except CodingError:
        return None
    return plain


# -- the broker --------------------------------------------------------------------------


class LateJournal(MemoryJournal):
    """A store whose commits come when the script says so; it knows the rows it holds."""

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self.rows: dict[int, int] = {}
        self._waiting: list[tuple[Sequence[JournalRecord], Callable[[Exception | None], None]]] = []

    def append(
        self, records: Sequence[JournalRecord], done: Callable[[Exception | None], None]
    ) -> None:
        self._waiting.append((list(records), done))

    def commit(self, *, error: Exception | None = None) -> None:
        waiting, self._waiting = self._waiting, []
        for records, done in waiting:
            if error is None:
                self.rows.update((record.row, record.place) for record in records)
            done(error)

    def copy(self, records: Sequence[JournalRecord]) -> None:
        self.rows.update((record.row, record.place) for record in records)

    def forget(self, row: int) -> None:
        if row:
            del self.rows[row]

    def update(self, row: int, attempts: int, due: int) -> None:
        assert row in self.rows
        assert attempts >= 0 <= due

    def move(self, rows: Sequence[int], place: int) -> None:
        for row in rows:
            if row:
                assert row in self.rows
                self.rows[row] = place

    def remove(self, place: int) -> None:
        self.rows = {row: held for row, held in self.rows.items() if held != place}


class Client:
    """One connection without its socket."""

    congested = False

    def __init__(self, context: ServerContext, number: int) -> None:
        self.said = bytearray()
        self.refused = self.closed = False
        self._replies = ReplyQueue(self.said.extend, lambda _call: None)
        self.session = ClientSession(context, number, self, self._replies)

    def refuse(self) -> None:
        self.refused = True

    def close(self) -> None:
        self.closed = True

    def identified(self, grant: Any) -> None:
        self.session.resume()

    def encryption(self) -> tuple[bool, str]:
        return False, ""

    def settled(self) -> None:
        pass

    def feed(self, data: bytes) -> None:
        if not self.session.refused:
            self.session.feed(data)

    def check(self) -> None:
        """What the client was sent are frames, and one fault ends it.

        Each publish that could not be made safe has an answer of its own.
        """
        self._replies.flush()
        decoder = FrameDecoder()
        frames = decoder.feed(bytes(self.said))
        fatal = [f for f in frames if isinstance(f, nsq.ErrorFrame) and f.fatal]
        assert self.refused or not fatal
        assert sum(not fault.code.endswith("PUB_FAILED") for fault in fatal) <= 1
        assert decoder.take_rest() == b""


class NsqdUnderTest:
    """A broker with three clients at a time."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.clock = ManualClock()
        self.journal = LateJournal(durable=bool(script.below(2)))
        self.broker = Broker(
            clock=self.clock, rng=random.Random(1), journal=self.journal, options=OPTIONS
        )
        # No step asks an authorization server, which alone would need a loop.
        loop: Any = None
        self.context = ServerContext(self.broker, OPTIONS, self.clock, loop, 0.0, "127.0.0.1", 0)
        self.number = 0
        self.clients = [self._come() for _ in range(3)]
        self.at = 0
        if script.below(4):
            self.clients[0].feed(nsq.sub("t", "c") + nsq.rdy(5))
            self.clients[1].feed(nsq.sub("t", "d") + nsq.rdy(1))
            self.clients[2].feed(nsq.mpub("t", [b"1", b"2", b"3"]))

    def _come(self) -> Client:
        self.number += 1
        client = Client(self.context, self.number)
        if self.number % 5:
            client.feed(nsq.MAGIC)
        return client

    def step(self) -> None:
        kind = self.script.below(len(STEPS))
        STEPS[kind](self)
        for at, client in enumerate(self.clients):
            if client.refused or client.closed or client.session.refused:
                self._leave(at)
        self.check()

    def _leave(self, at: int) -> None:
        client = self.clients[at]
        client.session.end()
        client.check()
        self.clients[at] = self._come()

    # -- steps

    def say_piece(self) -> None:
        self.clients[self.at].feed(PIECES[self.script.below(len(PIECES))])

    def say_cut(self) -> None:
        piece = PIECES[self.script.below(len(PIECES))]
        place = self.script.below(len(piece) + 1)
        self.clients[self.at].feed(piece[:place])
        self.clients[self.at].feed(piece[place:])

    def say_raw(self) -> None:
        self.clients[self.at].feed(self.script.raw(60))

    def say_body(self) -> None:
        """A command whose body is raw: IDENTIFY and the publishes."""
        head = (b"IDENTIFY\n", b"PUB t\n", b"MPUB t\n", b"DPUB t 5\n")[self.script.below(4)]
        body = self.script.raw(80)
        self.clients[self.at].feed(head + len(body).to_bytes(4, "big") + body)

    def turn_to(self) -> None:
        self.at = self.script.below(len(self.clients))

    def settle(self) -> None:
        client = self.clients[self.at]
        subscriber = client.session.subscriber
        verb, pick = self.script.byte(), self.script.byte()
        if subscriber is None or not subscriber.in_flight:
            return
        held = list(subscriber.in_flight)
        message_id = held[pick % len(held)]
        commands = (
            nsq.fin(message_id),
            nsq.req(message_id, 0),
            nsq.req(message_id, 3000),
            nsq.touch(message_id),
        )
        client.feed(commands[verb % len(commands)])

    def wait(self) -> None:
        self.clock.advance((0.001, 0.5, 3.0, 11.0, 30.0, 4000.0)[self.script.below(6)])

    def lose(self) -> None:
        self._leave(self.at)

    def block(self) -> None:
        client = self.clients[self.at]
        client.congested = not client.congested
        session = client.session
        if session.subscriber is not None and session.channel is not None:
            session.subscriber.blocked = client.congested
            session.channel.pump_one(session.subscriber)

    def commit(self) -> None:
        self.journal.commit()

    def fail(self) -> None:
        self.journal.commit(error=OSError("disk full"))

    def administer(self) -> None:
        broker, deed, pick = self.broker, self.script.below(9), self.script.byte()
        topic = broker.topics.get(("t", "u", "v#ephemeral")[pick % 3])
        if topic is None:
            return
        channel = topic.channels.get(("c", "d", "e#ephemeral")[pick // 3 % 3])
        if deed == 0:
            broker.delete_topic(topic.name)
        elif deed == 1:
            topic.empty()
        elif deed in {2, 3}:
            broker.pause_topic(topic, paused=deed == 2)
        elif channel is None:
            broker.channel(topic.name, ("c", "d", "e#ephemeral")[pick // 3 % 3])
        elif deed == 4:
            broker.delete_channel(topic, channel.name)
        elif deed == 5:
            channel.empty()
        else:
            broker.pause_channel(topic, channel, paused=deed == 6)

    # -- what must hold

    def check(self) -> None:
        rows: Counter[int] = Counter()
        for topic in self.broker.topics.values():
            rows.update(message.row for message in topic.backlog)
            assert topic.holding or not topic.backlog
            for channel in topic.channels.values():
                rows.update(message.row for message in held_by(channel))
                check_channel(channel)
        del rows[0]
        if self.journal.durable:
            assert rows == Counter(self.journal.rows.keys())

    def end(self) -> None:
        for at in range(len(self.clients)):
            self._leave(at)
        self.journal.commit()
        self.check()
        self.broker.close()


def holders(channel: Channel) -> list[Subscriber]:
    return [*channel.subscribers.values(), *channel._departed.values()]


def held_by(channel: Channel) -> Iterator[BrokerMessage]:
    yield from channel.queue
    yield from (message for _, _, message in channel._deferred)
    for subscriber in holders(channel):
        yield from subscriber.in_flight.values()


def check_channel(channel: Channel) -> None:
    ids = Counter(message.id for message in held_by(channel))
    assert all(count == 1 for count in ids.values())
    assert not channel.ephemeral or len(channel.queue) <= OPTIONS.mem_queue_size
    assert len(channel.subscribers) <= OPTIONS.max_channel_consumers
    if channel.queue and not channel.paused:
        assert all(subscriber.room <= 0 for subscriber in channel.subscribers.values())
    for subscriber in holders(channel):
        assert (subscriber.timer is not None) or not subscriber.in_flight
        for message in subscriber.in_flight.values():
            assert message.attempts >= 1


STEPS: Final[tuple[Callable[[NsqdUnderTest], None], ...]] = (
    NsqdUnderTest.say_piece,
    NsqdUnderTest.say_piece,
    NsqdUnderTest.say_cut,
    NsqdUnderTest.say_raw,
    NsqdUnderTest.say_body,
    NsqdUnderTest.turn_to,
    NsqdUnderTest.settle,
    NsqdUnderTest.settle,
    NsqdUnderTest.wait,
    NsqdUnderTest.lose,
    NsqdUnderTest.block,
    NsqdUnderTest.commit,
    NsqdUnderTest.commit,
    NsqdUnderTest.fail,
    NsqdUnderTest.administer,
)


def target(data: bytes) -> None:
    """One input: raises when something does not hold."""
    script = Script(data)
    if script.below(4) == 0:
        decoders(script)
        return
    world = NsqdUnderTest(script)
    while not script.over:
        world.step()
    world.end()
