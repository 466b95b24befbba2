"""A user's own package and tests, with the library installed and not the repository."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.wheel import installed_from_a_wheel

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = """
from dataclasses import dataclass

from actors import Actor, Request, message, receives
from supervisors import Supervisor, child


@message("bank.deposit")
@dataclass(frozen=True)
class Deposit(Request[int]):
    amount: int


class Account(Actor):
    address = "bank.account"

    def __init__(self) -> None:
        super().__init__()
        self.balance = 0

    @receives(Deposit)
    def deposit(self, deposit: Deposit) -> int:
        self.balance += deposit.amount
        return self.balance


class Bank(Supervisor):
    children = (child(Account),)
"""

TESTS = """
import pathlib

import irismq_runtime
from bank import Bank, Deposit
from irismq_runtime.simulation import Cluster, simulate


def test_the_library_is_the_installed_one() -> None:
    print(irismq_runtime.__file__)


@simulate(seeds=3, hosts=2)
async def test_deposits_are_answered(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    assert tmp_path.is_dir()
    await cluster.start(Bank)
    async with cluster.faults(cut=6):
        await cluster.workload(lambda c: c.ref("bank.account").tell(Deposit(1)), rate=5, seconds=10)


@simulate(seeds=50, hosts=2)
async def test_money_is_remembered(cluster: Cluster) -> None:
    await cluster.start(Bank, on=["a"])
    account = cluster.ref("bank.account")
    async with cluster.faults(kill=6):
        await cluster.workload(lambda c: account.ask(Deposit(1)), rate=5, seconds=10)
    await cluster.heal()
    assert await account.ask(Deposit(0)) > 20
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_users_simulated_tests_run_with_the_library_installed(tmp_path: Path) -> None:
    programs = installed_from_a_wheel(tmp_path)
    package = tmp_path / "bank"
    package.mkdir()
    (package / "bank.py").write_text(SERVICE)
    (package / "test_bank.py").write_text(TESTS)
    run = subprocess.run(
        [programs / "python", "-m", "pytest", "-rP", "--color=no", "test_bank.py"],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stdout
    assert f"{tmp_path}/environment" in said, said
    assert "1 failed, 2 passed" in said, said
    seed = re.search(r"SimulationFailed: seed (\w+) failed", said)
    assert seed, said
    assert f"IRISMQ_SEED={seed[1]} replays it; " in said
    assert re.search(r"\d+ of \d+ faults? matters?: kill a at", said), said
    assert re.search(r"test_deposits_are_answered: 3 seeds \([0-9a-f]+-[0-9a-f]+\)", said), said
