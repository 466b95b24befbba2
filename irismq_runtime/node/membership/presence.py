"""Presence: announces this node, and listens to the others; the directory of refs.

Drives `MemberTable` with the clock and with broadcasts in the cluster `irismq.nodes`, which
every node joins. (Not a topic: between two real Iris nodes one event in ten is
lost, and a broadcast hardly ever.) What this node says itself is the announcer's. Order
at the start: join, introduce this node and ask all others to do the same, hear oneself
(the way works), wait a moment for the answers, and for as many as they say there are:
settled. From then on the directory is *trusted* while this node keeps hearing itself;
when the relay is cut it stops being trusted, and refs go by deadlines alone. When the
relay is back all introduce each other again, each with those of its memberships that
stand again; asks wait for that (service_waiter.py). That nobody serves an address is only
certain while every list is known (catching_up.py).

Nothing is removed because this process was stopped for a while: time in which
the timer could not run is given to everybody.

What is to be said when this node is lost, its relay has from it: a last will. With keys
it is signed as all else, so it is left anew before its signature is too old, and after each
reconnect: what was said once is no news when it is said again. A node that hears it of
itself is alive, and says so.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from actors.chance import default_random
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import NODE_TARGET, PRESENCE_CLUSTER, private_cluster
from irismq_runtime.node.membership.announcements import (
    EVERYBODY,
    announcement_in_bytes_untrusted,
    announcement_untrusted,
)
from irismq_runtime.node.membership.announcer import TOGETHER, Announcer
from irismq_runtime.node.membership.cadence import silence_of
from irismq_runtime.node.membership.catching_up import CatchingUp
from irismq_runtime.node.membership.member_table import MEMORY, MemberTable
from irismq_runtime.node.membership.service_waiter import ServiceWaiter
from irismq_runtime.node.membership.settling import Settling
from irismq_runtime.recent import Recent
from irismq_runtime.wire import Envelope, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors import Clock, Events, TimerHandle
    from irismq_runtime.messaging import Packer, ServedRequest
    from irismq_runtime.node.membership.announcements import Announcement
    from irismq_runtime.node.membership.member_table import Change
    from irismq_runtime.ports import (
        AddressTransport,
        InboundRequest,
        InboundTunnel,
        Member,
    )
    from irismq_runtime.refs import MemberInfo

__all__ = ["Presence"]

_LOG = logging.getLogger("irismq.presence")

#: A beat comes after at least so much of its time: nodes do not speak in chorus.
_EARLIEST: Final = 0.9
#: Seconds by which a timer may be early.
_SOON: Final = 0.005
#: Seconds between two looks for those who are silent; half a period if that is less.
_LOOK: Final = 0.5
#: A beat is said again and again in the same words: so many announcements, of so many bytes,
#: are known again by their bytes and not read anew.
_SHORT: Final = 256
_REPEATED: Final = 4096
#: An announcement that was signed so many seconds ago, or more, is old.
_NEWS: Final = 3.0
#: Seconds between two lines in the log that there is no room for what is announced.
_REMINDER: Final = 60.0


class Presence:
    """The directory of one node. Loop thread only, apart from reading.

    Args:
        packer: Puts announcements into envelopes, and reads them.
        addresses: Carries them.
        name: The name of the node.
        clock: For beats and their absence.
        events: Hears who comes and goes.
        period: Seconds between announcements, where there are few nodes.
        misses: Announcements in a row that may fail to come.
        own_relay: The relay is of this process: when it is lost, nobody tells of it.
        rng: Draws the moments of beats and answers.
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
        own_relay: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or default_random()
        own = packer.node_id
        self._packer = packer
        self._signatures = packer.signature_memory()
        self._addresses = addresses
        self._name = name
        self._clock = clock
        self._events = events
        self._rng = rng
        self._misses = misses
        self._table = MemberTable(misses=misses, own=own)
        self._announcer = Announcer(
            packer, addresses, clock, rng, name=name, nodes=self._known,
            period=period, misses=misses, own_relay=own_relay,
        )  # fmt: skip
        self._waiter = ServiceWaiter(self._table, self, clock, self._seek)
        self._settling = Settling(clock, self._known, self._waiter.search_over)
        self._catching_up = CatchingUp(
            packer,
            addresses,
            clock,
            rng,
            self._table,
            take=self._take_reply,
            beg=self._announcer.ask_released,
        )
        self._node_pair = (private_cluster(own), NODE_TARGET)
        self._member: Member | None = None
        self._timer: TimerHandle | None = None
        self._look_timer: TimerHandle | None = None
        self._look_due = 0.0
        #: When the last will is to be left anew, in monotonic seconds.
        self._will_due = float("-inf")
        self._listeners: list[Callable[[Change], None]] = []
        #: What was read lately, by its bytes.
        self._read: Recent[bytes, Announcement] = Recent(_REPEATED)
        self._heard_self = float("-inf")
        self._refused = 0
        self._reminded = float("-inf")

    # The directory ------------------------------------------------------------

    @property
    def settling(self) -> bool:
        """True shortly after the start, while other nodes still introduce themselves."""
        return self._settling.lasts

    @property
    def trusted(self) -> bool:
        """True while this node hears announcements, its own among them."""
        silence = self._clock.monotonic() - self._heard_self
        return not self.settling and silence < silence_of(self._announcer.period, self._misses)

    @property
    def whole(self) -> bool:
        """Whether the list of every node that was heard of is known to its last version."""
        return self._table.whole

    def nobody_serves(self, address: str) -> bool:
        """Whether it is certain that nobody serves `address`."""
        return self.trusted and self._table.whole and not self._table.serves(address)

    def complaint(self) -> str:
        """What is wrong with presence; "" for nothing."""
        if not (self.trusted or self.settling):
            return "this node does not hear its own announcements"
        return self._announcer.unannounced()

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` once settled, at once when it is already."""
        self._settling.when_over(callback)

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
        self._announcer.open()
        self._leave_will(self._clock.monotonic())
        self._settling.start()
        self._plan()
        self._plan_look()

    async def stop(self, why: str = "") -> None:
        """Say goodbye and stop listening. Idempotent. `why`: what made it end unasked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        self._announcer.close(why)
        self._catching_up.close()
        self._settling.end()
        self._addresses.on_back = None
        self._waiter.close()
        if self._member is not None:
            member, self._member = self._member, None
            await member.leave(0.0)

    def bind(self, address: str, urn: str) -> None:
        """This node serves `address` with the actor `urn`. It is known here at once."""
        pair = (address, urn)
        self._announcer.own.bind(pair)
        if self._announcer.own.is_away(pair):
            self._own_change(away=(pair,))
        else:
            self._own_change(add=(pair,))
        self._announcer.changed()

    def unbind(self, address: str, urn: str) -> None:
        """It does so no more."""
        pair = (address, urn)
        if self._announcer.own.unbind(pair):
            self._own_change(drop=(pair,))
            self._announcer.changed()

    def standing(self, cluster: str, urn: str) -> Callable[[bool], None]:
        """Return what takes whether a membership of this node stands, when that changes."""
        pair = (cluster, urn)

        def stands(yes: bool) -> None:
            if not self._announcer.own.stands(pair, yes=yes):
                return  # as it is, or for the first time, which `bind` tells
            if pair != self._node_pair:
                if self._announcer.own.is_served(pair):
                    self._own_change(**{"add" if yes else "away": (pair,)})
                self._announcer.changed(TOGETHER)
            elif yes:
                self._own_change(add=(pair,))
                self._announcer.reached()
            else:
                self._own_change(away=(pair,))
                self._announcer.unasked = True  # what is answered meanwhile is lost
                self._announcer.changed(TOGETHER)

        return stands

    def changes_since(self, request: ServedRequest) -> dict[str, object]:
        """What another node asks for that is behind."""
        return self._announcer.changes_since(request.since)

    def _own_change(self, **pairs: tuple[tuple[str, str], ...]) -> None:
        for change in self._table.own_change(self._name, **pairs):
            self._tell(change)
        self._waiter.table_changed()

    def _known(self) -> int:
        return max(len(self._table), 1)

    def _seek(self) -> None:
        """Who serves what is waited for, and is not known?"""
        sought = self._waiter.sought()
        if len(self._table) <= 1 or not sought:
            self._announcer.introduce()
        else:
            self._announcer.seek(sought, released=self._table.has_released())

    # Time ---------------------------------------------------------------------

    def _plan(self) -> None:
        """Look again when a beat will be due, if nothing else is said meanwhile."""
        within = self._announcer.silent_for() * self._rng.uniform(_EARLIEST, 1.0)
        due = self._announcer.spoke_at + within
        self._timer = self._clock.call_later(max(due - self._clock.monotonic(), 0.0), self._beat)

    def _beat(self) -> None:
        """Say a beat, if it is due by the number of nodes that there is now."""
        silent = self._clock.monotonic() - self._announcer.spoke_at
        if silent >= self._announcer.silent_for() * _EARLIEST - _SOON:
            self._announcer.beat()
        self._plan()

    def _plan_look(self) -> None:
        delay = min(_LOOK, self._announcer.period / 2)
        self._look_due = self._clock.monotonic() + delay
        self._look_timer = self._clock.call_later(delay, self._look)

    def _look(self) -> None:
        """Who has been silent for too long?"""
        now = self._clock.monotonic()
        late = now - self._look_due
        if late > min(_LOOK, self._announcer.period / 2):
            self._table.extend(late)
            self._heard_self += late
        changes = self._table.expire(now)
        for change in changes:
            self._tell(change)
        if changes:
            self._waiter.table_changed()
        self._leave_will(now)
        self._plan_look()

    def _leave_will(self, now: float) -> None:
        if now >= self._will_due:
            self._will_due = now + self._packer.good_for / 3
            self._addresses.leave_will(PRESENCE_CLUSTER, self._announcer.last_will())

    # The others ---------------------------------------------------------------

    def on_broadcast(self, body: bytes) -> None:
        """Take an announcement; what is none is ignored."""
        try:
            envelope = self._opened_untrusted(body)
            said = self._said_untrusted(envelope)
        except DecodeError as error:
            _LOG.debug("An announcement was not understood: %s", error)
            return
        if not self._table.beats(said, self._clock.monotonic()):
            self._heard(said, old=self._is_old(envelope))

    def on_request(self, request: InboundRequest) -> None:
        """Nobody is asked here."""
        request.fail("announcements are broadcast; there is nothing to ask")

    def on_tunnel(self, tunnel: InboundTunnel) -> None:
        """Take none: the transport declines it."""

    def on_lost(self, reason: str) -> None:  # noqa: ARG002  # the port's signature
        """The relay is away, and with it what is known of who is there."""
        self._announcer.listening = False
        self._waiter.disconnected()

    def on_joined(self) -> None:
        """The relay is back: introduce each other again."""
        if self._timer is not None:
            self._waiter.reconnected()
            self._announcer.returned()

    def _sending_again(self) -> None:
        """Requests, and so announcements, can be sent again."""
        self._waiter.can_send()
        self._will_due = float("-inf")  # the one before may have been said: it is worth nothing
        self._announcer.sending_again()

    def _opened_untrusted(self, data: bytes) -> Envelope:
        envelope = self._packer.open_untrusted(
            data, "broadcast", PRESENCE_CLUSTER, self._signatures
        )
        if not isinstance(envelope, Envelope) or envelope.kind != Kind.PRESENCE:
            raise DecodeError("not an announcement")
        return envelope

    def _said_untrusted(self, envelope: Envelope) -> Announcement:
        body = envelope.body
        if envelope.type or len(body) > _SHORT or envelope.headers.get("c"):
            return announcement_untrusted(self._packer.load_untrusted(envelope))
        said = self._read.get(body)
        if said is None:
            said = announcement_in_bytes_untrusted(body)
            if said is None:
                said = announcement_untrusted(self._packer.load_untrusted(envelope))
            if said.is_beat:
                self._read.put(body, said)
        return said

    def take_answer_untrusted(self, envelope: Envelope) -> None:
        """Take an announcement that came to this node alone. Raises `DecodeError`."""
        self._heard(self._said_untrusted(envelope), old=self._is_old(envelope))

    def _is_old(self, envelope: Envelope) -> bool:
        """Whether it may be a record of what somebody said once who is gone."""
        return self._packer.signed_ago(envelope) > _NEWS

    def _heard(self, said: Announcement, *, old: bool = False) -> None:
        if said.node == self._packer.node_id:
            self._heard_ourselves(said)
            return
        if said.nodes:
            self._settling.claimed(said.nodes)
        if self._take(said, old=old):
            self._catching_up.behind(said.node)
        if said.seek:
            if said.format > 1:
                self._announcer.answer_sought(said.node, said.seek)
        elif said.want == EVERYBODY and said.format > 1:
            self._announcer.asked(said.node)
        elif said.want in {EVERYBODY, self._packer.node_id}:
            self._announcer.asked_by_released()

    def _take(self, said: Announcement, *, reply: bool = False, old: bool = False) -> bool:
        """Put it in the table, tell what is new; whether its node is behind."""
        changes, behind = self._table.take(said, self._clock.monotonic(), reply=reply, old=old)
        for change in changes:
            self._tell(change)
        if self._table.refused > self._refused:
            self._say_no_room()
        self._waiter.table_changed()
        return behind

    def _take_reply(self, said: Announcement) -> None:
        self._take(said, reply=True)

    def _heard_ourselves(self, said: Announcement) -> None:
        if said.state != "up":
            if said.state == "lost" and self._timer is not None:
                self._announcer.contradict()  # the relay was wrong, or somebody else said it
            return
        self._heard_self = self._clock.monotonic()
        self._take(said)
        self._settling.heard_self()

    def _say_no_room(self) -> None:
        now = self._clock.monotonic()
        if now >= self._reminded + _REMINDER:
            _LOG.warning(
                "%d announcements had no room in the %d bytes for nodes and addresses: if so "
                "many are not yours, set keys",
                self._table.refused - self._refused,
                MEMORY,
            )
            self._reminded = now
            self._refused = self._table.refused

    def _tell(self, change: Change) -> None:
        if change.kind == "gone":
            self._catching_up.gone(change.node)
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
