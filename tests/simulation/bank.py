"""A bank for simulated tests: durable branches, each with its store on its machine's own disk.

A transfer is told to the branch that pays, which tells the one that is paid.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from actors import Request, message, receives
from irismq_runtime import Durable, Entity, current_node
from irismq_runtime.entities.placement import LEASE
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.simulation.cluster import Cluster

STORE: Final = "sqlite:///bank.db"
ACCOUNT: Final = "sim.account"
#: Virtual seconds within which each answers: what a killed machine had of shards, others have when
#: its lease is over, and five seconds later they answer.
_ANSWERS: Final = LEASE + 5.0
#: Of each machine.
BRANCHES: Final = 2
#: What each branch begins with.
CENTS: Final = 1_000
#: Virtual seconds that everything may take to be paid once all is healed; and what a store has to
#: send is due by its clock, which may have been two hours ahead when it was written.
_SETTLED: Final = 120.0
_CLOCK_AHEAD: Final = 2 * 3600.0


@message("sim.transfer")
@dataclass(frozen=True, slots=True)
class Transfer:
    """Number `number`: `cents` for another branch; it fails the first `crashes` times."""

    number: int
    payee: str
    cents: int
    crashes: int = 0


@message("sim.payment")
@dataclass(frozen=True, slots=True)
class Payment:
    """What the branch that is paid is told."""

    number: int
    cents: int


@message("sim.branch-state")
@dataclass
class BranchState:
    """What a branch has, and the numbers of what it paid and was paid, as they came."""

    cents: int = CENTS
    paid: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)


@message("sim.books")
@dataclass(frozen=True, slots=True)
class Books(Request[BranchState]):
    """Ask for all of it."""


def branches(cluster: Cluster) -> list[str]:
    """The addresses of all branches."""
    return [branch(host, number) for host in cluster.hosts for number in range(BRANCHES)]


def branch(host: str, number: int) -> str:
    """The address of a branch of a machine."""
    return f"sim.branch.{host}.{number}"


class Branch(Durable):
    """One branch."""

    state: BranchState

    def __init__(self, host: str, number: int) -> None:
        super().__init__()
        self.address = branch(host, number)

    @receives(Transfer)
    def transfer(self, transfer: Transfer) -> None:
        self.state.cents -= transfer.cents
        self.state.paid.append(transfer.number)
        current_node().ref(transfer.payee).tell(Payment(transfer.number, transfer.cents))
        if self.context.attempt <= transfer.crashes:
            raise ValueError("a slip of the pen")

    @receives(Payment)
    def payment(self, payment: Payment) -> None:
        self.state.cents += payment.cents
        self.state.received.append(payment.number)

    @receives(Books)
    def books(self, _: Books) -> BranchState:
        return self.state


class Account(Entity):
    """The same, one for each key, on whichever machine has its shard."""

    address = ACCOUNT
    shards = 4
    state: BranchState

    @receives(Transfer)
    def transfer(self, transfer: Transfer) -> None:
        self.state.cents -= transfer.cents
        self.state.paid.append(transfer.number)
        current_node().entity(ACCOUNT, transfer.payee).tell(
            Payment(transfer.number, transfer.cents)
        )
        if self.context.attempt <= transfer.crashes:
            raise ValueError("a slip of the pen")

    @receives(Payment)
    def payment(self, payment: Payment) -> None:
        self.state.cents += payment.cents
        self.state.received.append(payment.number)

    @receives(Books)
    def books(self, _: Books) -> BranchState:
        return self.state


class Bank(Supervisor):
    """The branches of one machine."""

    max_restarts = 1000

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    def children(self) -> list:
        numbers = range(BRANCHES)
        return [child(Branch, self.host, number, name=f"branch-{number}") for number in numbers]


def money(
    *,
    rate: float = 5.0,
    seconds: float = 20.0,
    crashes: float = 0.0,
    everywhere: bool = False,
    entities: bool = False,
    **dials: float,
) -> Callable[[Cluster], Awaitable[None]]:
    """A test: money changes hands while things go wrong; at the end every cent is there.

    `rate` transfers a second for `seconds`; a share of them crash at first. What was confirmed
    is paid once and received once; what was not may have been, and then is both. `everywhere`:
    each branch runs on all machines, which needs a database. `entities`: each is one.
    """

    def ref(cluster: Cluster, name: str) -> Any:
        if entities:
            return cluster.node.entity(ACCOUNT, name, shards=Account.shards)
        return cluster.ref(name)

    async def scenario(cluster: Cluster) -> None:
        if entities:
            await cluster.start(Account)
        for host in () if entities else cluster.hosts:
            await cluster.start(child(Bank, host), on=None if everywhere else [host])
        confirmed: set[int] = set()
        numbers = iter(range(1, 1_000_000))

        async def transfer(cluster: Cluster) -> None:
            number = next(numbers)
            payer, payee = cluster.random.sample(branches(cluster), 2)
            slips = int(cluster.random.random() < crashes)
            cents = cluster.random.randrange(1, 50)
            await ref(cluster, payer).tell(Transfer(number, payee, cents, slips))
            confirmed.add(number)

        async with cluster.faults(**dials):
            await cluster.workload(transfer, rate=rate, seconds=seconds)
        await cluster.heal()
        within = _SETTLED + (_CLOCK_AHEAD if dials.get("clock") else 0.0)
        await _settled(cluster, confirmed, ref, within)

    return scenario


async def _settled(
    cluster: Cluster, confirmed: set[int], ref: Callable[[Cluster, str], Any], within: float
) -> None:
    """Wait until all that was paid is received, and look that nothing was lost, made or doubled."""
    deadline, pause = cluster.now + within, 1.0
    while True:
        books = [
            await ref(cluster, each).ask(Books(), timeout=_ANSWERS) for each in branches(cluster)
        ]
        paid = sorted(number for each in books for number in each.paid)
        received = sorted(number for each in books for number in each.received)
        assert len(set(paid)) == len(paid), "a transfer is paid once"
        assert len(set(received)) == len(received), "a payment is received once"
        if paid == received:
            break
        assert cluster.now < deadline, f"never received: {set(paid) ^ set(received)}"
        await asyncio.sleep(pause)
        pause = min(2 * pause, 60.0)
    assert confirmed <= set(paid), "what was confirmed is paid"
    assert sum(each.cents for each in books) == CENTS * len(books), "no cent is lost, or made"
