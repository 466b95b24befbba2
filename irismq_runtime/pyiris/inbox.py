"""What reaches a member: requests that wait for one answer each, and broadcasts.

A request holds its place in the limits from its arrival until it is answered or
its caller has given up; over the limits it is answered at once with the fault
"overloaded", and while the member leaves, with "leaving": either way the caller
learns that nothing was done. Answers are given once, in time, and on the connection
the request came by; anything else is counted, not sent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from actors.texts import exc_info_of, line_of, sendable
from irismq_runtime.deadline_table import ExpiryTimer
from irismq_runtime.errors import MessageTooLarge
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.ports import LEAVING, OVERLOADED
from irismq_runtime.protocols.iris.encoders import WRITERS
from irismq_runtime.protocols.iris.packets import ClientReply
from irismq_runtime.pyiris.backlog import Waiting
from irismq_runtime.pyiris.limits import Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import Clock
    from irismq_runtime.ports import MemberHandler
    from irismq_runtime.protocols.iris.packets import RelayBroadcast, RelayRequest
    from irismq_runtime.pyiris.connection import Connection
    from irismq_runtime.pyiris.current_connection import CurrentConnection
    from irismq_runtime.pyiris.limits import Limits

__all__ = ["Inbox", "ReceivedRequest"]

logger = logging.getLogger(__name__)

#: On every answer: values are written, a record is not made.
_encode_reply: Final = WRITERS[ClientReply]

#: Seconds that a request keeps its place at most, whatever its caller says.
_LONGEST: Final = 86_400.0

#: Characters of a fault that are carried; a relay may refuse more of them.
_LONGEST_FAULT: Final = 64 * 1024


class ReceivedRequest:
    """A request in hand (`ports.InboundRequest`). Loop thread only."""

    __slots__ = (
        "_bucket",
        "_connection",
        "_id",
        "_inbox",
        "_key",
        "alone",
        "body",
        "deadline",
        "timeout",
    )

    def __init__(
        self, inbox: Inbox, connection: Connection, key: int, packet: RelayRequest
    ) -> None:
        self._id = packet.id
        self.body = packet.body
        #: Seconds left until the caller gives up, at the time of arrival.
        self.timeout: float = min(packet.timeout_ms / 1000, _LONGEST)
        #: The same moment on the connection's clock.
        self.deadline: float = inbox.clock.monotonic() + self.timeout
        #: Nothing else has come with it.
        self.alone = connection.fresh
        self._key = key
        self._connection = connection
        self._inbox: Inbox | None = inbox
        self._bucket: dict[int, None] = inbox.expiry.add(key, self.deadline)

    def reply(self, body: bytes) -> bool:
        """Answer with `body`. False when it was too late or already answered.

        Raises `ValueError` for an empty body, which Iris cannot carry, and
        `MessageTooLarge`; the request then still waits for its answer.
        """
        if not body:
            raise ValueError("Iris cannot carry an empty reply; send at least one byte")
        inbox = self._inbox
        if inbox is None:
            return False
        if len(body) > inbox.largest:
            raise MessageTooLarge(len(body), inbox.largest, limit_of="an Iris message")
        return inbox.answer(self, _encode_reply(self._id, body, None))

    def fail(self, fault: str) -> bool:
        """Answer with a fault text, of which 64 Ki characters are carried. False as in `reply`.

        Raises `ValueError` for an empty text: Iris would take it for no fault.
        """
        if not fault:
            raise ValueError("an empty fault reads as a timeout in Iris; say what is wrong")
        inbox = self._inbox
        text = sendable(fault[:_LONGEST_FAULT])
        return inbox is not None and inbox.answer(self, _encode_reply(self._id, None, text))


class Inbox:
    """The requests and broadcasts of one member. Loop thread only."""

    def __init__(
        self, current: CurrentConnection, limits: Limits, clock: Clock, handler: MemberHandler
    ) -> None:
        self.requests = Quota(limits.requests)
        self.largest = limits.body
        #: True once the member is about to leave: new requests are refused.
        self.leaving = False
        #: Requests that were refused for that.
        self.turned_away = 0
        #: Requests whose caller gave up before they were answered.
        self.expired = 0
        #: Answers that were given too late, or on a connection that is gone.
        self.too_late = 0
        #: Called when the last request in hand is done with.
        self.on_empty: Callable[[], None] | None = None
        self.clock = clock
        #: When the callers give up.
        self.expiry = ExpiryTimer(clock, self._expire)
        self._current = current
        self._handler = handler
        self._in_hand: dict[int, ReceivedRequest] = {}
        self._next_key = 0
        self._throttle = Throttle()

    def __len__(self) -> int:
        """Requests that wait for their answer."""
        return len(self._in_hand)

    def on_request(self, packet: RelayRequest) -> None:
        """Hand a request to the handler, or refuse it at once."""
        connection = self._current.connection or self._current.require()
        if self.leaving:
            self.turned_away += 1
            connection.write(_encode_reply(packet.id, None, LEAVING))
            return
        if not self.requests.take(len(packet.body)):
            connection.write(_encode_reply(packet.id, None, OVERLOADED))
            self._report_overload()
            return
        key = self._next_key
        self._next_key = key + 1
        request = self._in_hand[key] = ReceivedRequest(self, connection, key, packet)
        try:
            self._handler.on_request(request)
        except BaseException as error:  # the user's: it must not end the connection for all others
            seen = exc_info_of(error)
            logger.exception(
                "the handler of requests failed; its caller gets a fault", exc_info=seen
            )
            request.fail(line_of(error))

    def on_broadcast(self, packet: RelayBroadcast) -> None:
        """Hand a broadcast to the handler."""
        try:
            self._handler.on_broadcast(packet.body)
        except BaseException as error:  # as above
            logger.exception("the handler of broadcasts failed", exc_info=exc_info_of(error))

    def answer(self, request: ReceivedRequest, reply: bytes) -> bool:
        """Send the answer to a request in hand, encoded."""
        connection = request._connection  # noqa: SLF001  # one thing in two classes
        in_time = self.clock.monotonic() < request.deadline
        self._release(request)
        if not (in_time and connection.up):
            self.too_late += 1
            return False
        if connection.backed_up:
            self._answer_later(connection, request, reply)
        else:
            connection.write(reply)
        return True

    def _answer_later(self, connection: Connection, request: ReceivedRequest, reply: bytes) -> None:
        # Apart from `answer`, where the cell of a closure would cost every answer.
        connection.enqueue(
            Waiting(len(reply), lambda: reply, request.deadline, drop=self._too_late)
        )

    def _too_late(self) -> None:
        self.too_late += 1

    def disconnected(self) -> None:
        """The connection is gone: nothing in hand can be answered any more."""
        for request in list(self._in_hand.values()):
            self._release(request)

    def stop(self) -> None:
        """Release everything, and cancel the timer: the member has left."""
        self.disconnected()
        self.expiry.stop()

    def _release(self, request: ReceivedRequest) -> None:
        key = request._key  # noqa: SLF001  # one thing in two classes
        if self._in_hand.pop(key, None) is None:
            return
        request._inbox = None  # noqa: SLF001  # as above
        request._bucket.pop(key, None)  # noqa: SLF001  # as above
        self.requests.give(len(request.body))
        if self.on_empty is not None and not self._in_hand:
            self.on_empty()

    def _expire(self, keys: Iterable[int]) -> None:
        for key in keys:
            request = self._in_hand.get(key)
            if request is not None:
                self.expired += 1
                self._release(request)

    def _report_overload(self) -> None:
        count = self._throttle.note(self.clock.monotonic())
        if count:
            logger.warning(
                "%d requests refused as overloaded: %d wait with %d bytes, of %s",
                count,
                self.requests.count,
                self.requests.size,
                self.requests.allowance,
            )
