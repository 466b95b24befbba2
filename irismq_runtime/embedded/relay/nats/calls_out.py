"""Requests of this relay's callers to members anywhere. No socket, no loop.

A turn's requests to a cluster go out in about as many messages as each holds
requests, so that NATS, which gives every message to one place in the queue group,
spreads a burst over the relays, and a thousand requests are still not a thousand
messages. Answers come back to this relay's own subject and find their call by its id.

Where nothing was done about a request (a member was full or about to leave, or a
relay has none any more) it goes out again, and names the relays that are to leave
it alone: straight to a relay that has answered for this cluster before, and
otherwise to the queue group. While a relay leaves a cluster, new requests go straight
to the others as well, because NATS loses what is under way to a place in the queue
group that is given up. When nobody is left the caller is told "overloaded" if
anyone was full, and otherwise that it timed out, which is also what it is told at
once when NATS says that nobody is subscribed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.nats.connection import NatsMessage
from irismq_runtime.embedded.relay.nats.frames import (
    MAX_AVOID,
    MAX_NAME,
    REQUEST_HEAD,
    REQUEST_OVERHEAD,
    FrameError,
    Status,
    decode_answers_untrusted,
    direct_message,
    requests_message,
)
from irismq_runtime.embedded.relay.nats.outgoing import too_large
from irismq_runtime.ports import OVERLOADED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.embedded.relay.calls import PendingCall
    from irismq_runtime.embedded.relay.nats.context import NatsContext

__all__ = ["CallsOut"]

#: Bytes from which on a message takes no further request.
_FULL: Final = 64 * 1024
#: How often a request goes to the queue group again because nothing was done about it.
_TURNS: Final = 8
#: Clusters whose members are remembered; beyond, those at rest are forgotten.
_MAX_CLUSTERS: Final = 4_096


class _OutgoingRequest:
    """A request that waits for its answer, or to be sent."""

    __slots__ = ("avoid", "body", "call", "late", "requests", "to", "turns")

    def __init__(
        self, call: PendingCall, requests: _ClusterRequests, body: bytes, *, late: bool
    ) -> None:
        self.call = call
        self.requests = requests
        #: None once it is sent and not kept.
        self.body: bytes | None = body
        #: It has waited: less than its whole timeout is left.
        self.late = late
        self.turns = 0
        #: Relays whose member was full.
        self.avoid: list[bytes] = []
        #: The one relay that it goes to; None for any.
        self.to: bytes | None = None


class _ClusterRequests:
    """The requests that go to one cluster (`outgoing.MessageSource`)."""

    __slots__ = ("_out", "items", "known", "name", "straight_until", "subject")

    def __init__(self, out: CallsOut, cluster: str, subject: str) -> None:
        self._out = out
        self.name = cluster.encode("utf-8", "surrogateescape")
        self.subject = subject
        self.items: list[_OutgoingRequest] = []
        #: Relays that have answered for this cluster, the one that was asked last at the end.
        self.known: dict[bytes, None] = {}
        #: Until then requests go straight to relays that have answered: one is leaving.
        self.straight_until = float("-inf")

    def answered_by(self, relay_id: bytes) -> None:
        """Remember a relay that has a member."""
        if relay_id not in self.known and len(self.name) <= MAX_NAME:
            if len(self.known) >= MAX_AVOID:
                del self.known[next(iter(self.known))]
            self.known[relay_id] = None

    def another_than(self, avoid: list[bytes]) -> bytes | None:
        """A relay that has a member, not of these; each in turn. None when none is known."""
        for relay_id in self.known:
            if relay_id not in avoid:
                del self.known[relay_id]
                self.known[relay_id] = None
                return relay_id
        return None

    def take(self) -> Iterator[NatsMessage]:
        """The messages of this turn."""
        items, self.items = self.items, []
        fresh: list[_OutgoingRequest] = []
        again: list[_OutgoingRequest] = []
        for item in items:
            if not item.call.done:
                (again if item.turns or item.to else fresh).append(item)
        most = math.isqrt(len(fresh) - 1) + 1 if len(fresh) > 3 else 1
        begin, room = 0, self._out.room
        size = 0
        for index, item in enumerate(fresh):
            length = REQUEST_HEAD + len(item.body or b"")
            if index > begin and (index - begin >= most or size + length > room):
                yield self._some(fresh[begin:index])
                begin, size = index, 0
            size += length
        if begin < len(fresh):
            yield self._some(fresh[begin:])
        for item in again:
            yield self._out.message(self, [item])

    def _some(self, items: list[_OutgoingRequest]) -> NatsMessage:
        """A message of requests that go out for the first time."""
        if self.straight_until > self._out.now():
            to = self.another_than([])
            for item in items:
                item.to = to
        return self._out.message(self, items)

    def trim(self) -> int:
        """Forget the requests whose time is up."""
        self.items = [item for item in self.items if not item.call.done]
        return sum(REQUEST_OVERHEAD + len(item.body or b"") for item in self.items)


class CallsOut:
    """What the callers of this relay have asked of the network. Loop thread only."""

    def __init__(self, context: NatsContext) -> None:
        self._subjects = context.subjects
        self._outgoing = context.outgoing
        self.now = context.now
        self._largest = context.largest
        self._options = context.options
        self._stats = context.stats
        self._clusters: dict[str, _ClusterRequests] = {}
        self._calls: dict[int, _OutgoingRequest] = {}
        self._next = 0
        #: Bytes of requests that can be sent to another member.
        self.kept = 0

    def __len__(self) -> int:
        """Requests sent and not answered."""
        return len(self._calls)

    @property
    def room(self) -> int:
        """Bytes of the requests of one message at most, unless one alone has more."""
        return min(_FULL, self._largest() - REQUEST_OVERHEAD)

    def request(self, cluster: str, call: PendingCall, body: bytes, *, up: bool) -> None:
        """Send a request, or answer it when that cannot be; `up` when it goes out at once."""
        size = len(body) + REQUEST_OVERHEAD
        largest = self._largest()
        if size > largest:
            self._stats.too_large += 1
            call.answer(None, too_large("request", len(body), largest - REQUEST_OVERHEAD))
            return
        if not self._outgoing.has_room(size):
            call.answer(None, OVERLOADED)
            return
        requests = self._clusters.get(cluster)
        if requests is None:
            self._forget_idle()
            requests = _ClusterRequests(self, cluster, self._subjects.requests(cluster))
            self._clusters[cluster] = requests
        requests.items.append(_OutgoingRequest(call, requests, body, late=not up))
        self._outgoing.add(requests, size)

    def message(self, requests: _ClusterRequests, items: list[_OutgoingRequest]) -> NatsMessage:
        """The message of these requests, which are under way from now on."""
        first = self._next
        self._next = first + len(items)
        payload = requests_message(first, items[0].avoid, map(self._item, items))
        for key, item in enumerate(items, first):
            self._calls[key] = item
            item.call.at(self, key)
            body = item.body
            if body is not None and self.kept + len(body) <= self._options.kept_limit:
                self.kept += len(body)
            else:
                item.body = None
        to = items[0].to
        back = self._subjects.batch(first, len(items))
        if to is None:
            return NatsMessage(requests.subject, back, payload)
        return NatsMessage(self._subjects.direct(to), back, direct_message(requests.name, payload))

    def _item(self, item: _OutgoingRequest) -> tuple[int, bytes]:
        timeout_ms = item.call.timeout_ms
        if item.late:
            left = math.ceil((item.call.deadline - self.now()) * 1000.0)
            timeout_ms = min(timeout_ms, max(1, left))
        return timeout_ms, item.body or b""

    def forget_call(self, key: int) -> None:
        """A call is over without its answer (`calls.Callee`)."""
        self._taken(key)

    def _taken(self, key: int) -> _OutgoingRequest | None:
        item = self._calls.pop(key, None)
        if item is not None and item.body is not None:
            self.kept -= len(item.body)
        return item

    def on_answers_untrusted(self, data: bytes) -> None:
        """Another relay's answers have come."""
        relay_id, answers = decode_answers_untrusted(data)
        for key, status, body in answers:
            self.settle(key, status, body, relay_id)

    def settle(self, key: int, status: Status, body: bytes, relay_id: bytes) -> None:
        """One request has its answer from the relay `relay_id`."""
        item = self._taken(key)
        if item is None:
            return
        if status is not Status.NOBODY:
            item.requests.answered_by(relay_id)
        if status is Status.REPLY:
            item.call.answer(body, None)
        elif status is Status.FAULT:
            item.call.answer(None, body.decode("utf-8", "surrogateescape"))
        else:
            self._not_done(item, status, relay_id)

    def _not_done(self, item: _OutgoingRequest, status: Status, relay_id: bytes) -> None:
        if status is Status.NOBODY and relay_id not in item.avoid:
            item.requests.known.pop(relay_id, None)
            item.requests.straight_until = self.now() + 3 * self._options.linger
        elif relay_id not in item.avoid:
            item.avoid.append(relay_id)
        self._ask_another(item)

    def _ask_another(self, item: _OutgoingRequest) -> None:
        """Send it to a relay that may do something about it, or give it up."""
        body, avoid = item.body, item.avoid
        item.to = item.requests.another_than(avoid)
        item.turns += item.to is None
        size = REQUEST_OVERHEAD + len(body or b"")
        if body is None or item.turns > _TURNS or len(avoid) > MAX_AVOID:
            self._nobody(item)
            return
        if not self._outgoing.has_room(size):
            item.call.answer(None, OVERLOADED)
            return
        self._stats.retried += 1
        item.late = True
        item.requests.items.append(item)
        self._outgoing.add(item.requests, size)

    def on_nobody_untrusted(self, subject: str) -> None:
        """NATS says that nobody is subscribed where these requests went."""
        batch = self._subjects.batch_of_untrusted(subject)
        if batch is None:
            raise FrameError(f"nobody took {subject!r}, which names no requests")
        first, count = batch
        if count > _FULL:
            raise FrameError(f"{count} requests went nowhere, more than a message holds")
        for key in range(first, first + count):
            item = self._taken(key)
            if item is None:
                continue
            if item.to is None:
                self._nobody(item)
            else:
                item.requests.known.pop(item.to, None)
                self._ask_another(item)

    def _nobody(self, item: _OutgoingRequest) -> None:
        if item.avoid:
            item.call.answer(None, OVERLOADED)
        else:
            self._stats.nobody += 1
            item.call.orphan()
            item.call.expire()

    def _forget_idle(self) -> None:
        if len(self._clusters) >= _MAX_CLUSTERS:
            self._clusters = {name: it for name, it in self._clusters.items() if it.items}
