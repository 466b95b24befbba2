"""A node of the money test: `python tests/soak/money_node.py INDEX NSQD IRIS STORE REPUBLISH`.

Node INDEX of three runs its share of the branches. A branch is a durable actor that holds
some accounts. A transfer is told to the branch that pays, which tells the one that is paid.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors import message, receives
from irismq_runtime import Durable, Node, current_node
from irismq_runtime.loop import run
from supervisors import Supervisor, child

NODES = 3
BRANCHES = 12
ACCOUNTS = 1_000
#: What each account begins with.
CENTS = 100


@message("money.transfer")
@dataclass(frozen=True)
class Transfer:
    """Number `number`: `cents` of one account for another."""

    number: int
    payer: int
    payee: int
    cents: int


@message("money.payment")
@dataclass(frozen=True)
class Payment:
    """What the branch of the payee is told."""

    number: int
    payee: int
    cents: int


@message("money.tally")
@dataclass
class Tally:
    """Which numbers came: how many, their sum and the sum of their squares."""

    count: int = 0
    numbers: int = 0
    squares: int = 0

    def add(self, number: int) -> None:
        self.count += 1
        self.numbers += number
        self.squares += number * number


@message("money.branch-state")
@dataclass
class BranchState:
    """The accounts of a branch that differ from what they began with, and what was done."""

    cents: dict[int, int] = field(default_factory=dict)
    paid: Tally = field(default_factory=Tally)
    received: Tally = field(default_factory=Tally)

    def change(self, account: int, cents: int) -> None:
        self.cents[account] = self.cents.get(account, CENTS) + cents


def branch_of(account: int) -> str:
    """The address of the branch that holds an account."""
    return f"money.branch.{account % BRANCHES}"


class Branch(Durable):
    """Holds accounts."""

    state: BranchState

    def __init__(self, number: int) -> None:
        self.address = f"money.branch.{number}"

    @receives(Transfer)
    def transfer(self, transfer: Transfer) -> None:
        self.state.change(transfer.payer, -transfer.cents)
        self.state.paid.add(transfer.number)
        payment = Payment(transfer.number, transfer.payee, transfer.cents)
        current_node().ref(branch_of(transfer.payee)).tell(payment)

    @receives(Payment)
    def payment(self, payment: Payment) -> None:
        self.state.change(payment.payee, payment.cents)
        self.state.received.add(payment.number)


class Branches(Supervisor):
    """The branches of this node."""

    max_restarts = 1_000

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def children(self) -> list:
        mine = range(self.index, BRANCHES, NODES)
        return [child(Branch, number, name=f"branch-{number}") for number in mine]


async def main(index: int, nsqd: str, iris: str, store: str, republish: float) -> None:
    node = Node(
        name=f"money-{index}",
        nsqd=nsqd,
        iris=iris,
        store=store,
        republish_after=republish,
        publish_timeout=2.0,
        lease=2.0,
        connect_timeout=60.0,
        max_attempts=1_000,
    )
    async with node:
        await node.start(child(Branches, index))
        print("ready", flush=True)
        await node.run_until_signal()


if __name__ == "__main__":
    run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])))
