"""What must hold in every run: the books that are kept of what nodes tell.

Each invariant is a class of its own. It hears the events of all nodes, across their lives:
what a killed process knew is gone, what it had promised is not. It says what is wrong as
soon as it sees it, and what is owed still. It sees events and the time; no node, no server,
no network.

What is no fault of a run is no complaint: a node that stood still cannot keep a time, one
that was cut off cannot know that its lease is over, and one that was killed owes nothing
to those that died with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from actors import Event

__all__ = [
    "AskEndsInTime",
    "Complaint",
    "ConfirmedIsHandled",
    "FinishedWasHandled",
    "HandledOnceByOne",
    "Invariant",
    "Life",
    "ReceiptEndsInTime",
    "usual_invariants",
]

#: Seconds by which an end may be late: timers are looked at in steps, and a loop has turns.
GRACE: Final = 1.0


class Life(NamedTuple):
    """One process, from its start to its end.

    Attributes:
        host: The machine that it runs on.
        number: Which process of that machine it is, from 1.
    """

    host: str
    number: int

    def __str__(self) -> str:
        """As a report names it: "b", and from its second life on "b (life 2)"."""
        return self.host if self.number == 1 else f"{self.host} (life {self.number})"


class Complaint(NamedTuple):
    """What is wrong.

    Attributes:
        text: For a person.
        about: The id of the message that it is about; empty: it is about none.
    """

    text: str
    about: str = ""


class Invariant:
    """Keeps books on one thing that must hold. The base: nothing is ever wrong.

    Attributes:
        holds: What must hold, as a sentence.
        hears: The names of the events that it hears.
    """

    holds: ClassVar[str] = ""
    hears: ClassVar[frozenset[str]] = frozenset()

    def saw(self, life: Life, event: Event, now: float) -> Complaint | None:
        """Take an event that a node told; what is wrong, if anything."""

    def died(self, life: Life, now: float) -> None:
        """A process ended, in whatever way."""

    def looked(self, now: float) -> Complaint | None:
        """What is wrong at this moment, if anything. Called every second of virtual time."""

    def lost(self, held: Container[str]) -> Complaint | None:
        """What is nowhere any more; `held`: the ids of all that brokers hold."""

    def owed(self, since: float, later: Container[str]) -> str:
        """What began before `since` and has not ended; `later`: ids of what is not due soon."""
        del since, later
        return ""


class ConfirmedIsHandled(Invariant):
    """Follows each tell from its confirmation to its end."""

    holds = "every confirmed message is handled, or waits, or is a dead letter"
    hears = frozenset(
        {
            "node.bound",
            "tell.encoded",
            "publisher.confirmed",
            "handler.returned",
            "settlement.finished",
            "settlement.buried",
        }
    )

    def __init__(self) -> None:
        self._served: set[str] = set()
        self._addresses: dict[str, str] = {}
        self._confirmed: dict[str, tuple[float, str]] = {}
        self._ended: set[str] = set()

    def saw(self, life: Life, event: Event, now: float) -> Complaint | None:
        """See the base."""
        del life
        fields = event.fields
        match event.name:
            case "node.bound":
                self._served.add(fields["address"])
            case "tell.encoded":
                self._addresses[fields["id"]] = fields["address"]
            case "publisher.confirmed":
                if fields["id"] not in self._ended:
                    self._confirmed.setdefault(fields["id"], (now, fields["broker"]))
            case "handler.returned" if fields["outcome"] != "replied":
                return None
            case "settlement.finished" if not fields.get("reason"):
                return None  # that its handler has returned says whether it was handled
            case _:
                self._ended.add(fields["id"])
                self._confirmed.pop(fields["id"], None)
        return None

    def _unended(self) -> Iterator[str]:
        """The ids of what was confirmed, is for an address that was served, and has no end yet."""
        return (each for each in self._confirmed if self._addresses.get(each) in self._served)

    def owed(self, since: float, later: Container[str]) -> str:
        """See the base."""
        for each in self._unended():
            if self._confirmed[each][0] < since and each not in later:
                return f"message {each} waits for {self._addresses[each]}"
        return ""

    def lost(self, held: Container[str]) -> Complaint | None:
        """See the base."""
        for each in self._unended():
            if each not in held:
                at, broker = self._confirmed[each]
                return Complaint(
                    f"message {each} to {self._addresses[each]} was confirmed by {broker} at "
                    f"{at:.3f} s, and is neither handled, nor waiting, nor a dead letter",
                    each,
                )
        return None


class FinishedWasHandled(Invariant):
    """Compares each FIN with what handlers did."""

    holds = "a message is finished when its handler has returned, and not before"
    hears = frozenset({"handler.returned", "settlement.finished"})

    def __init__(self) -> None:
        self._handled: set[str] = set()

    def saw(self, life: Life, event: Event, now: float) -> Complaint | None:
        """See the base."""
        of = event.fields["id"]
        if event.name == "handler.returned":
            if event.fields["outcome"] == "replied":
                self._handled.add(of)
        elif of and not event.fields.get("reason") and of not in self._handled:
            return Complaint(
                f"{life} finished message {of} at {now:.3f} s, and no handler of it has returned",
                of,
            )
        return None


class HandledOnceByOne(Invariant):
    """Follows the handlers of each message through all nodes."""

    holds = "no second handling of a message begins beside the first, nor where it was finished"
    hears = frozenset(
        {
            "tell.encoded",
            "publisher.written",
            "handler.started",
            "handler.returned",
            "settlement.finished",
            "dispatch.lease_lost",
            "actor.ended",
        }
    )

    def __init__(self, disturbed: Callable[[str, float], bool], copies: int) -> None:
        self._disturbed = disturbed
        self._copies = copies
        #: The machines of the brokers that each tell was written to, each as often as it was.
        self._told: dict[str, list[str]] = {}
        self._running: dict[str, dict[tuple[Life, str], float]] = {}
        self._finished: set[tuple[Life, str, str]] = set()
        self._by: dict[tuple[Life, str], str] = {}

    def saw(self, life: Life, event: Event, now: float) -> Complaint | None:
        """See the base."""
        fields = event.fields
        if event.name == "actor.ended":  # with whatever it had not committed
            self._no_more((life, str(fields["ref"])))
            return None
        of = fields["id"]
        if event.name == "tell.encoded":
            self._told[of] = []
        elif of not in self._told:
            return None  # an event, which each of its channels handles, or a local message
        elif event.name == "publisher.written":
            self._told[of].append(fields["broker"].rpartition(":")[0])
        elif event.name == "handler.started":
            return self._started(life, of, fields["actor"], now)
        elif event.name == "handler.returned":
            self._running.get(of, {}).pop((life, fields["actor"]), None)
            if fields["outcome"] == "replied":
                self._by[life, of] = fields["actor"]
        elif event.name == "settlement.finished":
            self._finished.add((life, self._by.get((life, of), ""), of))
        else:  # its lease is lost: the broker may give it to another, and everybody knows
            self._running.pop(of, None)
        return None

    def _started(self, life: Life, of: str, actor: str, now: float) -> Complaint | None:
        beside = self._running.setdefault(of, {})
        complaint = None
        if (life, actor, of) in self._finished:
            complaint = Complaint(
                f"{actor} at {life} handles message {of} again at {now:.3f} s, having finished it",
                of,
            )
        for (other, with_whom), since in beside.items():
            if self._copies > 1 and other != life:
                continue  # each broker gives its copy to whom it likes
            if (other, with_whom) == (life, actor):
                continue  # a durable actor whose commit was lost, which handles one at a time
            if not self._may_be_lost(of, now, other, life):
                complaint = Complaint(
                    f"{actor} at {life} handles message {of} at {now:.3f} s, beside {with_whom} at "
                    f"{other}, which began at {since:.3f} s and has lost neither lease nor life",
                    of,
                )
        beside[life, actor] = now
        return complaint

    def _no_more(self, who: tuple[Life, str]) -> None:
        """It handles nothing any more."""
        for beside in self._running.values():
            beside.pop(who, None)

    def _may_be_lost(self, of: str, now: float, *lives: Life) -> bool:
        """Whether one of these may have lost the message and not know it, or it is there twice."""
        brokers = self._told[of]
        return len(brokers) > self._copies or any(
            self._disturbed(holder, now) for holder in (*brokers, *(life.host for life in lives))
        )

    def died(self, life: Life, now: float) -> None:
        """See the base."""
        del now
        for beside in self._running.values():
            for one in [each for each in beside if each[0] == life]:
                del beside[one]


class _EndsInTime(Invariant):
    """What begins with one event must end with another, before its deadline."""

    begins: ClassVar[str] = ""
    ends: ClassVar[frozenset[str]] = frozenset()
    what: ClassVar[str] = ""

    def __init__(self, stood_still: Callable[[Life, float], bool]) -> None:
        self._stood_still = stood_still
        self._open: dict[tuple[Life, str], tuple[float, float, str]] = {}

    def seconds(self, event: Event) -> float:
        """How long it may take."""
        raise NotImplementedError

    def saw(self, life: Life, event: Event, now: float) -> Complaint | None:
        """See the base."""
        fields: Any = event.fields
        if event.name == self.begins:
            whom = fields.get("address") or fields.get("topic", "")
            self._open[life, fields["id"]] = (now, now + self.seconds(event) + GRACE, whom)
        else:
            self._open.pop((life, fields["id"]), None)
        return None

    def died(self, life: Life, now: float) -> None:
        """See the base."""
        del now
        for one in [each for each in self._open if each[0] == life]:
            del self._open[one]

    def looked(self, now: float) -> Complaint | None:
        """See the base."""
        for (life, of), (since, deadline, whom) in self._open.items():
            if now > deadline and not self._stood_still(life, now):
                return Complaint(
                    f"{self.what} {of} of {life} to {whom} has been open since {since:.3f} s, and "
                    f"should have ended by {deadline - GRACE:.3f} s",
                    of,
                )
        return None

    def owed(self, since: float, later: Container[str]) -> str:
        """See the base."""
        del later
        for (life, of), (began, _, whom) in self._open.items():
            if began < since:
                return f"{self.what} {of} of {life} to {whom} is open since {began:.3f} s"
        return ""


class AskEndsInTime(_EndsInTime):
    """Follows the asks that leave a node."""

    holds = "no ask outlives its deadline"
    hears = frozenset({"ask.sent", "ask.answered", "ask.failed"})
    begins = "ask.sent"
    what = "ask"

    def seconds(self, event: Event) -> float:
        """See the base."""
        return float(event.fields["timeout"])


class ReceiptEndsInTime(_EndsInTime):
    """Follows what a node has accepted for a broker."""

    holds = "every receipt is settled within its time"
    hears = frozenset({"outbox.queued", "publisher.confirmed", "publisher.failed"})
    begins = "outbox.queued"
    what = "receipt"

    def __init__(self, stood_still: Callable[[Life, float], bool], publish_timeout: float) -> None:
        super().__init__(stood_still)
        self._timeout = publish_timeout

    def seconds(self, event: Event) -> float:
        """See the base."""
        del event
        return self._timeout


def usual_invariants(
    *,
    stood_still: Callable[[Life, float], bool],
    disturbed: Callable[[str, float], bool],
    publish_timeout: float,
    copies: int = 1,
) -> tuple[Invariant, ...]:
    """Return those that hold in every cluster, with empty books.

    Args:
        stood_still: Whether a process could not keep a time of late.
        disturbed: Whether a machine, or a broker, was struck of late in such a way that messages
            which it holds may be lost to others.
        publish_timeout: As of the nodes, in seconds.
        copies: How many brokers keep each message.
    """
    return (
        ConfirmedIsHandled(),
        FinishedWasHandled(),
        HandledOnceByOne(disturbed, copies),
        AskEndsInTime(stood_still),
        ReceiptEndsInTime(stood_still, publish_timeout),
    )
