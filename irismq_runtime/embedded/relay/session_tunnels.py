"""The tunnels of one connection: ids to halves, offers to confirm, and deadlines.

An initiator's tunnel has a result within its timeout. An acceptor confirms an
offer within three seconds or its whole connection is dropped (the real relay's
rule). Ids come from the client, at both kinds of ends; one that is taken is a
violation. Packets for an unknown id are passed over: the end may have been
closed by the other side while they were on their way. What a client may send
before it is taken is lent out of one sum; where none is left, a tunnel that is
asked for times out at once, and one that is taken is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.embedded.relay.tunnels import Half, TunnelSetup
from irismq_runtime.protocols.iris.packets import RelayTunnelInit
from irismq_runtime.protocols.iris.primitives import IrisProtocolError
from irismq_runtime.protocols.iris.tunnel import CONFIRM_SECONDS

if TYPE_CHECKING:
    from actors.clock import TimerHandle
    from irismq_runtime.embedded.relay.context import RelayContext
    from irismq_runtime.embedded.relay.session import Session
    from irismq_runtime.embedded.relay.tunnels import OfferedTunnel
    from irismq_runtime.protocols.iris.packets import (
        ClientTunnelClose,
        ClientTunnelConfirm,
        ClientTunnelInit,
        RelayPacket,
        TunnelAllow,
        TunnelTransfer,
    )

__all__ = ["SessionTunnels"]


class SessionTunnels:
    """All ends of tunnels at one connection. Loop thread only."""

    def __init__(self, context: RelayContext, session: Session) -> None:
        self._context = context
        self._session = session
        self._ends: dict[int, Half] = {}
        #: Tunnels that this client has asked for, without a result, by its id.
        self._asked: dict[int, TunnelSetup] = {}
        #: Tunnels offered to this client, by the id it was given.
        self._offers: dict[int, tuple[OfferedTunnel, TimerHandle]] = {}
        self._next_offer = 0

    def __len__(self) -> int:
        return len(self._ends) + len(self._offers)

    @property
    def offered(self) -> int:
        """Offers that wait for a confirm."""
        return len(self._offers)

    @property
    def congested(self) -> bool:
        """True while the client does not read."""
        return self._session.congested

    def send_tunnel(self, packet: RelayPacket) -> None:
        """Send a packet of a tunnel."""
        self._session.send_tunnel(packet)

    def tunnel_over(self, half: Half) -> None:
        """Forget the id of an end that is over, and take back what it was lent."""
        self._context.tunnel_room.give_back(half.lent)
        half.lent = 0
        if self._ends.get(half.id) is half:
            del self._ends[half.id]

    def tunnel_decided(self, tunnel: TunnelSetup) -> None:
        """A tunnel that this client asked for has its result."""
        self._asked.pop(tunnel.id, None)

    def offer(self, tunnel: OfferedTunnel) -> None:
        """Offer a tunnel to this client."""
        key = self._next_offer
        self._next_offer += 1
        timer = self._context.clock.call_later(CONFIRM_SECONDS, self._unconfirmed, key)
        self._offers[key] = (tunnel, timer)
        self._session.send_tunnel(RelayTunnelInit(key, tunnel.chunk_limit))
        if self._context.faults.early_confirm:
            tunnel.confirm_early()

    def on_init(self, packet: ClientTunnelInit) -> None:
        """The client asks for a tunnel."""
        self._context.counters.tunnels += 1
        tunnel = TunnelSetup(self, packet.id, 0)
        self._add(tunnel.initiator)
        self._asked[packet.id] = tunnel
        tunnel.expire_in(packet.timeout_ms, self._context.timeouts)
        if not tunnel.initiator.lent:
            tunnel.expire()
            return
        found = self._context.back_end.open_tunnel(packet.cluster, tunnel)
        if not found and not self._context.faults.silent_when_unknown:
            tunnel.expire()

    def on_confirm(self, packet: ClientTunnelConfirm) -> None:
        """The client takes an offer, and names its end."""
        offer = self._offers.pop(packet.init_id, None)
        if offer is None:
            return
        tunnel, timer = offer
        timer.cancel()
        half = Half(self, packet.tunnel_id, 0)
        self._add(half)
        if half.lent:
            tunnel.accept(half)
        else:
            half.close("the relay has no room for more tunnels")

    def on_allow(self, packet: TunnelAllow) -> None:
        """The client grants room at one of its ends."""
        half = self._ends.get(packet.tunnel_id)
        if half is not None:
            half.allow_untrusted(packet.granted)

    def on_transfer(self, packet: TunnelTransfer) -> None:
        """The client sends a chunk into one of its ends."""
        half = self._ends.get(packet.tunnel_id)
        if half is not None and packet.tunnel_id not in self._asked:
            half.transfer_untrusted(packet.size, packet.chunk)

    def on_close(self, packet: ClientTunnelClose) -> None:
        """The client closes one of its ends, or gives up building it."""
        asked = self._asked.get(packet.tunnel_id)
        if asked is not None:
            asked.give_up()
            return
        half = self._ends.get(packet.tunnel_id)
        if half is not None:
            half.close(at_once=self._context.faults.close_overtakes)

    def pump(self) -> None:
        """The client reads again: send what waited for that."""
        for half in list(self._ends.values()):
            if self._session.congested:
                return
            half.pump()

    def close_all(self) -> None:
        """The connection is over: close the far ends, forget the near ones."""
        for tunnel in list(self._asked.values()):
            tunnel.give_up()
        for _, timer in self._offers.values():
            timer.cancel()
        self._offers.clear()
        for half in list(self._ends.values()):
            half.close("the connection of the other end was lost")
        self._ends.clear()

    def _add(self, half: Half) -> None:
        if half.id in self._ends:
            raise IrisProtocolError(f"tunnel id {half.id} is in use")
        if len(self) >= self._context.options.max_tunnels:
            raise IrisProtocolError(f"more than {len(self)} tunnels")
        self._ends[half.id] = half
        half.lent = self._context.tunnel_room.lend()

    def _unconfirmed(self, key: int) -> None:
        del self._offers[key]
        self._session.drop("tunnel not confirmed")
        self._context.end_turn()
