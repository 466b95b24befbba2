"""Tunnels between relays: each relay has an end (tunnel_end.py), with a subject of its own.

Order of events: the opening goes to one relay of the cluster; that one picks a
member, offers it the tunnel, and confirms when the member has; a relay without a
member refuses, and another is asked. Every message to an end has a number: one
that is missing means that NATS lost something, and the tunnel is closed at both
ends rather than carry on with a hole. An end that has nothing to say says so now
and then; what comes for an end that is not (any more) is answered with a close.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.embedded.relay.nats.connection import NatsMessage
from irismq_runtime.embedded.relay.nats.frames import (
    TUNNEL_OVERHEAD,
    FrameError,
    TunnelItem,
    TunnelItemKind,
    decode_tunnel_untrusted,
    opening_message,
    tunnel_item,
    tunnel_message,
)
from irismq_runtime.embedded.relay.nats.tunnel_end import TunnelEnd
from irismq_runtime.protocols.iris.tunnel import CHUNK_LIMIT

if TYPE_CHECKING:
    from irismq_runtime.embedded.relay.nats.context import NatsContext
    from irismq_runtime.embedded.relay.tunnels import Half, TunnelSetup

__all__ = ["NatsTunnels"]

#: Bytes of one message to an end at most, unless a chunk is longer.
_FULL: Final = 256 * 1024
#: How often an opening goes out again because a relay had no member any more.
_TURNS: Final = 16
#: How long an end may wait to be confirmed when its member says nothing.
_PATIENCE: Final = 15.0


class _TunnelRole(Protocol):
    """What an end is while it is being built."""

    def confirmed(self, end: TunnelEnd) -> None:
        """The other relay's member has accepted."""
        ...

    def refused(self, end: TunnelEnd) -> None:
        """The other relay has no member."""
        ...

    def nobody(self) -> None:
        """No relay has a member."""
        ...

    @property
    def over(self) -> bool:
        """Nobody waits for a result any more."""
        ...


class _AskingRole:
    """The end whose client asked for the tunnel; `tunnel` waits for its result."""

    def __init__(self, tunnels: NatsTunnels, cluster: str, tunnel: TunnelSetup) -> None:
        self._tunnels = tunnels
        self._cluster = cluster
        self._tunnel = tunnel
        self._turns = 0

    @property
    def over(self) -> bool:
        return self._tunnel.done

    def ask(self, number: int) -> None:
        """Send the opening to one of the relays that have members."""
        self._turns += 1
        left = math.ceil((self._tunnel.deadline - self._tunnels.now()) * 1000.0)
        self._tunnels.send(
            self._tunnels.subjects.requests(self._cluster),
            number,
            opening_message(max(1, left), self._tunnel.chunk_limit),
        )

    def confirmed(self, end: TunnelEnd) -> None:
        # One that is confirmed too late is closed by this, and so is the far end.
        self._tunnel.accept(end)

    def refused(self, end: TunnelEnd) -> None:
        if self._turns < _TURNS and not self._tunnel.done:
            end.to = ""
            self.ask(end.number)
        else:
            self.nobody()

    def nobody(self) -> None:
        self._tunnels.stats.nobody += 1
        self._tunnel.expire()


class _OfferedRole:
    """The end whose member is offered the tunnel (`tunnels.OfferedTunnel`)."""

    def __init__(
        self, tunnels: NatsTunnels, end: TunnelEnd, timeout_ms: int, chunk_limit: int
    ) -> None:
        self.chunk_limit = chunk_limit
        self._tunnels = tunnels
        self._end = end
        self._deadline = tunnels.now() + timeout_ms / 1000.0

    @property
    def over(self) -> bool:
        return self._tunnels.now() > self._deadline + _PATIENCE

    def confirm_early(self) -> None:
        """Nothing: another relay's client cannot be told before its tunnel stands."""

    def accept(self, acceptor: Half) -> bool:
        """The member has confirmed."""
        if not self._tunnels.knows(self._end):
            acceptor.close("the initiator has given up")
            return False
        self._end.say(TunnelItemKind.CONFIRM, self.chunk_limit)
        self._end.open(acceptor)
        acceptor.open(self._end)
        self._tunnels.opened(self._end)
        return True

    def confirmed(self, end: TunnelEnd) -> None:
        raise FrameError(f"end {end.number} was offered here, and is confirmed from there")

    def refused(self, end: TunnelEnd) -> None:
        raise FrameError(f"end {end.number} was offered here, and is refused from there")

    def nobody(self) -> None:
        """The asking relay is gone; the member's confirmation will be answered with a close."""


class NatsTunnels:
    """All ends of tunnels to other relays at this one. Loop thread only."""

    def __init__(self, context: NatsContext) -> None:
        self.subjects = context.subjects
        self.outgoing = context.outgoing
        self.stats = context.stats
        self.now = context.now
        self._routing = context.routing
        self._options = context.options
        self._largest = context.largest
        self._ends: dict[int, TunnelEnd] = {}
        self._roles: dict[int, _TunnelRole] = {}
        #: The number 0 stands for no end: nobody answers to it.
        self._next = 1

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def largest_chunk(self) -> int:
        """Bytes of a chunk that a message has room for."""
        return max(1, min(CHUNK_LIMIT, self._largest() - TUNNEL_OVERHEAD))

    @property
    def full(self) -> int:
        """Bytes of the items of one message at most."""
        return min(_FULL, self._largest() - TUNNEL_OVERHEAD)

    def knows(self, end: TunnelEnd) -> bool:
        """Whether this end is not over yet."""
        return self._ends.get(end.number) is end

    def forget(self, end: TunnelEnd) -> None:
        """This end is over."""
        if self._ends.get(end.number) is end:
            del self._ends[end.number]
            self._roles.pop(end.number, None)

    def opened(self, end: TunnelEnd) -> None:
        """This end is built."""
        self._roles.pop(end.number, None)

    def send(self, subject: str, number: int, payload: bytes) -> None:
        """Send one message from this relay's end `number`, without a number of its own."""
        message = NatsMessage(subject, self.subjects.tunnel_end(number), payload)
        self.outgoing.add(_SingleMessage(message), len(payload))

    def open_tunnel(self, cluster: str, tunnel: TunnelSetup) -> None:
        """A local client asks for a tunnel to a member of `cluster`, anywhere."""
        end = self._new_end("")
        role = _AskingRole(self, cluster, tunnel)
        self._roles[end.number] = role
        role.ask(end.number)

    def on_opening_untrusted(
        self, cluster: str, reply: str, timeout_ms: int, chunk_limit: int
    ) -> None:
        """Another relay's client asks for a tunnel to a member of `cluster` here."""
        if not self.subjects.is_tunnel_end_untrusted(reply):
            raise FrameError(f"an opening comes from {reply!r}, which is not an end of a tunnel")
        member = self._routing.pick(cluster)
        if member is None:
            self._answer(reply, TunnelItemKind.REFUSE)
            return
        end = self._new_end(reply)
        offer = _OfferedRole(self, end, timeout_ms, min(chunk_limit, CHUNK_LIMIT))
        self._roles[end.number] = offer
        member.take_tunnel(offer)

    def on_message_untrusted(self, subject: str, reply: str, data: bytes, *, nobody: bool) -> None:
        """A message has come for one of this relay's ends."""
        number = self.subjects.tunnel_end_of_untrusted(subject)
        end = None if number is None else self._ends.get(number)
        if nobody:
            self._gone(end)
            return
        sent, items = decode_tunnel_untrusted(data)
        if not self.subjects.is_tunnel_end_untrusted(reply):
            raise FrameError(f"a message to an end comes from {reply!r}, which is not an end")
        if end is None:
            if all(
                item.kind not in {TunnelItemKind.CLOSE, TunnelItemKind.REFUSE} for item in items
            ):
                self._answer(reply, TunnelItemKind.CLOSE, b"this end is not open")
            return
        try:
            self._on_items_untrusted(end, reply, sent, items)
        except FrameError as error:
            self._break(end, f"the relays misunderstand each other: {error}")
            raise

    def _on_items_untrusted(
        self, end: TunnelEnd, reply: str, sent: int, items: list[TunnelItem]
    ) -> None:
        role = self._roles.get(end.number)
        if not end.to and items and items[0].kind is TunnelItemKind.CONFIRM:
            end.to = reply
        if items and items[0].kind is TunnelItemKind.REFUSE and role is not None:
            role.refused(end)
            return
        if not end.to:
            # The confirmation was lost: the client that asked has its timeout.
            self.forget(end)
            self._answer(reply, TunnelItemKind.CLOSE, b"the confirmation was lost")
            return
        if reply != end.to:
            self._on_word_untrusted(end, reply, items)
            return
        end.heard = self.now()
        if not end.expects(sent):
            self._break(end, "messages between the relays were lost")
            return
        for item in items:
            if item.kind is TunnelItemKind.CONFIRM and role is not None:
                self._roles.pop(end.number, None)
                role.confirmed(end)
                role = None
            else:
                end.on_item_untrusted(item)

    def _on_word_untrusted(self, end: TunnelEnd, reply: str, items: list[TunnelItem]) -> None:
        """Another end speaks: its relay does not know the one that this end belongs to."""
        same_relay = reply.rpartition(".")[0] == end.to.rpartition(".")[0]
        if not same_relay or len(items) != 1 or items[0].kind is not TunnelItemKind.CLOSE:
            raise FrameError(f"{reply!r} speaks to an end that belongs to {end.to!r}")
        end.lost(items[0].data.decode("utf-8", "replace"))

    def _gone(self, end: TunnelEnd | None) -> None:
        """NATS says that nobody takes what this end says, or asks for."""
        if end is None:
            return
        role = self._roles.get(end.number)
        if role is not None:
            self.forget(end)
            role.nobody()
        else:
            end.lost("the relay of the other end is gone")

    def _break(self, end: TunnelEnd, reason: str) -> None:
        """Close both ends: what comes to this one cannot be trusted any more."""
        if end.to:
            self._answer(end.to, TunnelItemKind.CLOSE, reason.encode("utf-8", "backslashreplace"))
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
                end.say(TunnelItemKind.KEEP)

    def close_all(self, reason: str) -> None:
        """This relay stops: close every end."""
        for end in list(self._ends.values()):
            if end.is_open:
                self._break(end, reason)
            else:
                self.forget(end)

    def _answer(self, to: str, kind: TunnelItemKind, data: bytes = b"") -> None:
        """Say one thing to an end for which there is none here."""
        payload = tunnel_message(0, [tunnel_item(kind, 0, data)])
        self.outgoing.add(
            _SingleMessage(NatsMessage(to, self.subjects.tunnel_end(0), payload)), len(payload)
        )

    def _new_end(self, to: str) -> TunnelEnd:
        end = TunnelEnd(self, self._next, to, self.now())
        self._ends[self._next] = end
        self._next += 1
        return end


class _SingleMessage:
    """One message (`outgoing.MessageSource`)."""

    __slots__ = ("_message",)

    def __init__(self, message: NatsMessage) -> None:
        self._message = message

    def take(self) -> tuple[NatsMessage]:
        """The message."""
        return (self._message,)

    def trim(self) -> int:
        """Its bytes."""
        return len(self._message.payload)
