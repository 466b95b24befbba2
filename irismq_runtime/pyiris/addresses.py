"""`ports.AddressTransport` over an Iris relay: requests, broadcasts, events, tunnels.

One connection goes out for requests, broadcasts, tunnels and events published;
each joined cluster has its own, for one Iris connection is one member; and
topics are listened to on one more. So slow requests do not starve replies, and
what makes a relay drop one of them does not take the others along.

In a namespace every cluster and topic goes by its name on the wire from here on; what is
the relay's own (how large a body it carries) is asked beside it.

A last will is left on both connections of the transport's own, so that the relay takes
it for lost when it has lost both. It is shown to a relay of ours alone: to one that has
told its limit, on each connection since.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors.chance import default_random
from actors.clock import default_clock
from irismq_runtime.errors import AskTimeout, ConnectionLost
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.ports import RELAY_LIMIT, RETURNED, WELL, TransportHealth
from irismq_runtime.protocols.iris.last_will import TOKEN_BYTES, LastWill, last_will_packet
from irismq_runtime.pyiris.managed_connection import ManagedConnection
from irismq_runtime.pyiris.options import DEFAULT_PORT, Options, check_name
from irismq_runtime.pyiris.requests import failed
from irismq_runtime.pyiris.timeouts import done_within
from irismq_runtime.pyiris.tunnel_memory import TunnelMemory

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors.clock import Clock
    from actors.events import Events
    from irismq_runtime.namespace import Namespace
    from irismq_runtime.ports import MemberHandler
    from irismq_runtime.pyiris.connection import Connection
    from irismq_runtime.pyiris.connector import Dial
    from irismq_runtime.pyiris.topics import Listener
    from irismq_runtime.pyiris.tunnel import Tunnel

__all__ = ["IrisAddresses", "IrisMember"]

#: Seconds that a start waits to be told what the relay carries, and after which it is asked
#: again: one that is ours may be overrun. A real one is silent, however often it is asked.
_LIMIT_SOON: Final = 0.02
_LIMIT_LATE: Final = 2.0
_LIMIT_QUESTIONS: Final = 3
_LONGEST_NUMBER: Final = 18
#: So many members have heartbeats as often as `Options.heartbeat` says; more have them less
#: often, and all at least each so many seconds.
_FEW_MEMBERS: Final = 50
_RAREST_HEARTBEAT: Final = 60.0
#: Those that joined first have them as said all the same: they are what a process has joined
#: to be a part of something at all (a node: its own cluster, and that of all nodes).
_FIRST_MEMBERS: Final = 4
#: Bytes of a last will.
_LONGEST_WILL: Final = 10_000


class IrisMember:
    """One membership of one cluster (`ports.Member`), with a connection of its own."""

    def __init__(self, owner: IrisAddresses, connection: ManagedConnection) -> None:
        self.cluster = connection.cluster
        self._owner = owner
        self._connection = connection

    async def leave(self, drain: float) -> None:
        """Leave: no new requests, answer those at hand, close. Idempotent.

        A request that comes meanwhile is refused with the fault "leaving".
        """
        await self._connection.close(drain)
        self._owner.forget(self)

    def limit_replies(self, size: int) -> None:
        """Refuse replies of more than `size` bytes: the relay would."""
        if self._connection.inbox is not None:
            self._connection.inbox.largest = size

    def health(self) -> TransportHealth:
        """Whether the membership stands now, and if not, why."""
        return self._connection.health()


class _OwnConnection(ManagedConnection):
    """One that is no membership. What it held is given back if its owner is there to take it."""

    def __init__(
        self, *args: Any, on_back: Callable[[], None], on_up: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._on_back = on_back
        self._on_up = on_up

    def leave_will(self, will: LastWill) -> None:
        """Leave a last will with the relay of this connection, if there is one now."""
        self._current.send_if_up(last_will_packet(will))

    def _up(self, connection: Connection) -> None:
        self._on_back()  # first: who is given a request back asks how things stand
        for reply in self.requests.unsent():
            if reply.on_done is not None:
                self.requests.end(reply, ConnectionLost(self._current.peer, "not sent", RETURNED))
        super()._up(connection)
        self._on_up()


def _nothing() -> None:
    """Nobody is to be told."""


class IrisAddresses:
    """An address transport over a relay (`ports.AddressTransport`). Loop thread only.

    Args:
        host: where the relay is.
        port: its TCP port.
        options: limits, timeouts and delays of each of its connections.
        clock: tells the time and sets timers; the loop's by default.
        rng: draws the jitter of reconnects.
        events: hears `iris.connected` and `iris.lost`.
        dial: connects a protocol to the relay, in place of TCP.
        asks_limit: ask the relay at each connect how large a body it carries, and leave
            a last will (`leave_will`) with one that says so.
        namespace: in which all clusters and topics are.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        options: Options | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        events: Events | None = None,
        dial: Dial | None = None,
        asks_limit: bool = False,
        namespace: Namespace | None = None,
    ) -> None:
        self._asks_limit = asks_limit
        # How a name is called on the wire; None: as it is called here.
        self._name_of = namespace.cluster if namespace else None
        self._host = host
        self._port = port
        self._options = options or Options()
        #: Largest body of a request, reply, broadcast or event, in bytes.
        self.max_body = self._options.limits.body
        self._clock = clock or default_clock()
        self._rng = rng or default_random()
        self._events = events
        self._dial = dial
        self._out: _OwnConnection | None = None
        self._topics: _OwnConnection | None = None
        #: Asked so far for the limit, and the question that was answered.
        self._asked = 0
        self._told = 0
        #: Questions that may follow, with the one that waits for its answer; 0: none waits.
        self._questions = 0
        self._will: LastWill | None = None
        #: Names this transport to the relay that has its will, and to nobody else.
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._members: dict[IrisMember, None] = {}
        self._closed = False
        self._reports = Throttle()
        self._tunnel_memory = TunnelMemory.of(self._options.limits)
        #: See `ports.AddressTransport`.
        self.on_back: Callable[[], None] | None = None

    async def start(self) -> None:
        """Connect, and stay connected until `close`.

        Raises:
            NotConnected: nobody answers within `Options.connect_timeout` seconds.
        """
        out, topics = self._own_connection(self._back), self._own_connection(_nothing)
        await out.start()
        try:
            await topics.start()
        except BaseException:
            await out.close(drain=0)
            raise
        self._out, self._topics = out, topics
        if self._asks_limit:
            await done_within(self._ask_limit(out), _LIMIT_SOON, self._clock)

    def _ask_limit(
        self, out: ManagedConnection, questions: int = _LIMIT_QUESTIONS
    ) -> asyncio.Future[bytes]:
        """Ask the relay what it carries. A real one knows no answer, and has no limit."""
        self._asked += 1
        self._questions = questions
        reply = out.request(RELAY_LIMIT, b"?", _LIMIT_LATE)
        reply.add_done_callback(partial(self._limit_told_untrusted, self._asked))
        return reply

    def _limit_told_untrusted(self, question: int, reply: asyncio.Future[bytes]) -> None:
        if question == self._asked and not reply.cancelled():
            self._answered(reply.exception())
        if reply.cancelled() or reply.exception() is not None:
            return
        text = reply.result()
        if text.isdigit() and len(text) <= _LONGEST_NUMBER and int(text) > 0:
            self._told = question
            self._show_will()
            self.max_body = min(self._options.limits.body, int(text))
            for member in self._members:
                member.limit_replies(self.max_body)

    def _answered(self, error: BaseException | None) -> None:
        """The last question is answered, or failed."""
        if isinstance(error, ConnectionLost):
            return  # once it is back, the relay is asked again
        again = self._questions - 1
        self._questions = 0
        if isinstance(error, AskTimeout) and again and self._out is not None:
            self._ask_limit(self._out, again)

    async def join(self, cluster: str, handler: MemberHandler) -> IrisMember:
        """Become a member of a cluster, with a connection of its own.

        Args:
            cluster: 1 to 1,024 characters.
            handler: takes what reaches the member, on the loop.

        Returns:
            The membership, once it stands.

        Raises:
            NotConnected: as `start`.
            ConnectionLost: the transport was closed meanwhile.
            ValueError: the name is empty.
        """
        if not cluster:
            raise ValueError("the name of the cluster is empty; without one nobody can join")
        if self._name_of is not None:
            cluster = self._name_of(cluster)
        connection = self._connection(cluster, handler)
        await connection.start()
        if self._closed:
            await connection.close(drain=0)
            raise self._lost("closed meanwhile")
        member = IrisMember(self, connection)
        member.limit_replies(self.max_body)
        self._members[member] = None
        return member

    def request(
        self,
        cluster: str,
        body: bytes,
        timeout: float,
        on_done: Callable[[asyncio.Future[bytes]], None] | None = None,
    ) -> asyncio.Future[bytes]:
        """Send a request to one live member. See `ManagedConnection.request`."""
        if self._out is None:
            return failed(self._lost("not started"))
        if self._name_of is not None:
            cluster = self._name_of(cluster)
        return self._out.request(cluster, body, timeout, on_done)

    def broadcast(self, cluster: str, body: bytes) -> None:
        """Send to every live member. See `ManagedConnection.broadcast`."""
        if self._name_of is not None:
            cluster = self._name_of(cluster)
        self._outbound().broadcast(cluster, body)

    async def subscribe(self, topic: str, on_event: Callable[[bytes], None]) -> Listener:
        """Listen to a topic.

        Args:
            topic: 1 to 1,024 characters.
            on_event: gets the bytes of an event, on the loop; it must return quickly.

        Returns:
            The listener, once events are sure to arrive.

        Raises:
            NotConnected: the relay is away for more than 5 seconds.
            ConnectionLost: not started.
        """
        if self._topics is None:
            raise self._lost("not started")
        if self._name_of is not None:
            topic = self._name_of(topic)
        return await self._topics.listen(topic, on_event)

    def publish(self, topic: str, body: bytes) -> None:
        """Send an event to who listens now. See `ManagedConnection.publish`."""
        if self._name_of is not None:
            topic = self._name_of(topic)
        self._outbound().publish(topic, body)

    def leave_will(self, cluster: str, body: bytes) -> None:
        """Have a relay of ours broadcast `body` if this process is lost without a word.

        In place of the will before; an empty body takes it back. Left again after each
        reconnect. A relay that is not known to be one of ours is not shown it.

        Args:
            cluster: 1 to 1,024 characters.
            body: 10,000 bytes at most.

        Raises:
            ValueError: either is longer.
        """
        if self._name_of is not None:
            cluster = self._name_of(cluster)
        check_name(cluster)
        if len(body) > _LONGEST_WILL:
            raise ValueError(f"a last will of {len(body):,} bytes; give at most {_LONGEST_WILL:,}")
        self._will = LastWill(self._token, cluster, body)
        self._show_will()

    @property
    def holds_will(self) -> bool:
        """Whether the relay is one of ours, and so has what `leave_will` left.

        Also while it is away, or back and not yet heard of: it most likely is what it was.
        """
        return self._told > 0 and (self._told == self._asked or self._questions > 0)

    def _show_will(self) -> None:
        """Leave the will with the relay, once it is known that it takes one."""
        if self._will is None or not self._told == self._asked > 0:
            return
        for connection in (self._out, self._topics):
            if connection is not None:
                connection.leave_will(self._will)

    async def tunnel(self, cluster: str, timeout: float) -> Tunnel:
        """Open a tunnel to one live member. See `ManagedConnection.tunnel`."""
        if self._name_of is not None:
            cluster = self._name_of(cluster)
        return await self._outbound().tunnel(cluster, timeout)

    async def close(self, drain: float) -> None:
        """Leave every cluster, flush, close. Idempotent.

        Members first, for while they answer what they hold they may still ask
        others; each step takes up to `drain` seconds.
        """
        self._closed = True
        await asyncio.gather(*(member.leave(drain) for member in tuple(self._members)))
        rest = [each for each in (self._topics, self._out) if each is not None]
        await asyncio.gather(*(each.close(drain) for each in rest))

    def forget(self, member: IrisMember) -> None:
        """Take a member that has left out of those that `close` ends."""
        self._members.pop(member, None)

    def health(self) -> TransportHealth:
        """Whether the relay is reached, and if not, why."""
        if self._out is None or self._topics is None:
            return TransportHealth(ok=False, reason="not started")
        unwell = (c.health() for c in (self._out, self._topics) if not c.health().ok)
        return next(unwell, self._room())

    def _room(self) -> TransportHealth:
        """Whether there is room for another request."""
        waiting = None if self._out is None else self._out.requests.quota
        if waiting is None or not waiting.full:
            return WELL
        reason = f"{waiting.count:,} requests wait for their answers: more are refused"
        return TransportHealth(ok=False, reason=reason)

    def _outbound(self) -> ManagedConnection:
        if self._out is None:
            raise self._lost("not started")
        return self._out

    def _lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(f"iris relay {self._host}:{self._port}", "not sent", reason)

    def _connection(
        self, cluster: str = "", handler: MemberHandler | None = None
    ) -> ManagedConnection:
        return ManagedConnection(
            self._host,
            self._port,
            cluster=cluster,
            handler=handler,
            heartbeat=partial(self._members_heartbeat, len(self._members)),
            **self._common(),
        )

    def _members_heartbeat(self, before: int) -> float:
        """Many members beat less often: one connection tells as well how the relay is.

        `before`: how many there were when the member joined.
        """
        usual = self._options.heartbeat
        if before < _FIRST_MEMBERS:
            return usual
        return max(usual, min(usual * len(self._members) / _FEW_MEMBERS, _RAREST_HEARTBEAT))

    def _own_connection(self, on_back: Callable[[], None]) -> _OwnConnection:
        return _OwnConnection(
            self._host, self._port, on_back=on_back, on_up=self._up_again, **self._common()
        )

    def _back(self) -> None:
        if self.on_back is not None:
            self.on_back()

    def _up_again(self) -> None:
        if self._asks_limit and self._out is not None:
            self._ask_limit(self._out)  # it may be another relay, or NATS server

    def _common(self) -> dict[str, Any]:
        return {
            "options": self._options,
            "clock": self._clock,
            "rng": self._rng,
            "events": self._events,
            "dial": self._dial,
            "reports": self._reports,
            "tunnel_memory": self._tunnel_memory,
        }
