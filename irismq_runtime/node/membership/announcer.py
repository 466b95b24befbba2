"""What this node says to the others: introductions, changes, beats, answers, its goodbye.

It puts them in words, in messages that the relay carries, and sends them; what cannot be
sent while the relay is away waits where it can be told later: changes in `own`, an
introduction in `owed`. Which node is there and what follows from that, it does not know.

Order: changes go out in the turn after they were made; before an introduction all changes
have gone. Whoever asks is answered after a random time, together with those who asked
meanwhile (cadence.py). Loop thread only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal

from actors.errors import Overloaded
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.messaging import NODE_TARGET, PRESENCE_CLUSTER, private_cluster
from irismq_runtime.node.membership.announcements import (
    EVERYBODY,
    FORMAT,
    MOST_SOUGHT,
    Announcement,
    announcement_fields,
)
from irismq_runtime.node.membership.cadence import (
    FIRST_PERIODS,
    LONGEST_PERIOD,
    Asked,
    Pace,
    SaidPeriods,
    gathering,
    period_of,
)
from irismq_runtime.node.membership.own_addresses import OwnAddresses, size_of
from irismq_runtime.wire import DEFAULT_LIMITS, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors import Clock, TimerHandle
    from irismq_runtime.messaging import Packer
    from irismq_runtime.node.membership.announcements import Pair
    from irismq_runtime.ports import AddressTransport

__all__ = ["Announcer"]

_LOG = logging.getLogger("irismq.presence")

#: Memberships that are lost or stand again within so long are announced together;
TOGETHER: Final = 0.01
#: with an introduction, if that of the node itself is not back yet.
RETURN: Final = 0.1
#: Bytes of pairs in one message of changes, at most: far below what any relay carries.
STEP: Final = 32 * 1024
#: A list of so many bytes at most is told with an introduction; a longer one is asked for.
INLINE: Final = 2048
#: Bytes for what a message has besides its pairs, beyond those of a beat.
_KEYS: Final = 128
#: Containers that a list may have, of what an envelope may.
_MOST_PAIRS: Final = DEFAULT_LIMITS.items // 4
#: Announcements of changes, and answers, in each so many seconds.
_BURST: Final = 16
_WITHIN: Final = 0.1
#: Whole lists in each second, whoever asks: one may have a mebibyte, and all hear it.
_WHOLE: Final = 4
#: What the relay says for a node in its last will.
_LOST: Final = "its relay lost the connection to it"


class Announcer:
    """The voice of one node.

    Args:
        packer: Puts announcements into envelopes, signed where there are keys.
        addresses: Carries them.
        clock: For answers and changes, which are gathered for a while.
        rng: Draws when questions are answered.
        name: The name of the node.
        period: Seconds between two beats, where there are few nodes.
        nodes: How many nodes are known, this one included.
        misses: Announcements in a row that may fail to come.
        own_relay: The relay is of this process, and dies with it.

    Attributes:
        own: What this node serves.
        listening: Whether the node hears what is announced to all.
        owed: It has to introduce itself, as soon as it can.
        unasked: The others have to be asked to do so, once the node is in its own cluster.
        spoke_at: When all could hear it last, on the clock: as good as a beat.
        period: Seconds from then to the next beat at most, as all announcements say. It
            follows the number of nodes with a beat alone: whoever heard an announcement
            must not wait for longer than it said.
    """

    def __init__(
        self,
        packer: Packer,
        addresses: AddressTransport,
        clock: Clock,
        rng: random.Random,
        *,
        name: str,
        period: float,
        nodes: Callable[[], int],
        misses: int = 3,
        own_relay: bool = False,
    ) -> None:
        self._packer = packer
        self._addresses = addresses
        self._clock = clock
        self._rng = rng
        self._name = name
        self._configured = period
        self._nodes = nodes
        self._own_relay = own_relay
        self._periods = SaidPeriods(misses)
        self._own_pair = (private_cluster(packer.node_id), NODE_TARGET)
        self._open = False
        #: When the node came, or came back.
        self._came_at = float("-inf")
        self._asked = Asked()
        self._seekers = Asked()
        #: What is to be said soon: when, when at the earliest, and the timer.
        self._planned: dict[str, tuple[float, float, TimerHandle]] = {}
        self._paces = {
            what: Pace(_BURST, _WITHIN)
            for what in ("changes", "answers", "found", "contradictions")
        } | {"whole": Pace(_WHOLE, 1.0)}
        self._beat_size = 0
        self.own = OwnAddresses()
        self.listening = False
        self.owed = False
        self.unasked = False
        self.spoke_at = clock.monotonic()
        self.period = period

    def open(self) -> None:
        """Speak from now on. What was bound before is told first."""
        self._open = self.listening = True
        self._came_at = self._clock.monotonic()
        if self._leaves_will():
            first = min(FIRST_PERIODS * self._configured, LONGEST_PERIOD)
            self.period = max(first, self._configured)
        self.introduce()

    def close(self, why: str) -> None:
        """Say goodbye, and nothing more. Idempotent. `why`: what made the node end unasked."""
        if self._open:
            self._open = False
            for _, _, timer in self._planned.values():
                timer.cancel()
            self._send(self._said("bye", why=why))

    # Words ------------------------------------------------------------------------

    def beat(self) -> None:
        """Say that the node is there, and what could not be said before.

        What cannot be sent is no reason to speak again before the next beat.
        """
        self.spoke_at = self._clock.monotonic()
        self.period = self._period_now()
        if self.owed and self.listening:
            self.introduce()
        else:
            self._tell_changes()
            self._send(self._said())

    def silent_for(self) -> float:
        """Seconds without a word of this node after which a beat is due, by now."""
        return min(self._periods.shortest(), self._period_now())

    def _period_now(self) -> float:
        return period_of(self._configured, self._nodes(), will=self._leaves_will())

    def _leaves_will(self) -> bool:
        """Whether a relay tells the others when this process is lost."""
        return self._addresses.holds_will and not self._own_relay

    def introduce(self) -> None:
        """Say that the node is there, what it serves, and ask the others to do the same.

        They are asked once they can answer: while the node is not in its own cluster it
        only says that it is there.
        """
        self._tell_changes()
        reached = not self.own.is_away(self._own_pair)
        sent = self._send(self._introduction(want=EVERYBODY if reached else ""))
        self.owed, self.unasked = not sent, not (sent and reached)

    def contradict(self) -> None:
        """The others were told that this node is lost: tell them soon what it serves."""
        self._plan("contradictions", 0.0, self._contradict)

    def _contradict(self) -> None:
        self._tell_changes()
        if not self._send(self._introduction()):
            self.owed = True

    def returned(self) -> None:
        """What is announced is heard again: introduce the node, together with what it lacks."""
        self.listening = self.owed = True
        self._came_at = self._clock.monotonic()
        self.sending_again()

    def sending_again(self) -> None:
        """What is said is carried again: tell what waits, soon."""
        self.changed(RETURN if self.own.is_away(self._own_pair) else 0.0)

    def reached(self) -> None:
        """The node is in its own cluster again: the others can answer it."""
        self.owed = self.owed or self.unasked
        self.changed()

    def changed(self, delay: float = 0.0) -> None:
        """Something has changed in `own`: tell it, `delay` seconds from now at the earliest."""
        self._plan("changes", delay, self._speak)

    def asked(self, node: str) -> None:
        """`node` asks for an introduction, and hears it in its private cluster."""
        nodes = self._nodes()
        self._asked.add(node, nodes)
        if "answers" not in self._planned:
            between = gathering(nodes, self._clock.monotonic() - self._came_at)
            self._plan("answers", self._rng.uniform(*between), self._answer)

    def asked_by_released(self) -> None:
        """A node of the released protocol asks for the list; it hears only what all hear."""
        self._plan("whole", 0.0, self._tell_whole)

    def seek(self, addresses: tuple[str, ...], *, released: bool) -> None:
        """Ask who serves one of `addresses`. `released`: nodes of that protocol as well."""
        want = EVERYBODY if released else ""
        while addresses:
            part = self._sought(addresses)
            if not part:
                return
            self._send(self._said(seek=part, want=want))
            addresses = addresses[len(part) :]

    def _sought(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        fit = _fitting(tuple((each, "") for each in addresses[:MOST_SOUGHT]), self._room(STEP))
        return addresses[: len(fit)]

    def answer_sought(self, node: str, addresses: tuple[str, ...]) -> None:
        """Tell `node` soon which of `addresses` this one serves, if any."""
        own = self._own_pair[0]
        here = [each for each in addresses if each == own or self.own.serves_at(each)]
        if here:
            self._seekers.add(node, self._nodes(), here)
            self._plan("found", 0.0, self._answer_sought)

    def _answer_sought(self) -> None:
        """Changes go first: what was sought is known by the version that the answer names."""
        self._tell_changes()
        answers = self._seekers.take()
        if answers.everybody is not None:
            self._found(answers.everybody)
        for node, addresses in answers.nodes.items():
            self._found(addresses, node)

    def _found(self, addresses: tuple[str, ...], node: str = "") -> None:
        """One pair of each address; of the others as many as the last message holds.

        So an answer is not much longer than its question, and its version tells of the rest.
        """
        first, others = self.own.at(addresses)
        if not first:
            self._send(self._said(), node)  # it was this node itself that was sought
        away, room = set(self.own.away()), self._room(STEP) // 2
        while first:
            part = _fitting(first, room)
            if not part:
                return
            first = first[len(part) :]
            if not first:
                part += _fitting(others, room - sum(map(size_of, part)))
            cut_off = tuple(pair for pair in part if pair in away)
            self._send(self._said(has=part, away=cut_off), node)

    def ask_released(self, node: str) -> None:
        """Ask `node`, which speaks the released protocol, for its list."""
        self._send(self._said(want=node))

    def changes_since(self, version: int) -> dict[str, object]:
        """The answer to `ServedRequest`: the first changes after `version`."""
        step = self.own.since(version, self._room(STEP))
        said = self._said(
            version=step.version,
            since=step.since,
            add=step.add,
            drop=step.drop,
            away=step.away,
            last=self.own.version if step.version != self.own.version else 0,
        )
        return announcement_fields(said)

    def last_will(self) -> bytes:
        """What a relay may say for this node when it has lost all connections to it.

        Signed now, where there are keys: it is worth something for `signature_window`.
        """
        return self._pack(self._said("lost", why=_LOST), PRESENCE_CLUSTER)

    def unannounced(self) -> str:
        """Why some of the addresses cannot be announced; "" if all can."""
        if not self.own.too_large:
            return ""
        (address, _), size = next(iter(self.own.too_large.items()))
        shown = address if len(address) <= 60 else f"{address[:60]}..."
        room = max(self._room(STEP), 0)
        return (
            f"{len(self.own.too_large)} addresses cannot be announced: {shown!r} takes {size:,} "
            f"bytes, and a message has {room:,} for it: give it a shorter name, or let the relay "
            f"(max_payload of NATS) carry more than {self._addresses.max_body:,}"
        )

    # Inside: what is said -----------------------------------------------------------

    def _said(self, state: Literal["up", "bye", "lost"] = "up", **more: Any) -> Announcement:
        version = more.pop("version", self.own.version)
        node = self._packer.node_id
        return Announcement(node, self._name, state, version, self.period, format=FORMAT, **more)

    def _introduction(self, **more: Any) -> Announcement:
        own = self.own
        if own.size <= min(INLINE, self._room(INLINE)):
            return self._said(serves=own.serves(), away=own.away(), **more)
        return self._said(**more)

    def whole(self) -> Announcement:
        """The whole list, or as much of it as one message carries."""
        own, room = self.own, self._room(DEFAULT_LIMITS.size)
        if own.size <= room and len(own) <= _MOST_PAIRS:
            return self._said(serves=own.serves(), away=own.away())
        return self._said(serves=_fitting(own.serves(), room), cut=True)

    # Inside: when ---------------------------------------------------------------------

    def _plan(self, what: str, delay: float, then: Callable[[], None]) -> None:
        if not self._open:
            return
        now = self._clock.monotonic()
        planned = self._planned.get(what)
        if planned is None:
            earliest = now + self._paces[what].delay(now)
            due = max(now + delay, earliest)
        else:
            before, earliest, timer = planned
            due = max(now + delay, earliest)
            if before <= due:
                return
            timer.cancel()
        timer = self._clock.call_later(due - now, self._due, what, then)
        self._planned[what] = (due, earliest, timer)

    def _due(self, what: str, then: Callable[[], None]) -> None:
        del self._planned[what]
        then()

    def _speak(self) -> None:
        if self.owed and self.listening:
            self.introduce()
        else:
            self._tell_changes()

    def _tell_changes(self) -> None:
        if not self._open:
            return
        while (step := self.own.next_step(self._room(STEP))) is not None:
            said = self._said(
                version=step.version, since=step.since, add=step.add, drop=step.drop, away=step.away
            )
            if not self._send(said):
                return
            self.own.commit(step)

    def _answer(self) -> None:
        self._tell_changes()
        answers = self._asked.take()
        said = self._introduction(nodes=self._nodes())
        if answers.everybody is not None:
            self._send(said)
        for node in answers.nodes:
            self._send(said, node)

    def _tell_whole(self) -> None:
        self._tell_changes()
        self._send(self.whole())

    # Inside: sending --------------------------------------------------------------------

    def _room(self, most: int) -> int:
        """Bytes of pairs that a message carries, `most` at most."""
        if not self._beat_size:
            self._beat_size = len(self._pack(self._said(), PRESENCE_CLUSTER))
        carried = min(self._addresses.max_body, DEFAULT_LIMITS.size)
        return min(most, carried - self._beat_size - _KEYS)

    def _pack(self, said: Announcement, cluster: str) -> bytes:
        fields = announcement_fields(said)
        return self._packer.new(Kind.PRESENCE, fields, {}, None, "broadcast", cluster)[1]

    def _send(self, said: Announcement, node: str = "") -> bool:
        """To everybody, or to `node`; whether it was sent."""
        cluster = private_cluster(node) if node else PRESENCE_CLUSTER
        try:
            self._addresses.broadcast(cluster, self._pack(said, cluster))
        except (RuntimeFault, Overloaded) as error:
            # Not being heard shows by itself: nobody hears us, and we do not either.
            _LOG.debug("Presence was not announced: %s", error)
            return False
        if not node:
            self.spoke_at = self._clock.monotonic()
            self._periods.note(said.period)
        return True


def _fitting(pairs: tuple[Pair, ...], room: int) -> tuple[Pair, ...]:
    """The first of `pairs`, as many as have room."""
    for count, pair in enumerate(pairs[:_MOST_PAIRS]):
        room -= size_of(pair)
        if room < 0:
            return pairs[:count]
    return pairs[:_MOST_PAIRS]
