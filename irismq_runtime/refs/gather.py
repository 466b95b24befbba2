"""An ask to everybody: the answers that came by the deadline, and who is missing.

The request is a broadcast; each member answers to the asker's private cluster,
under the id of the ask; an answer that comes twice counts once. Presence says who
is expected: when all of them have answered it ends early, otherwise at the
deadline, and so it does while the lists of some nodes are not known. Members that
presence did not know of are counted as well when they answer. Loop thread only, apart
from waiting for the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from actors import Future
from actors.type_variables import R
from actors.unheard import unheard
from irismq_runtime.errors import DecodeError, Overloaded, RuntimeFault
from irismq_runtime.messaging import peer_name
from irismq_runtime.wire import Kind, decode_fault_untrusted

if TYPE_CHECKING:
    import asyncio

    from actors import TimerHandle
    from irismq_runtime.observe.tracing import Sending
    from irismq_runtime.refs.outbound import Outbound
    from irismq_runtime.wire import Envelope

__all__ = ["Gather", "Gathered", "MemberError", "MemberReply"]


@dataclass(frozen=True, slots=True)
class MemberReply(Generic[R]):
    """What one member answered.

    Attributes:
        member: "node/urn".
        value: The answer.
    """

    member: str
    value: R


@dataclass(frozen=True, slots=True)
class MemberError:
    """The error that one member answered with.

    Attributes:
        member: "node/urn".
        error: What a single ask of it would have raised.
    """

    member: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Gathered(Generic[R]):
    """What an `ask_all` brought, in the order in which the answers came.

    Attributes:
        replies: The values.
        errors: The errors.
        missing: Members ("node/urn") that presence knew of and that did not answer in time.
    """

    replies: tuple[MemberReply[R], ...]
    errors: tuple[MemberError, ...]
    missing: tuple[str, ...]

    @property
    def values(self) -> list[R]:
        """The values of the replies alone."""
        return [reply.value for reply in self.replies]

    @property
    def complete(self) -> bool:
        """Whether every known member answered, and none with an error."""
        return not self.errors and not self.missing


class Gather(Future[Gathered[R]]):
    """The future of an `ask_all`: resolved on the loop, awaited or fetched anywhere."""

    __slots__ = (
        "_all_known",
        "_errors",
        "_expected",
        "_heard",
        "_outbound",
        "_replies",
        "_sending",
        "_timer",
        "address",
        "id",
    )

    def __init__(
        self,
        outbound: Outbound,
        address: str,
        id: bytes,  # noqa: A002  # wire's name
        sending: Sending | None,
    ) -> None:
        super().__init__()
        self._sending = sending
        self._outbound = outbound
        self._expected: dict[str, None] = {}
        #: There may be members that presence does not know of yet: the deadline decides.
        self._all_known = True
        self._heard: set[str] = set()
        self._replies: list[MemberReply[R]] = []
        self._errors: list[MemberError] = []
        self._timer: TimerHandle | None = None
        self.address = address
        self.id = id

    def start(self, data: bytes, timeout: float) -> None:
        """Send the request and wait at most `timeout` seconds."""
        outbound = self._outbound
        members = outbound.directory.members(self.address)
        self._expected = dict.fromkeys(peer_name(m.node, m.urn) for m in members)
        self._all_known = outbound.directory.whole
        outbound.gathers[self.id] = self
        self._timer = outbound.clock.call_later(timeout, self._finish)
        try:
            outbound.broadcast(self.address, data)
        except (RuntimeFault, Overloaded) as error:
            self._end(None, error)

    def answered(self, envelope: Envelope) -> None:
        """Take the answer of one member. Anything unreadable is its error."""
        sender = envelope.headers.get("s")
        member = sender if isinstance(sender, str) else "?"
        if member in self._heard:
            return
        self._heard.add(member)
        try:
            if envelope.kind == Kind.ERROR:
                error = decode_fault_untrusted(envelope.body).to_exception(self.address)
                self._errors.append(MemberError(member, error))
            else:
                value: Any = self._outbound.packer.load_untrusted(envelope)
                self._replies.append(MemberReply(member, value))
        except DecodeError as unreadable:
            self._errors.append(MemberError(member, unreadable))
        if member in self._expected:
            del self._expected[member]
            if not self._expected and self._all_known:
                self._finish()

    def left(self, member: str) -> None:
        """A member has gone: do not wait for it, but name it as missing."""
        if member in self._expected and len(self._expected) == 1 and self._all_known:
            self._finish()

    def _loop_thread(self) -> int:
        return self._outbound.thread

    def _finish(self) -> None:
        gathered = Gathered(tuple(self._replies), tuple(self._errors), tuple(self._expected))
        self._end(gathered, None)

    def _end(self, gathered: Gathered[R] | None, error: BaseException | None) -> None:
        if self._done:
            return
        self._outbound.gathers.pop(self.id, None)
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.end(error, members=len(self._heard))
        if error is not None and not self._waiters:
            self._unheard = unheard(self.address, "ask_all", error)
        self._resolve(gathered, error)

    def cut(self) -> None:
        """End now with what came so far."""
        self._finish()

    def fail(self, error: BaseException) -> None:
        """End without an outcome."""
        self._end(None, error)

    def _waiter_left(self, waiter: asyncio.Future[None]) -> None:
        super()._waiter_left(waiter)
        if not self._waiters:
            self._outbound.call(self._finish)
