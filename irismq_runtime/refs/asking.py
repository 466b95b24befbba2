"""One ask over the address transport: the future that its caller holds.

Resolved exactly once: by the answer, the transport's error, or the caller's
cancellation. A request that the caller gives up is forgotten by the transport
and cancelled at the other end, so that a late answer finds nobody and is never
taken for another one. No task is made for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from actors import Future
from actors.errors import AskCancelled, AskTimeout
from irismq_runtime.errors import DecodeError, MessageTooLarge, NoSuchService, RemoteFault
from irismq_runtime.wire import Envelope, Kind, decode_fault_untrusted

if TYPE_CHECKING:
    import asyncio

    from irismq_runtime.refs.outbound import Outbound

__all__ = ["RemoteAsk"]

T = TypeVar("T")


class RemoteAsk(Future[T]):
    """The answer of one member of `cluster`, when it comes.

    `target` is what the caller asked (an address, or a peer's name). Awaited on
    a loop or fetched with `get()` from a thread, as every `actors.Future`.
    """

    __slots__ = ("_cluster", "_outbound", "_request", "id", "message_type", "target", "timeout")

    def __init__(
        self,
        outbound: Outbound,
        target: str,
        cluster: str,
        *,
        id: bytes,  # noqa: A002  # the field's name on the wire
        message_type: str,
        timeout: float,
    ) -> None:
        super().__init__()
        self._outbound = outbound
        self._cluster = cluster
        self._request: asyncio.Future[bytes] | None = None
        self.target = target
        self.id = id
        self.message_type = message_type
        self.timeout = timeout

    def send(self, data: bytes) -> None:
        """Give the request to the transport. Loop thread only."""
        if self._done:
            return
        outbound = self._outbound
        limit = outbound.addresses.max_body
        if len(data) > limit:
            self._fail(MessageTooLarge(len(data), limit, limit_of="the relay"))
            return
        try:
            request = outbound.addresses.request(self._cluster, data, self.timeout)
        except Exception as error:  # refused before the wire: it is the ask's answer
            self._fail(error)
            return
        self._request = request
        if outbound.events.active:
            outbound.events.emit(
                "ask.sent",
                id=self.id.hex(),
                address=self.target,
                type=self.message_type,
                timeout=self.timeout,
            )
        request.add_done_callback(self._answered)

    def send_when_known(self, data: bytes) -> None:
        """Send once presence has settled; fail at once when nobody serves the address."""
        if self._done:
            return
        directory = self._outbound.directory
        if directory.trusted and not directory.serves(self.target):
            self._fail(NoSuchService(self.target))
            return
        self.send(data)

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
            data = outbound.packer.answer(Kind.CANCEL, self.id, None)
            outbound.addresses.broadcast(self._cluster, data)
        except Exception as error:  # best effort: the deadline ends the handler's use anyway
            outbound.events.emit("ask.failed", id=self.id.hex(), error=str(error))

    def _waiter_left(self, waiter: asyncio.Future[None]) -> None:
        super()._waiter_left(waiter)
        if not self._waiters:
            self._outbound.call(self._cancel)

    def _answered(self, request: asyncio.Future[bytes]) -> None:
        if self._done:
            return
        if request.cancelled():
            self._fail(AskCancelled(self.target, self.message_type))
            return
        error = request.exception()
        if error is not None:
            self._fail(self._explained(error))
            return
        try:
            value = self._read(request.result())
        except Exception as failure:  # the answer is an error, or cannot be read
            self._fail(failure)
            return
        self._resolve(value, None)
        events = self._outbound.events
        if events.active:
            events.emit("ask.answered", id=self.id.hex(), address=self.target)

    def _read(self, data: bytes) -> Any:
        packer = self._outbound.packer
        envelope = packer.open_untrusted(data)
        if not isinstance(envelope, Envelope):
            raise DecodeError(f"{self.target} answered with bytes that are no envelope")
        if envelope.id != self.id:
            self._outbound.late += 1
            raise DecodeError(f"{self.target} answered another ask than this one")
        if envelope.kind == Kind.REPLY:
            return packer.load_untrusted(envelope)
        if envelope.kind == Kind.ERROR:
            raise decode_fault_untrusted(envelope.body).to_exception(self.target)
        raise DecodeError(f"{self.target} answered with an envelope that is no answer")

    def _explained(self, error: BaseException) -> BaseException:
        """Name the target and the message where the transport knows only bytes."""
        if isinstance(error, AskTimeout):
            return self._timed_out(self.timeout)
        if isinstance(error, RemoteFault) and not error.cluster:
            return RemoteFault(error.text, cluster=self.target)
        return error

    def _timed_out(self, waited: float | None) -> AskTimeout:
        directory = self._outbound.directory
        if not directory.trusted:
            state = "nothing is known of its members"
        else:
            count = len(directory.members(self.target))
            state = f"{count} member{'' if count == 1 else 's'} known"
        return AskTimeout(self.target, self.message_type, waited or 0.0, state)

    def _fail(self, error: BaseException) -> None:
        self._resolve(None, error)
        events = self._outbound.events
        if events.active:
            events.emit("ask.failed", id=self.id.hex(), address=self.target, error=str(error))
