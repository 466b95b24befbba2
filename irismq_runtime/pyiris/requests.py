"""Requests that this side has made: who waits, until when, and what became of them.

An id is used once in the life of a connection, over all its connections, so an
answer can only ever be taken for the request it belongs to. A request ends in
exactly one way: answered, refused by a fault, timed out (by the relay's word or
by our own clock, whichever comes first), cut off, or forgotten because its
caller was cancelled. What is said of it afterwards is counted, and named in
the log when it is a real answer.

Bookkeeping only: managed_connection.py puts the packets on the wire.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Final

from actors.errors import AskTimeout, Overloaded
from irismq_runtime.deadline_table import ExpiryTimer
from irismq_runtime.errors import ConnectionLost, RemoteFault
from irismq_runtime.observe.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import Clock
    from irismq_runtime.errors import SendOutcome
    from irismq_runtime.protocols.iris.packets import RelayReply
    from irismq_runtime.pyiris.limits import Quota

__all__ = ["QUEUED", "UNSENT", "OutgoingRequests", "ReplyFuture", "failed"]

logger = logging.getLogger(__name__)

#: `ReplyFuture.turn` of a request that has not been handed to a connection.
UNSENT: Final = sys.maxsize
#: The same of one that waits because the relay reads too slowly.
QUEUED: Final = UNSENT - 1

#: Ended requests that are remembered to name a late answer.
_REMEMBERED: Final = 1024


class ReplyFuture(asyncio.Future[bytes]):
    """The answer to one request, as a future. Cancelling it forgets the request.

    An error that nobody awaits is not warned about.
    """

    # What a request is, kept where it is needed: one object a request, not two.
    __slots__ = (
        "body",
        "bucket",
        "cluster",
        "deadline",
        "id",
        "on_cancel",
        "on_done",
        "timeout",
        "turn",
    )

    id: int
    cluster: str
    body: bytes
    timeout: float
    deadline: float
    turn: int
    bucket: dict[int, None]
    on_cancel: Callable[[ReplyFuture], None] | None
    #: Called with this when it is done, at once: a done callback comes a loop turn later.
    on_done: Callable[[ReplyFuture], None] | None

    def cancel(self, msg: str | None = None) -> bool:
        """Forget the request; the relay and the member are not told (Iris has no word for it)."""
        if self.on_cancel is not None:
            self.on_cancel(self)
        cancelled = super().cancel(msg)
        self.announce()
        return cancelled

    def fail(self, error: Exception) -> None:
        """End in `error`, without a warning when nobody looks."""
        if not self.done():
            self.set_exception(error)
            self.exception()
            self.announce()

    def announce(self) -> None:
        """Tell `on_done` that this is done, once."""
        on_done, self.on_done = self.on_done, None
        if on_done is None:
            return
        try:
            on_done(self)
        except Exception:  # not the connection's: it goes on with what else has come
            logger.exception("who waited for request %d failed to take its end", self.id)


def failed(error: Exception) -> ReplyFuture:
    """A request that has ended before it began."""
    reply = ReplyFuture()
    reply.on_cancel = reply.on_done = None
    reply.fail(error)
    return reply


class OutgoingRequests:
    """The requests of one connection. Loop thread only."""

    def __init__(self, clock: Clock, quota: Quota, peer: str) -> None:
        self.quota = quota
        #: Answers that came after their request had timed out.
        self.late = 0
        #: Answers to what was forgotten by its caller, or never asked.
        self.unwanted = 0
        #: Requests that ended by their deadline.
        self.timed_out = 0
        #: Called when the last pending request has ended.
        self.on_empty: Callable[[], None] | None = None
        self._clock = clock
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, ReplyFuture] = {}
        self._expiry = ExpiryTimer(clock, self._expire)
        self._last_id = 0
        self._ended: dict[int, tuple[str, float]] = {}
        self._throttle = Throttle()

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, cluster: str, body: bytes, timeout: float) -> ReplyFuture:
        """A new pending request; already failed with `Overloaded` when there is no room."""
        if not self.quota.take(len(body)):
            busy = f"{self.quota.count:,} requests to {self._peer} wait already"
            return failed(Overloaded(busy))
        reply = ReplyFuture(loop=self._loop)
        reply.cluster = cluster
        reply.body = body
        reply.timeout = timeout
        reply.turn = UNSENT
        reply.on_cancel = self._forget
        reply.on_done = None
        reply.id = request_id = self._last_id = self._last_id + 1
        reply.deadline = deadline = self._clock.monotonic() + timeout
        reply.bucket = self._expiry.add(request_id, deadline)
        self._pending[request_id] = reply
        return reply

    def new_id(self) -> int:
        """An id that was never used on this connection."""
        self._last_id += 1
        return self._last_id

    def on_reply(self, packet: RelayReply) -> None:
        """The relay's result for a request: the timeout flag wins over everything else."""
        reply = self._pending.get(packet.id)
        if reply is None:
            self._after_the_end(packet.id, answered=not packet.timeout)
            return
        self._remove(reply)
        if reply.done():
            return
        if packet.timeout:
            self._time_out(reply, "no member answered")
        elif packet.body:
            reply.set_result(packet.body)
            reply.announce()
        elif packet.fault:
            reply.fail(RemoteFault(packet.fault, cluster=reply.cluster))
        else:  # inside Iris an empty reply, or fault, cannot be told from none
            self._time_out(reply, "an empty reply, which Iris cannot tell from none")

    def unsent(self, turn: int = QUEUED) -> list[ReplyFuture]:
        """The requests that had not left this process after `turn` flushes, oldest first."""
        return [reply for reply in self._pending.values() if reply.turn >= turn]

    def sent(self, turn: int) -> list[ReplyFuture]:
        """The requests that had left by then, oldest first."""
        return [reply for reply in self._pending.values() if reply.turn < turn]

    def cut(self, replies: Iterable[ReplyFuture], outcome: SendOutcome, reason: str) -> None:
        """End `replies` with `ConnectionLost`."""
        for reply in replies:
            self.end(reply, ConnectionLost(self._peer, outcome, reason))

    def end(self, reply: ReplyFuture, error: Exception) -> None:
        """End one request in `error`."""
        self._remove(reply)
        reply.fail(error)

    def stop(self) -> None:
        """Cancel the timer; for a connection that is closed and has nothing pending."""
        self._expiry.stop()

    def _remove(self, reply: ReplyFuture) -> None:
        request_id = reply.id
        if self._pending.pop(request_id, None) is not None:
            reply.bucket.pop(request_id, None)
            reply.on_cancel = None
            self.quota.give(len(reply.body))
            if self.on_empty is not None and not self._pending:
                self.on_empty()

    def _forget(self, reply: ReplyFuture) -> None:
        self._remove(reply)
        self._remember(reply, cancelled=True)

    def _expire(self, ids: Iterable[int]) -> None:
        for request_id in ids:
            reply = self._pending.get(request_id)
            if reply is not None:
                self._remove(reply)
                if reply.turn == UNSENT:
                    reply.fail(ConnectionLost(self._peer, "not sent", "no relay in time"))
                    continue
                if reply.turn == QUEUED:
                    self._time_out(reply, "not sent: the relay reads too slowly")
                    continue
                self._remember(reply, cancelled=False)
                self._time_out(reply, "no word from the relay by the deadline")

    def _time_out(self, reply: ReplyFuture, state: str) -> None:
        self.timed_out += 1
        reply.fail(AskTimeout(reply.cluster, "bytes", reply.timeout, state))

    def _remember(self, reply: ReplyFuture, *, cancelled: bool) -> None:
        if len(self._ended) >= _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._ended[reply.id] = ("" if cancelled else reply.cluster, reply.deadline)

    def _after_the_end(self, request_id: int, *, answered: bool) -> None:
        cluster, deadline = self._ended.pop(request_id, ("", 0.0))
        if not answered:
            return
        if not cluster:
            self.unwanted += 1
            return
        self.late += 1
        now = self._clock.monotonic()
        count = self._throttle.note(now)
        if count:
            logger.info(
                "late reply dropped: request %d to %r had timed out %.3f s before (%d since the "
                "last such line)",
                request_id,
                cluster,
                now - deadline,
                count,
            )
