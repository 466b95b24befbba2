"""Requests that other relays bring to members here. No socket, no loop.

A relay hands each request to one of its members, as it would one of its own
clients', and brings the answer back to the relay where it came from. "Nothing was
done" is an answer as well: where there is no member (any more), where the relay
has as much in hand as it takes, and where the member itself says "overloaded" or
"leaving", so that the asking relay can try another. A caller's timeout is kept
there; what is not answered here in that time is only forgotten.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.calls import PendingCall
from irismq_runtime.embedded.relay.nats.frames import (
    ANSWER_OVERHEAD,
    FrameError,
    Status,
    decode_direct_untrusted,
    decode_requests_untrusted,
)
from irismq_runtime.embedded.relay.nats.outgoing import AnswerQueue, too_large
from irismq_runtime.ports import LEAVING, OVERLOADED

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.embedded.relay.calls import Timeouts
    from irismq_runtime.embedded.relay.nats.calls_out import CallsOut
    from irismq_runtime.embedded.relay.nats.context import NatsContext

__all__ = ["CallsIn"]

#: Relays to which answers are kept apart; beyond, the oldest are made anew.
_MAX_ORIGINS: Final = 4_096
#: Milliseconds that a request of another relay keeps its place at most.
_LONGEST_MS: Final = 86_400_000


class _Origin:
    """The relay where some requests come from; the caller of their calls (`calls.Caller`).

    `send` takes (id, status, data) to it.
    """

    __slots__ = ("_calls_in", "_send")

    def __init__(self, calls_in: CallsIn, send: Callable[[int, Status, bytes], None]) -> None:
        self._calls_in = calls_in
        self._send = send

    def answered(self, call: PendingCall, body: bytes | None, fault: str | None) -> None:
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
        self._send(call_id, status, data)


class CallsIn:
    """What the network has asked of this relay's members. Loop thread only."""

    def __init__(self, context: NatsContext, timeouts: Timeouts, calls_out: CallsOut) -> None:
        self.stats = context.stats
        self.largest = context.largest
        #: Requests that members have and have not answered.
        self.in_hand = 0
        self._context = context
        self._relay_id = context.relay_id
        self._routing = context.routing
        self._timeouts = timeouts
        #: Where this relay's own requests, come back to it, have their answers.
        self._calls_out = calls_out
        self._most = context.options.max_remote_calls
        self._origins: dict[str, _Origin] = {}

    def on_requests_untrusted(self, cluster: str, reply: str, data: bytes) -> None:
        """Requests of another relay, or of this one, for a member of `cluster`."""
        first, avoid, items = decode_requests_untrusted(data)
        origin = self._origin_untrusted(reply)
        nobody = self._relay_id in avoid
        pick = self._routing.pick
        for key, (timeout_ms, body) in enumerate(items, first):
            member = None if nobody else pick(cluster)
            if member is None:
                origin.add(key, Status.NOBODY, b"")
            elif self.in_hand >= self._most:
                origin.add(key, Status.REFUSED, b"")
            else:
                self.in_hand += 1
                call = PendingCall(origin, key, min(timeout_ms, _LONGEST_MS), self._timeouts)
                member.take_request(call, body)

    def on_direct_untrusted(self, reply: str, data: bytes) -> None:
        """Requests that another relay sends to this one alone."""
        cluster, requests = decode_direct_untrusted(data)
        name = cluster.decode("utf-8", "surrogateescape")
        self.on_requests_untrusted(name, reply, requests)

    def _origin_untrusted(self, reply: str) -> _Origin:
        """Who asks; found again by where the answers go."""
        subject = self._context.subjects.answers_to_untrusted(reply)
        if subject is None:
            raise FrameError(f"requests want their answers at {reply!r}, which is not a relay's")
        origin = self._origins.get(subject)
        if origin is None:
            if len(self._origins) >= _MAX_ORIGINS:
                del self._origins[next(iter(self._origins))]
            origin = self._origins[subject] = _Origin(self, self._way_back(subject))
        return origin

    def _way_back(self, subject: str) -> Callable[[int, Status, bytes], None]:
        """Where answers go: to another relay over NATS, to this one straight away."""
        if subject == self._context.subjects.answers:
            return partial(_settle, self._calls_out, self._relay_id)
        return AnswerQueue(f"{subject}.r", self._context).send


def _settle(calls_out: CallsOut, relay_id: bytes, key: int, status: Status, data: bytes) -> None:
    calls_out.settle(key, status, data, relay_id)
