"""Requests under way between relays, on both sides of the way. No socket, no loop.

`CallsOut` is the side of the callers. A turn's requests to a cluster go out in
about as many messages as each holds requests, so that NATS, which gives every
message to one member of the queue group, spreads a burst over the relays, and a
thousand requests are still not a thousand messages. Answers come back to this
relay's own subject and find their call by its id.

A relay answers "nothing was done" when it has no member any more, or when the
member said "overloaded" or "leaving"; the request then goes out again, and names
the relays that are to leave it alone. When nobody is left, the caller is told
"overloaded" if anyone was, and otherwise that it timed out, which is also what it
is told when NATS says that nobody is subscribed at all.

`CallsIn` is the side of the members: it picks one, and brings its answer back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.calls import Call
from irismq_runtime.embedded.relay.nats.frames import (
    ANSWER_OVERHEAD,
    MAX_AVOID,
    REQUEST_OVERHEAD,
    FrameError,
    Status,
    answer_item,
    decode_answers_untrusted,
    decode_requests_untrusted,
    requests_message,
)
from irismq_runtime.embedded.relay.nats.line import Message
from irismq_runtime.embedded.relay.nats.outgoing import Answers
from irismq_runtime.ports import LEAVING, OVERLOADED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.embedded.relay.calls import Timeouts
    from irismq_runtime.embedded.relay.nats.shared import Shared

__all__ = ["CallsIn", "CallsOut"]

#: Bytes from which on a message takes no further request.
_FULL: Final = 64 * 1024
#: How often a request goes out again because nothing was done about it.
_TURNS: Final = 16
#: Relays to which answers are kept apart; beyond, the oldest are made anew.
_MAX_ORIGINS: Final = 4_096


class _Request:
    """A request that waits for its answer, or to be sent."""

    __slots__ = ("avoid", "body", "call", "late", "requests", "turns")

    def __init__(self, call: Call, requests: _Requests, body: bytes, *, late: bool) -> None:
        self.call = call
        self.requests = requests
        #: None once it is sent and not kept.
        self.body: bytes | None = body
        #: It has waited: less than its whole timeout is left.
        self.late = late
        self.turns = 0
        self.avoid: list[bytes] = []


class _Requests:
    """The requests that go to one cluster (`outgoing.Source`)."""

    __slots__ = ("_out", "items", "subject")

    def __init__(self, out: CallsOut, subject: str) -> None:
        self._out = out
        self.subject = subject
        self.items: list[_Request] = []

    def take(self) -> Iterator[Message]:
        """The messages of this turn."""
        items, self.items = self.items, []
        again = [item for item in items if item.avoid and not item.call.done]
        fresh = [item for item in items if not item.avoid and not item.call.done]
        most = math.isqrt(max(0, len(fresh) - 1)) + 1 if len(fresh) > 3 else 1
        begin = size = 0
        for index, item in enumerate(fresh):
            length = len(item.body or b"")
            if index > begin and (index - begin >= most or size + length > _FULL):
                yield self._out.message(self, fresh[begin:index])
                begin, size = index, 0
            size += length
        if begin < len(fresh):
            yield self._out.message(self, fresh[begin:])
        for item in again:
            yield self._out.message(self, [item])


class CallsOut:
    """What the callers of this relay have asked of the network. Loop thread only."""

    def __init__(self, shared: Shared) -> None:
        self._subjects = shared.subjects
        self._outgoing = shared.outgoing
        self._now = shared.now
        self._largest = shared.largest
        self._options = shared.options
        self._stats = shared.stats
        self._clusters: dict[str, _Requests] = {}
        self._calls: dict[int, _Request] = {}
        self._next = 0
        self._kept = 0

    def __len__(self) -> int:
        """Requests sent and not answered."""
        return len(self._calls)

    def request(self, cluster: str, call: Call, body: bytes, *, up: bool) -> None:
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
            requests = _Requests(self, self._subjects.requests(cluster))
            self._clusters[cluster] = requests
        requests.items.append(_Request(call, requests, body, late=not up))
        self._outgoing.add(requests, size)

    def message(self, requests: _Requests, items: list[_Request]) -> Message:
        """The message of these requests, which are under way from now on."""
        first = self._next
        self._next = first + len(items)
        payload = requests_message(first, items[0].avoid, map(self._item, items))
        for key, item in enumerate(items, first):
            self._calls[key] = item
            item.call.at(self, key)
            body = item.body
            if body is not None and self._kept + len(body) <= self._options.kept_limit:
                self._kept += len(body)
            else:
                item.body = None
        return Message(requests.subject, self._subjects.batch(first, len(items)), payload)

    def _item(self, item: _Request) -> tuple[int, bytes]:
        timeout_ms = item.call.timeout_ms
        if item.late:
            left = math.ceil(item.call.tick - self._now() * 1000.0)
            timeout_ms = min(timeout_ms, max(1, left))
        return timeout_ms, item.body or b""

    def forget_call(self, key: int) -> None:
        """A call is over without its answer (`calls.Place`)."""
        self._taken(key)

    def _taken(self, key: int) -> _Request | None:
        item = self._calls.pop(key, None)
        if item is not None and item.body is not None:
            self._kept -= len(item.body)
        return item

    def on_answers_untrusted(self, data: bytes) -> None:
        """Another relay's answers have come."""
        relay_id, answers = decode_answers_untrusted(data)
        for key, status, body in answers:
            if status is Status.REPLY:
                item = self._taken(key)
                if item is not None:
                    item.call.answer(body, None)
            else:
                self.settle(key, status, body, relay_id)

    def settle(self, key: int, status: Status, body: bytes, relay_id: bytes) -> None:
        """One call has its answer from the relay `relay_id`."""
        item = self._taken(key)
        if item is None:
            return
        if status is Status.REPLY:
            item.call.answer(body, None)
        elif status is Status.FAULT:
            item.call.answer(None, body.decode("utf-8", "surrogateescape"))
        else:
            if status is Status.REFUSED and relay_id not in item.avoid:
                item.avoid.append(relay_id)
            self._ask_another(item)

    def _ask_another(self, item: _Request) -> None:
        item.turns += 1
        body = item.body
        if body is None or item.turns > _TURNS or len(item.avoid) > MAX_AVOID:
            self._nobody(item)
            return
        self._stats.retried += 1
        item.late = True
        item.requests.items.append(item)
        self._outgoing.add(item.requests, len(body) + REQUEST_OVERHEAD)

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
            if item is not None:
                self._nobody(item)

    def _nobody(self, item: _Request) -> None:
        if item.avoid:
            item.call.answer(None, OVERLOADED)
        else:
            self._stats.nobody += 1
            item.call.orphan()
            item.call.expire()

    def _forget_idle(self) -> None:
        if len(self._clusters) >= _MAX_ORIGINS:
            self._clusters = {name: it for name, it in self._clusters.items() if it.items}


class _Origin:
    """The relay where some requests come from; the caller of their calls (`calls.Caller`)."""

    __slots__ = ("_answers", "_calls_in")

    def __init__(self, calls_in: CallsIn, answers: Answers) -> None:
        self._calls_in = calls_in
        self._answers = answers

    def answered(self, call: Call, body: bytes | None, fault: str | None) -> None:
        """A member has answered, or the time is up, of which the other relay knows itself."""
        self._calls_in.in_hand -= 1
        if fault is not None:
            if fault in {OVERLOADED, LEAVING}:
                self.add(call.id, Status.REFUSED, b"")
            else:
                self.add(call.id, Status.FAULT, fault.encode("utf-8", "surrogateescape"))
        elif body is not None:
            self.add(call.id, Status.REPLY, body)

    def add(self, call_id: int, status: Status, data: bytes) -> None:
        """Send an answer; one that is too large becomes a fault that says so."""
        largest = self._calls_in.largest() - ANSWER_OVERHEAD
        if len(data) > largest:
            self._calls_in.stats.too_large += 1
            status, data = Status.FAULT, too_large("reply", len(data), largest).encode()
        self._answers.add(answer_item(call_id, status, data))


class CallsIn:
    """What the network has asked of this relay's members. Loop thread only."""

    def __init__(self, shared: Shared, timeouts: Timeouts) -> None:
        self.stats = shared.stats
        self.largest = shared.largest
        #: Requests that members have and have not answered.
        self.in_hand = 0
        self._shared = shared
        self._relay_id = shared.relay_id
        self._directory = shared.directory
        self._timeouts = timeouts
        self._most = shared.options.max_remote_calls
        self._origins: dict[str, _Origin] = {}

    def on_requests_untrusted(self, cluster: str, reply: str, data: bytes) -> None:
        """Requests of another relay, or of this one, for a member of `cluster`."""
        first, avoid, items = decode_requests_untrusted(data)
        origin = self._origin_untrusted(reply)
        nobody = self._relay_id in avoid
        pick = self._directory.pick
        for key, (timeout_ms, body) in enumerate(items, first):
            member = None if nobody else pick(cluster)
            if member is None:
                origin.add(key, Status.NOBODY, b"")
            elif self.in_hand >= self._most:
                origin.add(key, Status.REFUSED, b"")
            else:
                self.in_hand += 1
                member.take_request(Call(origin, key, timeout_ms, self._timeouts), body)

    def _origin_untrusted(self, reply: str) -> _Origin:
        """Who asks; found again by where the answers go."""
        subject = self._shared.subjects.answers_to_untrusted(reply)
        if subject is None:
            raise FrameError(f"requests want their answers at {reply!r}, which is no relay's")
        origin = self._origins.get(subject)
        if origin is None:
            if len(self._origins) >= _MAX_ORIGINS:
                del self._origins[next(iter(self._origins))]
            answers = Answers(f"{subject}.r", self._shared)
            origin = self._origins[subject] = _Origin(self, answers)
        return origin


def too_large(what: str, size: int, limit: int) -> str:
    """The text of a refusal, with both sizes."""
    return f"the {what} of {size} bytes is larger than the {limit} bytes that NATS carries"
