"""Presence: announces this node, and listens to the others; the directory of refs.

Drives `MemberTable` with the clock and broadcasts in the cluster `irismq.nodes`, which
every node joins. (Not a topic: between two real Iris nodes one event in ten is
lost, and a broadcast hardly ever.) Order at the start: join, announce this node
in full and ask all others to do the same, hear oneself (the way works), wait a
moment for the answers: settled. From then on the directory is *trusted* while
this node keeps hearing itself; when the relay is cut it stops being trusted, and
refs go by deadlines alone. When the relay is back all introduce each other again,
each with those of its memberships that stand again; asks wait for that (service_waiter.py).

Nothing is removed because this process was stopped for a while: time in which
the timer could not run is given to everybody.

What is to be said when this node is lost, its relay has from it: a last will. With keys
it is signed as all else, so it is left anew before its signature is too old. A node that
hears it of itself is alive, and says so.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import DecodeError, Overloaded, RuntimeFault
from irismq_runtime.messaging import PRESENCE_CLUSTER
from irismq_runtime.node.membership.announcements import (
    FORMAT,
    Announcement,
    announcement_fields,
    announcement_untrusted,
)
from irismq_runtime.node.membership.member_table import MemberTable
from irismq_runtime.node.membership.service_waiter import ServiceWaiter
from irismq_runtime.wire import Envelope, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, Events, TimerHandle
    from irismq_runtime.messaging import Packer
    from irismq_runtime.node.membership.member_table import Change
    from irismq_runtime.ports import (
        AddressTransport,
        InboundRequest,
        InboundTunnel,
        Member,
    )
    from irismq_runtime.refs import MemberInfo

__all__ = ["SETTLE", "SETTLE_AT_MOST", "Presence"]

_LOG = logging.getLogger("irismq.presence")

_LOST: Final = "its relay lost the connection to it"
#: After hearing oneself, how long the others have to introduce themselves.
SETTLE = 0.2
#: Memberships that are lost or stand again within so long are announced together.
TOGETHER = 0.01
#: When the topic stays silent, how long refs wait before they do without.
SETTLE_AT_MOST = 1.0


class Presence:
    """The directory of one node. Loop thread only, apart from reading.

    `period` seconds between announcements, `misses` of which may fail to come.
    """

    def __init__(
        self,
        packer: Packer,
        addresses: AddressTransport,
        *,
        name: str,
        clock: Clock,
        events: Events,
        period: float = 1.0,
        misses: int = 3,
    ) -> None:
        self._packer = packer
        self._signatures = packer.signature_memory()
        self._addresses = addresses
        self._name = name
        self._clock = clock
        self._events = events
        self._period = period
        self._misses = misses
        self._table = MemberTable(misses=misses)
        self._waiter = ServiceWaiter(
            self._table, self, clock, lambda: self._announce(full=False, want="*")
        )
        self._own: dict[tuple[str, str], None] = {}
        #: Memberships of this node that are cut off.
        self._away: dict[tuple[str, str], None] = {}
        self._version = 0
        self._announcing = False
        #: All nodes were to be asked to announce themselves, and it could not be sent.
        self._unasked = False
        self._asked: dict[str, float] = {}
        self._member: Member | None = None
        self._timer: TimerHandle | None = None
        self._due = 0.0
        #: When the last will is to be left anew, in monotonic seconds.
        self._will_due = float("-inf")
        self._settle_timer: TimerHandle | None = None
        self._waiting: list[Callable[[], None]] = []
        self._listeners: list[Callable[[Change], None]] = []
        self._heard_self = float("-inf")
        self.settling = True

    # The directory ------------------------------------------------------------

    @property
    def trusted(self) -> bool:
        """True while this node hears announcements, its own among them."""
        silence = self._clock.monotonic() - self._heard_self
        return not self.settling and silence < self._period * (self._misses + 0.5)

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` once settled, at once when it is already."""
        if self.settling:
            self._waiting.append(callback)
        else:
            callback()

    def when_known(self, address: str, callback: Callable[[], None]) -> None:
        """Call `callback` when `address` is confirmed, or nothing is to be waited for."""
        self._waiter.when_known(address, callback)

    def is_confirmed(self, cluster: str) -> bool:
        """Whether a member of `cluster` is known, and was heard since the relay was away."""
        return self._table.is_confirmed(cluster)

    def is_expected(self, cluster: str) -> bool:
        """Whether a member of `cluster` was known, and is yet to be heard again."""
        return self._table.is_expected(cluster)

    def serves(self, address: str) -> bool:
        """Whether anybody is known to serve `address`."""
        return self._table.serves(address)

    def members(self, address: str) -> tuple[MemberInfo, ...]:
        """Everybody known to serve `address`."""
        return self._table.members(address)

    def addresses(self) -> tuple[str, ...]:
        """Every address that somebody is known to serve."""
        return self._table.addresses()

    def knows_node(self, node_id: str) -> bool:
        """Whether the node is known to be up."""
        return self._table.knows(node_id)

    def nodes(self) -> dict[str, str]:
        """Id and name of every node known to be up."""
        return self._table.nodes()

    def goodbyes(self) -> dict[str, str]:
        """Why the nodes went that said goodbye, by id: "" as they were asked to."""
        return self._table.goodbyes()

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` for each member or node that comes or goes."""
        self._listeners.append(listener)

    # This node ----------------------------------------------------------------

    async def start(self) -> None:
        """Listen and announce. Raises `NotConnected` when the relay is away."""
        self._member = await self._addresses.join(PRESENCE_CLUSTER, self)
        self._addresses.on_back = self._sending_again
        self._waiter.connected()
        self._announce(full=True, want="*")
        self._leave_will(self._clock.monotonic())
        self._settle_timer = self._clock.call_later(SETTLE_AT_MOST, self._settled)
        self._plan()

    async def stop(self, why: str = "") -> None:
        """Say goodbye and stop listening. Idempotent. `why`: what made it end unasked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._publish(replace(self._said(full=False), state="bye", why=why))
        if self._settle_timer is not None:
            self._settle_timer.cancel()
        self._settled()
        self._addresses.on_back = None
        self._waiter.close()
        if self._member is not None:
            member, self._member = self._member, None
            await member.leave(0.0)

    def bind(self, address: str, urn: str) -> None:
        """This node serves `address` with the actor `urn`."""
        self._own[address, urn] = None
        self._changed()

    def unbind(self, address: str, urn: str) -> None:
        """It does so no more."""
        self._away.pop((address, urn), None)
        if self._own.pop((address, urn), False) is None:
            self._changed()

    def standing(self, cluster: str, urn: str) -> Callable[[bool], None]:
        """Return what takes whether a membership of this node stands, when that changes."""

        def stands(yes: bool) -> None:
            if yes is not ((cluster, urn) in self._away):
                return  # as it is, or for the first time, which `bind` tells
            if yes:
                del self._away[cluster, urn]
            else:
                self._away[cluster, urn] = None
            self._version += 1
            self._announce_soon(TOGETHER)

        return stands

    def _changed(self) -> None:
        """Know it here at once; the others hear of it in the next turn of the loop."""
        self._version += 1
        self._take(self._said(full=True))
        self._announce_soon()

    def _announce_soon(self, delay: float = 0.0) -> None:
        if not self._announcing and self._timer is not None:
            self._announcing = True
            self._clock.call_later(delay, self._announce_change)

    def _announce_change(self) -> None:
        self._announcing = False
        if self._timer is not None:
            self._take(self._said(full=True))
            self._announce(full=True, want="*" if self._unasked else "")

    def _announce(self, *, full: bool, want: str = "") -> None:
        self._publish(self._said(full=full, want=want))

    def _said(self, *, full: bool, want: str = "") -> Announcement:
        return Announcement(
            self._packer.node_id,
            self._name,
            "up",
            self._version,
            self._period,
            serves=tuple(self._own) if full else None,
            want=want,
            away=tuple(self._away) if full else (),
        )

    def _packed(self, said: Announcement) -> bytes:
        _, data, _ = self._packer.new(
            Kind.PRESENCE, announcement_fields(said), {}, None, "broadcast", PRESENCE_CLUSTER
        )
        return data

    def _leave_will(self, now: float) -> None:
        if now >= self._will_due:
            self._will_due = now + self._packer.good_for / 3
            will = replace(self._said(full=False), state="lost", why=_LOST, format=FORMAT)
            self._addresses.leave_will(PRESENCE_CLUSTER, self._packed(will))

    def _publish(self, said: Announcement) -> None:
        data = self._packed(said)
        try:
            self._addresses.broadcast(PRESENCE_CLUSTER, data)
        except (RuntimeFault, Overloaded) as error:
            # Not being heard shows by itself: nobody hears us, and we do not either.
            _LOG.debug("Presence was not announced: %s", error)
            self._unasked |= said.want == "*"
        else:
            self._unasked &= said.want != "*"

    # Time ---------------------------------------------------------------------

    def _plan(self) -> None:
        self._due = self._clock.monotonic() + self._period
        self._timer = self._clock.call_later(self._period, self._beat)

    def _beat(self) -> None:
        now = self._clock.monotonic()
        late = now - self._due
        if late > self._period / 2:
            self._table.extend(late)
            self._heard_self += late
        for change in self._table.expire(now):
            self._tell(change)
        self._waiter.table_changed()
        self._leave_will(now)
        self._announce(full=False)
        self._plan()

    def _settled(self) -> None:
        self.settling = False
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        self._waiter.search_over()

    # The others ---------------------------------------------------------------

    def on_broadcast(self, body: bytes) -> None:
        """Take an announcement; what is none is ignored."""
        try:
            said = self._read_untrusted(body)
        except DecodeError as error:
            _LOG.debug("An announcement was not understood: %s", error)
        else:
            self._heard(said)

    def on_request(self, request: InboundRequest) -> None:
        """Nobody is asked here."""
        request.fail("announcements are broadcast; there is nothing to ask")

    def on_tunnel(self, tunnel: InboundTunnel) -> None:
        """Take none: the transport declines it."""

    def on_lost(self, reason: str) -> None:  # noqa: ARG002  # the port's signature
        """The relay is away, and with it what is known of who is there."""
        self._waiter.disconnected()

    def on_joined(self) -> None:
        """The relay is back: introduce each other again."""
        if self._timer is not None:
            self._waiter.reconnected()
            self._announce(full=True, want="*")

    def _sending_again(self) -> None:
        """Requests, and so announcements, can be sent again."""
        self._waiter.can_send()
        self._announce_soon()

    def _read_untrusted(self, data: bytes) -> Announcement:
        envelope = self._packer.open_untrusted(
            data, "broadcast", PRESENCE_CLUSTER, self._signatures
        )
        if not isinstance(envelope, Envelope) or envelope.kind != Kind.PRESENCE:
            raise DecodeError("not an announcement")
        return announcement_untrusted(self._packer.load_untrusted(envelope))

    def _heard(self, said: Announcement) -> None:
        now = self._clock.monotonic()
        own = self._packer.node_id
        if said.node == own:
            self._heard_ourselves(now)
            if said.state == "lost":
                self._announce(full=True)
                return
        incomplete = self._take(said)
        if incomplete and now - self._asked.get(said.node, float("-inf")) >= self._period:
            self._asked[said.node] = now
            self._announce(full=False, want=said.node)
        if said.want == own or (said.want == "*" and said.node != own):
            self._announce(full=True)

    def _take(self, said: Announcement) -> bool:
        """Put it in the table, tell what is new; whether the list must be asked for."""
        changes, incomplete = self._table.take(said, self._clock.monotonic())
        for change in changes:
            self._tell(change)
        self._waiter.table_changed()
        return incomplete

    def _heard_ourselves(self, now: float) -> None:
        first = self._heard_self == float("-inf")
        self._heard_self = now
        if first and self.settling and self._settle_timer is not None:
            self._settle_timer.cancel()
            self._settle_timer = self._clock.call_later(SETTLE, self._settled)

    def _tell(self, change: Change) -> None:
        if change.kind == "gone":
            self._asked.pop(change.node, None)
        if self._events.active:
            if change.member is None:
                self._events.emit("presence.gone", node=change.node, why=change.why)
            else:
                self._events.emit(
                    f"presence.{change.kind}",
                    node=change.node,
                    address=change.member.address,
                    urn=change.member.urn,
                )
        for listener in self._listeners:
            listener(change)
