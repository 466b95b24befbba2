"""One ask over the address transport: the future that its caller holds.

Resolved exactly once: by the answer, the transport's error, or the caller's
cancellation. A request that the caller gives up is forgotten by the transport
and cancelled at the other end, so that a late answer finds nobody and is never
taken for another one. No task is made for it. A member that is about to leave
says so and does nothing: another one is asked, while there is time. Where all
members have yet to come back after the relay did, the first one to do so is asked.
A member that does not know what the request uses, as its code is older, has run
nothing: those that have not said so yet are asked one by one.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.errors import AskCancelled, AskTimeout, Overloaded
from actors.future import LoopFuture
from actors.unheard import unheard
from irismq_runtime.errors import (
    ConnectionLost,
    DecodeError,
    NodeStopped,
    NoSuchService,
    RemoteFault,
    RuntimeFault,
)
from irismq_runtime.messaging import peer_name, private_cluster
from irismq_runtime.ports import LEAVING, OVERLOADED, RETURNED
from irismq_runtime.wire import Envelope, Kind, decode_fault_untrusted

if TYPE_CHECKING:
    import asyncio

    from irismq_runtime.observe.tracing import Sending
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["RemoteAsk"]

T = TypeVar("T")

#: Seconds by which the pause grows before another member is asked, and its most.
_PAUSE = 0.02
_LONGEST_PAUSE = 0.25
_REPLY: Final = Kind.REPLY
#: The shortest time for which Iris can be asked, in seconds.
_SHORTEST = 0.001


class RemoteAsk(LoopFuture[T]):
    """The answer of one member of `cluster`, when it comes.

    `target` is what the caller asked (an address, or a peer's name). Awaited on
    a loop or fetched with `get()` from a thread, as every `actors.Future`.
    """

    __slots__ = (
        "_cluster",
        "_data",
        "_deadline",
        "_outbound",
        "_request",
        "_turns",
        "_unread",
        "id",
        "message_type",
        "sending",
        "target",
        "timeout",
    )

    #: How it is called in numbers, if not by its target.
    metered = ""

    @property
    def served(self) -> str:
        """The address under which presence knows who is asked."""
        return self.target

    def __init__(  # noqa: PLR0917  # on every ask, where keywords cost as much as the rest
        self,
        outbound: Outbound,
        target: str,
        cluster: str,
        id: bytes,  # noqa: A002  # the field's name on the wire
        message_type: str,
        timeout: float,
    ) -> None:
        self._done = False
        self._value = None
        self._error = None
        self._waiters = ()
        self._waiter = None
        self._home = outbound.system
        self._outbound = outbound
        self._cluster = cluster
        self._request: asyncio.Future[bytes] | None = None
        self._data = b""
        self._deadline = outbound.clock.monotonic() + timeout
        self._turns = 0
        #: Members that could not read the request; None while there is none.
        self._unread: set[str] | None = None
        #: Its span, when it is traced.
        self.sending: Sending | None = None
        self.target = target
        self.id = id
        self.message_type = message_type
        self.timeout = timeout

    def send(self, data: bytes) -> None:
        """Give the request to the transport. Loop thread only."""
        if self._done or (
            len(data) > self._outbound.addresses.max_body and self._is_too_large(data)
        ):
            return
        self._data = data
        self._ask(self.timeout)
        if self._outbound.events.active:
            self._say_sent()

    def _is_too_large(self, data: bytes) -> bool:
        error = self._outbound.too_large(data)
        if error is not None:
            self._fail(error)
        return error is not None

    def _say_sent(self) -> None:
        events = self._outbound.events
        if events.active and not self._done:  # one that failed at once has not left
            events.emit(
                "ask.sent",
                id=self.id.hex(),
                address=self.target,
                type=self.message_type,
                timeout=self.timeout,
            )

    def _ask(self, timeout: float) -> None:
        try:
            request = self._outbound.addresses.request(
                self._cluster, self._data, timeout, self._answered
            )
        except Exception as error:  # refused before the wire: it is the ask's answer
            self._fail(error)
            return
        self._request = request
        if request.done():
            self._answered(request)

    def _ask_another(self) -> None:
        """Ask a member, in the time that is left. Raises nothing."""
        if self._done:
            return
        left = self._deadline - self._outbound.clock.monotonic()
        absent = self._absent()
        if absent is not None:
            self._fail(absent)
        elif left < _SHORTEST:
            self._fail(self._timed_out(self.timeout))
        else:
            self._ask(left)

    def send_once_known(self, data: bytes) -> None:
        """Send when somebody is known to serve the target, fail when clearly nobody does.

        Or, at its deadline, when that is not known yet: what it has waited is of its time.
        """
        if self._done or self._is_too_large(data):
            return
        self._data = data
        self._send_once_heard()

    def _send_once_heard(self) -> None:
        """Send when a member that was there before is there again, if that is in time."""
        outbound = self._outbound
        left = max(0.0, self._deadline - outbound.clock.monotonic())
        timer = outbound.clock.call_later(left, self._not_heard)

        def heard() -> None:
            timer.cancel()
            first = self._request is None
            self._ask_another()
            if first:
                self._say_sent()

        outbound.directory.when_known(self._cluster, heard)

    def _not_heard(self) -> None:
        if not self._done:
            self._fail(self._timed_out(self.timeout))

    def _absent(self) -> BaseException | None:
        """The error when presence knows that nobody is there to be asked."""
        if self._outbound.directory.nobody_serves(self.served):
            return NoSuchService(self.target)
        return None

    def cancel(self) -> bool:
        """Give up: the request is forgotten, and its handler cancelled. Any thread.

        False when it is resolved already.
        """
        if self._done:
            return False
        self._outbound.call(self._cancel)
        return True

    def _cancel(self) -> None:
        if self._done:
            return
        self._resolve(None, AskCancelled(self.target, self.message_type))
        request = self._request
        if request is None or request.done():
            return
        request.cancel()
        self._cancel_there()

    def _cancel_there(self) -> None:
        outbound = self._outbound
        try:
            data = outbound.packer.answer(
                Kind.CANCEL, self.id, None, None, None, "broadcast", self._cluster
            )
            outbound.addresses.broadcast(self._cluster, data)
        except Exception as error:  # best effort: the deadline ends the handler's use anyway
            outbound.events.emit(
                "ask.failed", id=self.id.hex(), address=self.target, error=str(error)
            )

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        if error is not None and self._waiter is None and not self._waiters:
            self._unheard = unheard(self.target, self.message_type, error)
        LoopFuture._resolve(self, value, error)  # noqa: SLF001  # its own; `super()` costs as much again
        outbound = self._outbound
        took = outbound.clock.monotonic() - self._deadline + self.timeout
        ended = "replied" if error is None else type(error).__name__
        outbound.meter.ask_ended(self.metered or self.target, took, ended)
        if self.sending is not None:
            self.sending.end(error)

    def _wake_first(self, waiter: asyncio.Future[None]) -> None:
        # All that resolves it is called on the loop: a local ask has to look.
        if not waiter.done():
            waiter.set_result(None)

    def _answered(self, request: asyncio.Future[bytes]) -> None:
        if self._done:
            return
        try:
            data = request.result()
        except CancelledError:
            self._fail(AskCancelled(self.target, self.message_type))
            return
        except Exception as error:  # the transport's
            self._refused(error)
            return
        try:
            value = self._read(data)
        except _Unread as unread:
            self._ask_untried(unread)
            return
        except Exception as failure:  # the answer is an error, or cannot be read
            self._fail(failure)
            return
        self._resolve(value, None)
        events = self._outbound.events
        if events.active:
            events.emit("ask.answered", id=self.id.hex(), address=self.target)

    def _refused(self, error: BaseException) -> None:
        if isinstance(error, ConnectionLost) and error.reason == RETURNED:
            self._send_once_heard()
            return
        if not self._turned_away(error):
            self._fail(self._explained(error))
            return
        self._turns += 1
        pause = min(_PAUSE * (self._turns - 1), _LONGEST_PAUSE)
        self._outbound.clock.call_later(pause, self._ask_another)

    def _turned_away(self, error: BaseException | None) -> bool:
        """Whether the member only said that it is about to leave.

        What handlers answer comes in envelopes, so a bare fault is the transport's.
        """
        return isinstance(error, RemoteFault) and error.text == LEAVING

    def _read(self, data: bytes) -> Any:
        packer = self._outbound.packer
        envelope = packer.open_untrusted(data, "reply", self._cluster)
        if not isinstance(envelope, Envelope):
            raise DecodeError(f"{self.target} answered with bytes that are not an envelope")
        if envelope.id != self.id:
            self._outbound.late += 1
            raise DecodeError(f"{self.target} answered another ask than this one")
        if envelope.kind is _REPLY:
            return packer.load_untrusted(envelope)
        if envelope.kind is Kind.ERROR:
            fault = decode_fault_untrusted(envelope.body)
            if fault.unread and "s" in envelope.headers:
                raise _Unread(fault.to_exception(self.target), envelope.headers["s"])
            raise fault.to_exception(self.target)
        raise DecodeError(f"{self.target} answered with an envelope that is not an answer")

    def _ask_untried(self, unread: _Unread) -> None:
        """Ask a member that has not refused yet, at its node; fail when all have."""
        outbound = self._outbound
        self._unread = refused = {unread.member, *(self._unread or ())}
        left = self._deadline - outbound.clock.monotonic()
        members = outbound.directory.members(self.served)
        member = next((m for m in members if peer_name(m.node, m.urn) not in refused), None)
        if member is None or left < _SHORTEST:
            self._fail(unread.error)
            return
        try:
            cluster = private_cluster(member.node)
            self._data = outbound.packer.directed(self._data, member.urn, cluster)
        except RuntimeFault:  # it has no room for the name
            self._fail(unread.error)
            return
        self._cluster = cluster
        self._ask(left)

    def _explained(self, error: BaseException) -> BaseException:
        """Name the target and the message where the transport knows only bytes."""
        if isinstance(error, AskTimeout):
            return self._timed_out(self.timeout)
        if isinstance(error, ConnectionLost) and self._outbound.stopped is not None:
            stopped = NodeStopped(self._outbound.stopped, error.outcome)
            stopped.__cause__ = error
            return stopped
        if isinstance(error, RemoteFault) and error.text == OVERLOADED:
            return Overloaded(f"{self.target} has no room for more requests: try again later")
        if isinstance(error, RemoteFault) and not error.cluster:
            return RemoteFault(error.text, cluster=self.target)
        return error

    def _timed_out(self, waited: float | None) -> AskTimeout:
        directory = self._outbound.directory
        if directory.is_expected(self._cluster):
            state = "its members have not come back since the relay was away"
        elif not directory.trusted:
            state = "nothing is known of its members"
        else:
            count = len(directory.members(self.served))
            state = f"{count} member{'' if count == 1 else 's'} known"
        return AskTimeout(self.target, self.message_type, waited or 0.0, state)

    def _fail(self, error: BaseException) -> None:
        self._resolve(None, error)
        events = self._outbound.events
        if events.active:
            events.emit("ask.failed", id=self.id.hex(), address=self.target, error=str(error))


class _Unread(Exception):
    """A member cannot read the request: `error` is what the asker gets if all cannot."""

    def __init__(self, error: Exception, member: str) -> None:
        self.error = error
        self.member = member
        super().__init__(str(error))
