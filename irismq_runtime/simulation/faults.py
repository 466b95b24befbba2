"""What can go wrong in a simulated cluster: the kinds of faults, the dials, one fault.

Values alone: nothing here makes anything go wrong. `fault_plan` draws faults from a seed,
`injector` carries them out, `story` tells them.

A kind says what it strikes: a host with a node, a broker, a relay, a lookup daemon, a
database, the disk of a host or a broker, or a link between a machine and a server. How long
it lasts is drawn between two bounds so that short and long ones come in equal numbers by
their order of magnitude: what tells a slow answer from a lost lease is a factor, not a
difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from actors.rules import SECONDS, need, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irismq_runtime.simulation.conditions import Range

__all__ = ["KINDS", "Fault", "FaultKind", "Strikes", "Targets", "dials_of", "fault_now"]

#: The largest amount of any kind.
_MOST: Final = 1e9

#: Seconds in which a process notices that a connection was reset, or that it stood still.
NOTICED: Final = 5.0
#: Seconds in which two ends notice that their connection is dead where nobody tells them.
SILENT: Final = 60.0

#: What a kind of fault strikes.
Strikes = Literal["host", "broker", "relay", "lookup", "database", "link", "disk"]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault, and what a plan draws for it.

    Attributes:
        name: As the dial of `Cluster.faults` is called.
        strikes: What it is done to.
        lasts: Seconds until it is undone, at least and at most; (0, 0): there is nothing to
            undo.
        says: What a report says of it; `{target}` and `{amount}` are filled in.
        amount: How much, at least and at most, in the unit of the kind; (0, 0): it has none.
        either_way: Whether the amount is below zero as often as above.
        unnoticed: Seconds from its end until whoever held a message through what it struck knows
            that it is lost; a message may be handled twice until then. A reset is noticed at
            once, silence is not.
    """

    name: str
    strikes: Strikes
    lasts: Range
    says: str
    amount: Range = (0.0, 0.0)
    either_way: bool = False
    unnoticed: float = NOTICED


#: Every kind by its name. The longest of each is beyond a lease and the misses of presence
#: at their defaults, the shortest is below one announcement.
KINDS: Final[Mapping[str, FaultKind]] = {
    kind.name: kind
    for kind in (
        FaultKind("kill", "host", (0.2, 20.0), "kill {target}"),
        FaultKind("stop", "host", (0.2, 20.0), "stop {target} in order"),
        FaultKind("pause", "host", (0.2, 40.0), "pause {target}"),
        FaultKind(
            "clock",
            "host",
            (1.0, 60.0),
            "the clock of {target} is {amount:+.1f} s off",
            (0.5, 7200.0),
            True,
            unnoticed=0.0,  # a lease is kept by the monotonic clock
        ),
        FaultKind("partition", "link", (0.2, 30.0), "partition {target}", unnoticed=SILENT),
        FaultKind("cut", "link", (0.0, 0.0), "cut the connections {target}"),
        FaultKind(
            "slow",
            "link",
            (1.0, 30.0),
            "{target} is {amount:.0f} times as slow",
            (2.0, 500.0),
            unnoticed=SILENT,
        ),
        FaultKind("broker", "broker", (0.2, 20.0), "kill the broker {target}"),
        FaultKind(
            "power", "broker", (0.2, 20.0), "power cut at the broker {target}", unnoticed=SILENT
        ),
        FaultKind("relay", "relay", (0.2, 10.0), "kill the relay {target}", unnoticed=0.0),
        FaultKind("lookup", "lookup", (0.2, 60.0), "kill the lookup {target}", unnoticed=0.0),
        FaultKind("database", "database", (0.2, 20.0), "kill the database {target}", unnoticed=0.0),
        FaultKind("full", "disk", (0.2, 20.0), "the disk of {target} is full", unnoticed=0.0),
    )
}


@dataclass(frozen=True, slots=True)
class Targets:
    """What a plan may strike: the names of the machines, in a fixed order.

    Attributes:
        hosts: They run nodes.
        brokers: They run a broker each.
        relays: They run a relay each.
        clients: They are struck by nothing but what strikes their links.
        lookups: They run a lookup daemon each.
        databases: They run a database each.
    """

    hosts: tuple[str, ...]
    brokers: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    lookups: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()

    def holder(self, fault: Fault) -> str:
        """Through what a fault lets messages be lost that are held: a node's machine, a broker.

        Args:
            fault: Any.

        Returns:
            Its name; empty: no message is lost, as what it strikes keeps none.
        """
        if KINDS[fault.kind].strikes == "link":
            return fault.target[0] if fault.target[1] in self.brokers else ""
        return fault.target[0]

    def struck_by(self, strikes: Strikes) -> tuple[tuple[str, ...], ...]:
        """Everything that a kind can strike: a machine, or the two ends of a link.

        Args:
            strikes: As of the kind.

        Returns:
            One tuple of names for each.
        """
        servers = (*self.brokers, *self.relays, *self.lookups, *self.databases)
        if strikes == "link":
            ends = (*self.hosts, *self.clients)
            return tuple((one, server) for one in ends for server in servers)
        names = {
            "host": self.hosts,
            "broker": self.brokers,
            "relay": self.relays,
            "lookup": self.lookups,
            "database": self.databases,
            "disk": (*self.hosts, *self.brokers),
        }[strikes]
        return tuple((name,) for name in names)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, as it was drawn.

    Attributes:
        number: Its place in its plan, from 0; once it is carried out, its place among all
            faults of the run, by which a report names it.
        kind: A name of `KINDS`.
        target: The names of what it strikes: a machine, or the two ends of a link.
        at: When, in virtual seconds since the run began.
        lasts: Seconds until it is undone; 0: there is nothing to undo.
        amount: How much, in the unit of its kind.
    """

    number: int
    kind: str
    target: tuple[str, ...]
    at: float
    lasts: float = 0.0
    amount: float = 0.0

    @property
    def ends(self) -> float:
        """When it is undone, in virtual seconds since the run began."""
        return self.at + self.lasts

    def __str__(self) -> str:
        """What it is, without its time: "kill b", "partition a | broker-1"."""
        return KINDS[self.kind].says.format(target=" | ".join(self.target), amount=self.amount)

    def told(self) -> str:
        """What it is and when: "kill b at 31.2 s, until 33.9 s"."""
        until = f", until {self.ends:.1f} s" if self.lasts else ""
        return f"{self} at {self.at:.1f} s{until}"


def dials_of(turned: Mapping[str, float]) -> dict[str, float]:
    """Check the dials of a plan.

    Args:
        turned: How many faults of a kind come in a virtual minute, by the name of the kind.

    Returns:
        Those above 0, in the order of `KINDS`: what is drawn does not depend on the order
        in which they were turned.

    Raises:
        TypeError: There is no such kind.
        ValueError: A dial is no number from 0 to 600.
    """
    for name in sorted(turned):
        _kind(name)
    rule = number(0.0, 600.0, " of faults in a virtual minute")
    return {name: need(rule, name, turned[name]) for name in KINDS if turned.get(name)}


def fault_now(
    kind: str,
    target: tuple[str, ...],
    targets: Targets,
    *,
    at: float,
    lasts: float = 0.0,
    amount: float = 0.0,
) -> Fault:
    """Check one fault that a test wants, and make it.

    Args:
        kind: A name of `KINDS`.
        target: The name of a machine, or of both ends of a link.
        targets: What there is to strike.
        at: When, in virtual seconds since the run began.
        lasts: Seconds until it is undone; 0: until the cluster is healed.
        amount: How much, in the unit of the kind.

    Returns:
        The fault; a link has its server last.

    Raises:
        TypeError: There is no such kind.
        ValueError: It strikes nothing of that name, or a number has no meaning.
    """
    found = _kind(kind)
    possible = targets.struck_by(found.strikes)
    target = target if target in possible else target[::-1]
    if target not in possible:
        told = ", ".join(" | ".join(each) for each in possible)
        raise ValueError(f"{kind!r} strikes one of {told}; given was {' | '.join(target[::-1])!r}")
    need(SECONDS, "lasts", lasts)
    if found.either_way:
        need(number(-_MOST, _MOST, " of seconds"), "amount", amount)
    elif found.amount[1]:
        need(number(0.0, _MOST, ", times as slow", above=True), "amount", amount)
    return Fault(0, kind, target, at, lasts, amount)


def _kind(name: str) -> FaultKind:
    if name not in KINDS:
        raise TypeError(f"there is no fault {name!r}; the dials are {', '.join(KINDS)}")
    return KINDS[name]
