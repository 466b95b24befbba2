"""Tunnels between relays: a tunnel is a pair of ways, one to each relay's end (end.py).

Order of events: the opening goes to one relay of the cluster; that one picks a
member, offers it the tunnel, and confirms when the member has; a relay without a
member refuses, and another is asked. Every message on a way has a number: one
that is missing means that NATS lost something, and the tunnel is closed at both
ends rather than carry on with a hole. An end that has nothing to say says so now
and then; what comes for an end that is not (any more) is answered with a close.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.embedded.relay.nats.end import End
from irismq_runtime.embedded.relay.nats.frames import (
    WAY_OVERHEAD,
    FrameError,
    Step,
    StepKind,
    decode_way_untrusted,
    opening_message,
    step_item,
    way_message,
)
from irismq_runtime.embedded.relay.nats.line import Message
from irismq_runtime.protocols.iris.tunnel import CHUNK_LIMIT

if TYPE_CHECKING:
    from irismq_runtime.embedded.relay.nats.shared import Shared
    from irismq_runtime.embedded.relay.tunnels import Half, TunnelSetup

__all__ = ["Ways"]

#: Bytes of one message of a way at most, unless a chunk is longer.
_FULL: Final = 256 * 1024
#: How often an opening goes out again because a relay had no member any more.
_TURNS: Final = 16
#: How long an end may wait to be confirmed when its member says nothing.
_PATIENCE: Final = 15.0


class _Role(Protocol):
    """What an end is while it is being built."""

    def confirmed(self, end: End) -> None:
        """The other relay's member has accepted."""
        ...

    def refused(self, end: End) -> None:
        """The other relay has no member."""
        ...

    def nobody(self) -> None:
        """No relay has a member."""
        ...

    @property
    def over(self) -> bool:
        """Nobody waits for a result any more."""
        ...


class _Asking:
    """The end whose client asked for the tunnel; `tunnel` waits for its result."""

    def __init__(self, ways: Ways, cluster: str, tunnel: TunnelSetup) -> None:
        self._ways = ways
        self._cluster = cluster
        self._tunnel = tunnel
        self._turns = 0

    @property
    def over(self) -> bool:
        return self._tunnel.done

    def ask(self, number: int) -> None:
        """Send the opening to one of the relays that have members."""
        self._turns += 1
        left = math.ceil(self._tunnel.tick - self._ways.now() * 1000.0)
        self._ways.send(
            self._ways.subjects.requests(self._cluster),
            number,
            opening_message(max(1, left), self._tunnel.chunk_limit),
        )

    def confirmed(self, end: End) -> None:
        # One that is confirmed too late is closed by this, and so is the far end.
        self._tunnel.accept(end)

    def refused(self, end: End) -> None:
        if self._turns < _TURNS and not self._tunnel.done:
            end.to = ""
            self.ask(end.number)
        else:
            self.nobody()

    def nobody(self) -> None:
        self._ways.stats.nobody += 1
        self._tunnel.expire()


class _Offering:
    """The end whose member is offered the tunnel (`tunnels.OfferedTunnel`)."""

    def __init__(self, ways: Ways, end: End, timeout_ms: int, chunk_limit: int) -> None:
        self.chunk_limit = chunk_limit
        self._ways = ways
        self._end = end
        self._deadline = ways.now() + timeout_ms / 1000.0

    @property
    def over(self) -> bool:
        return self._ways.now() > self._deadline + _PATIENCE

    def confirm_early(self) -> None:
        """Nothing: another relay's client cannot be told before its tunnel stands."""

    def accept(self, acceptor: Half) -> bool:
        """The member has confirmed."""
        if not self._ways.knows(self._end):
            acceptor.close("the initiator has given up")
            return False
        self._end.say(StepKind.CONFIRM, self.chunk_limit)
        self._end.open(acceptor)
        acceptor.open(self._end)
        self._ways.opened(self._end)
        return True

    def confirmed(self, end: End) -> None:
        raise FrameError(f"end {end.number} was offered here, and is confirmed from there")

    def refused(self, end: End) -> None:
        raise FrameError(f"end {end.number} was offered here, and is refused from there")

    def nobody(self) -> None:
        """The asking relay is gone; the member's confirmation will be answered with a close."""


class Ways:
    """All ends of tunnels to other relays at this one. Loop thread only."""

    def __init__(self, shared: Shared) -> None:
        self.subjects = shared.subjects
        self.outgoing = shared.outgoing
        self.stats = shared.stats
        self.now = shared.now
        self._routing = shared.routing
        self._options = shared.options
        self._largest = shared.largest
        self._ends: dict[int, End] = {}
        self._roles: dict[int, _Role] = {}
        #: The number 0 stands for no end: nobody answers to it.
        self._next = 1

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def largest_chunk(self) -> int:
        """Bytes of a chunk that a message has room for."""
        return max(1, min(CHUNK_LIMIT, self._largest() - WAY_OVERHEAD))

    @property
    def full(self) -> int:
        """Bytes of the items of one message at most."""
        return min(_FULL, self._largest() - WAY_OVERHEAD)

    def knows(self, end: End) -> bool:
        """Whether this end is not over yet."""
        return self._ends.get(end.number) is end

    def forget(self, end: End) -> None:
        """This end is over."""
        if self._ends.get(end.number) is end:
            del self._ends[end.number]
            self._roles.pop(end.number, None)

    def opened(self, end: End) -> None:
        """This end is built."""
        self._roles.pop(end.number, None)

    def send(self, subject: str, number: int, payload: bytes) -> None:
        """Send one message from this relay's end `number`, outside of any way."""
        message = Message(subject, self.subjects.way(number), payload)
        self.outgoing.add(_Single(message), len(payload))

    def open_tunnel(self, cluster: str, tunnel: TunnelSetup) -> None:
        """A local client asks for a tunnel to a member of `cluster`, anywhere."""
        end = self._new_end("")
        role = _Asking(self, cluster, tunnel)
        self._roles[end.number] = role
        role.ask(end.number)

    def on_opening_untrusted(
        self, cluster: str, reply: str, timeout_ms: int, chunk_limit: int
    ) -> None:
        """Another relay's client asks for a tunnel to a member of `cluster` here."""
        if not self.subjects.is_way_untrusted(reply):
            raise FrameError(f"an opening comes from {reply!r}, which is no end of a tunnel")
        member = self._routing.pick(cluster)
        if member is None:
            self._answer(reply, StepKind.REFUSE)
            return
        end = self._new_end(reply)
        offer = _Offering(self, end, timeout_ms, min(chunk_limit, CHUNK_LIMIT))
        self._roles[end.number] = offer
        member.take_tunnel(offer)

    def on_message_untrusted(self, subject: str, reply: str, data: bytes, *, nobody: bool) -> None:
        """Something has come on the way to one of this relay's ends."""
        number = self.subjects.way_of_untrusted(subject)
        end = None if number is None else self._ends.get(number)
        if nobody:
            self._gone(end)
            return
        sent, steps = decode_way_untrusted(data)
        if not self.subjects.is_way_untrusted(reply):
            raise FrameError(f"a message on a way comes from {reply!r}, which is no end")
        if end is None:
            if all(step.kind not in {StepKind.CLOSE, StepKind.REFUSE} for step in steps):
                self._answer(reply, StepKind.CLOSE, b"this end is not open")
            return
        try:
            self._on_steps_untrusted(end, reply, sent, steps)
        except FrameError as error:
            self._break(end, f"the relays misunderstand each other: {error}")
            raise

    def _on_steps_untrusted(self, end: End, reply: str, sent: int, steps: list[Step]) -> None:
        role = self._roles.get(end.number)
        if not end.to and steps and steps[0].kind is StepKind.CONFIRM:
            end.to = reply
        if steps and steps[0].kind is StepKind.REFUSE and role is not None:
            role.refused(end)
            return
        if not end.to:
            # The confirmation was lost: the client that asked has its timeout.
            self.forget(end)
            self._answer(reply, StepKind.CLOSE, b"the confirmation was lost")
            return
        if reply != end.to:
            self._on_word_untrusted(end, reply, steps)
            return
        end.heard = self.now()
        if not end.expects(sent):
            self._break(end, "messages between the relays were lost")
            return
        for step in steps:
            if step.kind is StepKind.CONFIRM and role is not None:
                self._roles.pop(end.number, None)
                role.confirmed(end)
                role = None
            else:
                end.on_step_untrusted(step)

    def _on_word_untrusted(self, end: End, reply: str, steps: list[Step]) -> None:
        """A relay speaks outside of the way: it does not know the end that this one belongs to."""
        same_relay = reply.rpartition(".")[0] == end.to.rpartition(".")[0]
        if not same_relay or len(steps) != 1 or steps[0].kind is not StepKind.CLOSE:
            raise FrameError(f"{reply!r} speaks to an end that belongs to {end.to!r}")
        end.lost(steps[0].data.decode("utf-8", "replace"))

    def _gone(self, end: End | None) -> None:
        """NATS says that nobody takes what this end says, or asks for."""
        if end is None:
            return
        role = self._roles.get(end.number)
        if role is not None:
            self.forget(end)
            role.nobody()
        else:
            end.lost("the relay of the other end is gone")

    def _break(self, end: End, reason: str) -> None:
        """Close both ends: what comes on this way cannot be trusted any more."""
        if end.to:
            self._answer(end.to, StepKind.CLOSE, reason.encode("utf-8", "backslashreplace"))
        end.lost(reason)

    def keep(self, *, at_once: bool = False) -> None:
        """Say that the ends are still there, and give up those not heard of."""
        now = self.now()
        interval = self._options.keep_interval
        for end in list(self._ends.values()):
            role = self._roles.get(end.number)
            if role is not None:
                if role.over:
                    self.forget(end)
            elif now - end.heard > self._options.silence_limit and not at_once:
                self._break(end, "the relay of the other end says nothing any more")
            elif at_once or now - end.said >= interval:
                end.say(StepKind.KEEP)

    def close_all(self, reason: str) -> None:
        """This relay stops: close every end."""
        for end in list(self._ends.values()):
            if end.is_open:
                self._break(end, reason)
            else:
                self.forget(end)

    def _answer(self, to: str, kind: StepKind, data: bytes = b"") -> None:
        """Say one thing to an end for which there is none here."""
        payload = way_message(0, [step_item(kind, 0, data)])
        self.outgoing.add(_Single(Message(to, self.subjects.way(0), payload)), len(payload))

    def _new_end(self, to: str) -> End:
        end = End(self, self._next, to, self.now())
        self._ends[self._next] = end
        self._next += 1
        return end


class _Single:
    """One message (`outgoing.Source`)."""

    __slots__ = ("_message",)

    def __init__(self, message: Message) -> None:
        self._message = message

    def take(self) -> tuple[Message]:
        """The message."""
        return (self._message,)

    def trim(self) -> int:
        """Its bytes."""
        return len(self._message.payload)
