"""Asks nodes for what changed there and was not heard here, until nothing is missing.

A node that is behind in the table is asked in its private cluster for what came after the
version known, one reply after the other (docs/protocol.md). A node of the released
protocol cannot be asked so: it is begged to tell all. The first question comes at a random
time, as all others may have missed the same (cadence.py); one that was in vain is repeated,
later and later. What a reply says is the table's business.

The directory is not consulted, which holds asks back until a node is confirmed: here it is
asked in order to confirm it. A few nodes are asked at a time, so what strangers announce
costs a bounded number of questions. One that is silent keeps the others waiting for a moment
only, and those that were asked in vain take turns with the others: whoever invents nodes
holds up no node that has answered before. Loop thread only.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import DecodeError, RuntimeFault
from irismq_runtime.messaging import NODE_TARGET, ServedRequest, private_cluster
from irismq_runtime.node.membership.announcements import announcement_untrusted
from irismq_runtime.node.membership.cadence import answer_window
from irismq_runtime.wire import Envelope, Kind

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from actors import Clock, TimerHandle
    from irismq_runtime.messaging import Packer
    from irismq_runtime.node.membership.announcements import Announcement
    from irismq_runtime.node.membership.member_table import MemberTable
    from irismq_runtime.ports import AddressTransport

__all__ = ["CatchingUp"]

_LOG = logging.getLogger("irismq.presence")

#: Nodes that are asked at the same time, but for those that have been silent for a while,
AT_ONCE: Final = 16
#: for so many seconds;
SILENT: Final = 0.25
#: and with them.
_OPEN: Final = 256
#: Seconds for a reply.
_TIMEOUT: Final = 2.0
#: Seconds until a question is repeated that was in vain, the first time and at most.
_AGAIN: Final = 0.5
_AGAIN_AT_MOST: Final = 30.0


class CatchingUp:
    """The questions of one node.

    Args:
        packer: Puts questions into envelopes.
        addresses: Carries them.
        clock: For repetitions.
        rng: Draws when the first question comes.
        table: Says who is behind, and from which version on.
        take: Puts a reply into it.
        beg: Asks a node of the released protocol for its list.
    """

    def __init__(
        self,
        packer: Packer,
        addresses: AddressTransport,
        clock: Clock,
        rng: random.Random,
        table: MemberTable,
        *,
        take: Callable[[Announcement], None],
        beg: Callable[[str], None],
    ) -> None:
        self._packer = packer
        self._addresses = addresses
        self._clock = clock
        self._rng = rng
        self._table = table
        self._take = take
        self._beg = beg
        #: Questions in vain so far, of each node that has to be asked.
        self._vain: dict[str, int] = {}
        self._timers: dict[str, TimerHandle] = {}
        #: Those whose turn it is, as soon as fewer than `AT_ONCE` are being asked, and of
        #: those that have never answered, the ones that were asked in vain.
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._again: OrderedDict[str, None] = OrderedDict()
        self._again_next = True
        #: Nodes that have answered.
        self._answer: set[str] = set()
        self._asking: dict[str, asyncio.Future[bytes] | None] = {}
        #: Of those that are being asked: until when each is waited for with the next one.
        self._patience: dict[str, TimerHandle] = {}
        self._closed = False

    def behind(self, node: str) -> None:
        """`node` is behind: ask, unless that is planned already."""
        if self._closed or node in self._vain:
            return
        self._vain[node] = 0
        delay = self._rng.uniform(0.0, answer_window(len(self._table)))
        if delay:
            self._later(node, delay)
        else:
            self._queue(node)

    def gone(self, node: str) -> None:
        """`node` has gone: there is nobody to ask."""
        self._vain.pop(node, None)
        self._waiting.pop(node, None)
        self._again.pop(node, None)
        self._answer.discard(node)
        timer = self._timers.pop(node, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        self._closed = True
        for timer in (*self._timers.values(), *self._patience.values()):
            timer.cancel()
        for asking in tuple(self._asking.values()):
            if asking is not None:
                asking.cancel()
        self._vain.clear()
        self._timers.clear()
        self._patience.clear()
        self._waiting.clear()
        self._again.clear()

    # Inside ---------------------------------------------------------------------

    def _later(self, node: str, delay: float) -> None:
        self._timers[node] = self._clock.call_later(delay, self._queue, node)

    def _queue(self, node: str) -> None:
        self._timers.pop(node, None)
        silent = self._vain.get(node) and node not in self._answer
        (self._again if silent else self._waiting)[node] = None
        self._next()

    def _turn(self) -> str | None:
        """Whose turn it is: one of those that wait, then one of those asked in vain."""
        self._again_next = not self._again_next
        queues = (self._waiting, self._again)
        for queue in reversed(queues) if self._again_next else queues:
            if queue:
                return queue.popitem(last=False)[0]
        return None

    def _next(self) -> None:
        while len(self._patience) < AT_ONCE and len(self._asking) < _OPEN:
            node = self._turn()
            if node is None:
                return
            if node in self._asking or node not in self._vain:
                continue
            if not self._table.is_behind(node):
                del self._vain[node]
            elif self._table.format(node) == 1:
                self._beg(node)
                self._in_vain(node)  # until it is heard
            else:
                self._ask(node)

    def _ask(self, node: str) -> None:
        since = self._table.version(node)
        cluster = private_cluster(node)
        self._asking[node] = None
        self._patience[node] = self._clock.call_later(SILENT, self._is_silent, node)
        try:
            ask_id, data, _ = self._packer.new(
                Kind.ASK, ServedRequest(since), {"to": NODE_TARGET}, None, "request", cluster
            )

            def done(reply: asyncio.Future[bytes]) -> None:
                self._answered(node, ask_id, since, reply)

            request = self._addresses.request(cluster, data, _TIMEOUT, done)
        except (RuntimeFault, ValueError) as error:
            _LOG.debug("Node %s cannot be asked what it serves: %s", node, error)
            self._asked(node)
            self._in_vain(node)
            return
        if request.done():
            done(request)
        elif node in self._asking:
            self._asking[node] = request

    def _is_silent(self, node: str) -> None:
        """An answer may still come; the next one need not wait for it."""
        del self._patience[node]
        self._next()

    def _asked(self, node: str) -> None:
        self._asking.pop(node, None)
        timer = self._patience.pop(node, None)
        if timer is not None:
            timer.cancel()

    def _answered(self, node: str, ask_id: bytes, since: int, reply: asyncio.Future[bytes]) -> None:
        self._asked(node)
        if self._closed or reply.cancelled():
            return
        try:
            said = self._read_untrusted(node, ask_id, reply.result())
        except Exception as error:  # whatever came in place of a reply: it is asked again
            _LOG.debug("Node %s did not say what it serves: %s", node, error)
            self._in_vain(node)
        else:
            if node in self._vain:
                self._answer.add(node)
            self._take(said)
            self._taken(node, since)
        self._next()

    def _taken(self, node: str, since: int) -> None:
        if node not in self._vain:
            return
        if not self._table.is_behind(node):
            del self._vain[node]
        elif self._table.version(node) != since:
            self._vain[node] = 0
            self._waiting[node] = None  # behind the others: its list may have no end
        else:
            self._in_vain(node)

    def _in_vain(self, node: str) -> None:
        if node in self._vain:
            delay = min(_AGAIN * 2.0 ** min(self._vain[node], 10), _AGAIN_AT_MOST)
            self._vain[node] += 1
            self._later(node, delay)

    def _read_untrusted(self, node: str, ask_id: bytes, data: bytes) -> Announcement:
        envelope = self._packer.open_untrusted(data, "reply", private_cluster(node))
        if not isinstance(envelope, Envelope) or envelope.kind != Kind.REPLY:
            raise DecodeError("not a reply")
        if envelope.id != ask_id:
            raise DecodeError("the reply to another question")
        said = announcement_untrusted(self._packer.load_untrusted(envelope))
        if said.node != node or said.since is None or said.state != "up":
            raise DecodeError("not what the node serves")
        return said
