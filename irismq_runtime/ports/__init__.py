"""Two of the three ports of a node: what a transport must do, and nothing of how.

A *mailbox transport* keeps messages (publish, consume, settle); NSQ fills it.
An *address transport* reaches who is alive now (join, request, broadcast,
topics, tunnels); Iris fills it. The suites in tests/contracts hold every
implementation to the words below.

Everything here runs on the node's event loop thread. Bodies are opaque bytes:
no transport looks inside an envelope. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from irismq_runtime.ports.inbound import InboundRequest, InboundTunnel, TunnelPort

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator, Sequence

__all__ = [
    "LEAVING",
    "OVERLOADED",
    "RELAY_LIMIT",
    "RETURNED",
    "WELL",
    "AddressTransport",
    "Confirmation",
    "Consumption",
    "Handle",
    "InboundRequest",
    "InboundTunnel",
    "MailboxTransport",
    "Member",
    "MemberHandler",
    "StoredMessage",
    "TransportHealth",
    "TunnelPort",
]

#: Faults with which a member answers by itself; nothing was done. It has no room:
OVERLOADED: Final = "overloaded"
#: and it is about to leave: another member may be asked at once.
LEAVING: Final = "leaving"
#: A cluster without members, in whose place a relay of ours answers any request with
#: the bytes that a body may have on its way, as a number in ASCII.
RELAY_LIMIT: Final = "irismq.relay.limit"
#: Why a request that was held while the relay was away ends as "not sent" at its return.
RETURNED: Final = "the relay is back"


@dataclass(frozen=True, slots=True)
class TransportHealth:
    """What a transport, a membership or a consumer says of itself.

    `ok`: it does now all that it was asked to do. `reason`: one line for a person when
    it does not. `advisory`: it does less on purpose (the messages of a mailbox fail, and
    it goes slowly), which is not a lack of readiness. The health of a whole node, made
    of these, is `observe.Health`.
    """

    ok: bool
    reason: str = ""
    advisory: bool = False


#: It does all that it was asked to do.
WELL: Final = TransportHealth(ok=True)


class StoredMessage(Protocol):
    """One delivery of a stored message, held under a lease until it is settled.

    Exactly one of `finish`, `requeue` and `bury` takes effect, the first one
    called; a later call does nothing and returns False. Until then the transport
    renews the lease by itself.
    """

    body: bytes
    #: The broker's id of the message: unique at one broker only, for logs.
    id: str
    #: Deliveries so far, this one included (1 on the first), without those of
    #: which the transport knows that no handler began.
    attempts: int
    #: When the broker took the message, seconds since the epoch.
    timestamp: float
    #: True once the broker may have given the message to somebody else.
    lease_lost: bool
    #: Called once, on the loop, when `lease_lost` turns True.
    on_lease_lost: Callable[[], None] | None

    def finish(self) -> bool:
        """Tell the broker that the message is done; True if this settled it."""
        ...

    def requeue(self, delay: float | None = None, *, penalty: bool = True) -> bool:
        """Give the message back, to come again after `delay` seconds.

        `delay=None` takes the transport's growing, jittered delay for this
        attempt. `penalty=False` says that the failure is not the consumer's: the
        transport must not slow the mailbox down for it, nor count what was not claimed.
        """
        ...

    def defer(self, delay: float, body: bytes | None = None) -> bool:
        """Store the message in its own topic again, to come in `delay` seconds.

        For a message that is not due yet: it costs no attempt and may be
        repeated for ever, as its count begins anew. `delay` is cut to the broker's longest.
        `body`: what is stored instead of it. The copy
        reaches every channel of the topic, so this is for mailboxes alone.
        """
        ...

    def bury(self, topic: str, record: bytes, *, channel: str = "") -> bool:
        """Store `record` in the dead-letter `topic`, and only then finish.

        `channel`: as in `MailboxTransport.publish`.
        When the record cannot be stored the message is requeued instead, so
        that nothing is given up without a trace.
        """
        ...


class Consumption(Protocol):
    """One running consumer of (topic, channel)."""

    #: Messages held now: waiting in the actor's inbox or running.
    in_flight: int

    async def established(self) -> None:
        """Wait until every broker that is reached knows this consumer.

        From then on the channel gets what is published there. A broker that does not
        answer is not waited for beyond the transport's time to connect; the
        consumption comes to it by itself, later. Raises nothing.
        """
        ...

    def pause(self) -> None:
        """Ask for no more messages; those in flight keep their leases."""
        ...

    def resume(self) -> None:
        """Ask for messages again, as many as the window leaves room for."""
        ...

    def set_window(self, size: int) -> None:
        """Hold at most `size` messages from now on (0 is a pause)."""
        ...

    def give_back(self) -> int:
        """Requeue at once, without delay or penalty, what has not been claimed.

        A message is claimed from the moment its handler starts; the consumer
        of this port says so by `claim`. Returns how many went back.
        """
        ...

    def claim(self, message: StoredMessage) -> bool:
        """Say that the handler of `message` starts now, once: the delivery counts.

        False: the message was settled, claimed or its lease lost before, and
        the handler must not start.
        """
        ...

    def disclaim(self, message: StoredMessage) -> bool:
        """Take a claim back: what the handler did came to nothing, not through the message.

        It is then as if the handler had not begun: requeued without penalty it costs no
        attempt. False: the message is not claimed, or its lease is lost.
        """
        ...

    async def stop(self, drain: float) -> None:
        """Take no more, give back what waits, and wait for what runs.

        Waits at most `drain` seconds for running messages (their leases are
        kept meanwhile), requeues the rest, flushes, and returns with the
        broker knowing that this consumer is gone. Idempotent.
        """
        ...

    def health(self) -> TransportHealth:
        """Whether messages flow to this consumer now, and if not, why."""
        ...

    def remark(self) -> str:
        """What is wrong and keeps no message from flowing, in a line; empty: nothing."""
        ...


class Confirmation(Protocol):
    """The end of a publish: awaitable, and the reading half of a future.

    Made for each message, so it need not be a whole `asyncio.Future`.
    """

    def done(self) -> bool:
        """Whether it is known what became of the message."""
        ...

    def cancelled(self) -> bool:
        """Whether nobody will know; a broker's confirmation cannot be cancelled."""
        ...

    def exception(self) -> BaseException | None:
        """Why it was not confirmed; None when it was. Only when `done`."""
        ...

    def add_done_callback(self, callback: Callable[[Any], Any], /) -> None:
        """Call `callback(self)` on the loop when done."""
        ...

    def __await__(self) -> Generator[Any, None, None]:
        """Wait; raises what `exception` gives."""
        ...


class MailboxTransport(Protocol):
    """Keeps messages: at least once, no order promised."""

    async def start(self) -> None:
        """Connect. Raises `NotConnected` when nobody answers in time."""
        ...

    def publish(
        self,
        topic: str,
        body: bytes,
        *,
        delay: float = 0.0,
        timeout: float | None = None,
        key: str = "",
        channel: str = "",
    ) -> Confirmation:
        """Store `body` in `topic`; the awaitable is done when it is confirmed.

        Returns at once. `delay` defers the delivery by seconds, up to
        `max_delay`. `key` is an opaque label for events. `channel`: the body is
        meant for the consumers of this channel, also when none was there yet: it is
        made before the body is stored, wherever that is. Empty: for whatever
        channels the topic has. Raises
        `MessageTooLarge` and `Overloaded` at the call, before anything is
        written; the awaitable fails with `DeliveryError` when the broker did
        not confirm within `timeout` seconds (None: the transport's default).
        An awaitable that nobody awaits must not warn.
        """
        ...

    def publish_all(
        self,
        topic: str,
        bodies: Sequence[bytes],
        *,
        timeout: float | None = None,
        keys: Sequence[str] = (),
        channel: str = "",
    ) -> Sequence[Confirmation]:
        """Take all of `bodies`, or raise and take none; a confirmation for each.

        `keys`: a label for each, or none. Otherwise as `publish`; the error names the
        index of the body that it is about.
        """
        ...

    async def consume(
        self,
        topic: str,
        channel: str,
        on_message: Callable[[StoredMessage], None],
        *,
        window: int,
    ) -> Consumption:
        """Start a consumer that holds at most `window` messages at once.

        `on_message` is called on the loop, must return quickly, and must see
        to it that each message is settled. If it raises, the message is
        requeued with penalty and the error is reported.
        """
        ...

    async def close(self, drain: float) -> None:
        """Flush what is published, stop all consumers, close. Idempotent."""
        ...

    @property
    def max_body(self) -> int:
        """Largest body that `publish` takes, in bytes."""
        ...

    @property
    def max_delay(self) -> float:
        """Longest `delay` in seconds that the broker keeps by itself."""
        ...

    @property
    def max_attempts(self) -> int:
        """Deliveries after which a failing message is given up."""
        ...

    def health(self) -> TransportHealth:
        """Whether the brokers are reached, and if not, why."""
        ...


class Handle(Protocol):
    """Something that was begun and can be ended once."""

    async def close(self) -> None:
        """End it. Idempotent."""
        ...


class MemberHandler(Protocol):
    """What a member of a cluster does with what reaches it. All on the loop."""

    def on_request(self, request: InboundRequest) -> None:
        """Take a request; answer it now or later through `request`."""
        ...

    def on_broadcast(self, body: bytes) -> None:
        """Take a broadcast to the cluster."""
        ...

    def on_tunnel(self, tunnel: InboundTunnel) -> None:
        """Take an inbound tunnel; accept it within 3 s (Iris)."""
        ...

    def on_lost(self, reason: str) -> None:
        """The membership was cut; the transport is joining again by itself."""
        ...

    def on_joined(self) -> None:
        """The membership stands (again)."""
        ...


class Member(Protocol):
    """One live membership of one cluster."""

    cluster: str

    async def leave(self, drain: float) -> None:
        """Leave: no new requests, answer those at hand, close. Idempotent."""
        ...

    def health(self) -> TransportHealth:
        """Whether the membership stands now, and if not, why."""
        ...


class AddressTransport(Protocol):
    """Reaches who is alive now. Best effort, deadlines on everything."""

    #: Called when requests can be sent again after the relay was away, before any is.
    on_back: Callable[[], None] | None

    async def start(self) -> None:
        """Connect. Raises `NotConnected` when nobody answers in time."""

    async def join(self, cluster: str, handler: MemberHandler) -> Member:
        """Become a member of `cluster`; returns when the membership stands."""

    def request(
        self,
        cluster: str,
        body: bytes,
        timeout: float,
        on_done: Callable[[asyncio.Future[bytes]], None] | None = None,
    ) -> asyncio.Future[bytes]:
        """Send a request to one live member.

        The future gives the reply, or fails with `AskTimeout`,
        `RemoteFault` (the member's fault text), `ConnectionLost` (its
        `outcome` says whether the request may have run), `Overloaded` or
        `MessageTooLarge`. Cancelling it forgets the request. `on_done` is called
        with it when it is done, no later than a done callback would be, and must
        not raise; not when it was done already as it was returned.
        What was held while the relay was away is sent when it is back; with `on_done`
        it is given back, as `ConnectionLost` ("not sent", `RETURNED`), to its owner,
        who knows better whether somebody is there to be asked.
        """

    def broadcast(self, cluster: str, body: bytes) -> None:
        """Send to every live member. Raises `ConnectionLost` when cut off."""

    async def subscribe(self, topic: str, on_event: Callable[[bytes], None]) -> Handle:
        """Listen to `topic`; returns when events are sure to arrive."""

    def publish(self, topic: str, body: bytes) -> None:
        """Send an event to who listens now. Raises `ConnectionLost`."""

    def leave_will(self, cluster: str, body: bytes) -> None:
        """Have `body` broadcast to `cluster` if this process is lost without a word.

        In place of the will before, until `close`; an empty body takes it back. Of no
        effect where the relay knows no wills (a real Iris node), which it is not shown.
        """

    async def tunnel(self, cluster: str, timeout: float) -> TunnelPort:
        """Open a tunnel to one live member. Raises `TunnelTimeout`."""

    async def close(self, drain: float) -> None:
        """Leave every cluster, flush, close. Idempotent."""

    @property
    def holds_will(self) -> bool:
        """Whether the relay takes last wills, and so tells when this process is lost.

        While the relay is away: whether it did.
        """

    @property
    def max_body(self) -> int:
        """Largest body of a request, reply, broadcast or event, in bytes."""

    def health(self) -> TransportHealth:
        """Whether the relay is reached, and if not, why."""
