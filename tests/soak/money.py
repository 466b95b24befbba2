"""The money test: transfers between durable actors while everything is killed.

    python tests/soak/money.py --seconds 600 --store postgres --seed 7

Three processes hold 1,000 accounts. Transfers are told all the time, and at random SIGKILL
meets a node, the broker with what it has in memory, and PostgreSQL. After each round the
killing rests until nothing is under way: then no cent has been lost or made, and each
transfer was paid once and received once. The broker is the nsqd that IRISMQ_NSQD names, or
the embedded one without a data folder, which loses everything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from actors import message, receives
from irismq_runtime import Durable, Node, current_node
from irismq_runtime.durability.state_codec import StateCodec
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.ports.state_store import StateKey
from irismq_runtime.wire import Serializer
from tests.soak.money_node import (
    ACCOUNTS,
    BRANCHES,
    NODES,
    BranchState,
    Tally,
    Transfer,
    branch_of,
)
from tests.soak.sampling import pause
from tests.support.postgres_server import PostgresServer

#: Seconds after which what a broker has lost is published again.
REPUBLISH = 3.0
#: Transfers that one message begins.
TOGETHER = 20
#: Seconds that everything may take to come to rest: far more than it needs.
REST = 120.0


@message("money.begin")
@dataclass(frozen=True)
class Begin:
    """Begin some transfers."""

    seed: int


@message("money.driver-state")
@dataclass
class DriverState:
    """The number of the last transfer."""

    last: int = 0


class Driver(Durable):
    """Tells transfers, numbered from 1 without a gap."""

    address = "money.driver"
    state: DriverState

    @receives(Begin)
    def begin(self, begin: Begin) -> int:
        chance = random.Random(begin.seed)
        for _ in range(TOGETHER):
            self.state.last += 1
            payer, payee = chance.sample(range(ACCOUNTS), 2)
            transfer = Transfer(self.state.last, payer, payee, chance.randint(1, 50))
            current_node().ref(branch_of(payer)).tell(transfer)
        return self.state.last


class Child:
    """A process that is killed and started again. `log`: where its standard error goes."""

    def __init__(self, *command: str, ready: str = "", log: Path = Path(os.devnull)) -> None:
        self.command = command
        self.ready = ready
        self.log = log
        self.process: asyncio.subprocess.Process | None = None
        #: The codes with which it has ended by itself.
        self.ended: list[int] = []

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log
            )

    async def keep(self) -> None:
        """Start it again when it ends by itself, as whoever runs a service does."""
        while True:
            process = self.process
            assert process is not None
            code = await process.wait()
            if process is self.process and code != -signal.SIGKILL:
                self.ended.append(code)
                await self.start()
            await pause(0.1)

    def said(self) -> str:
        """The end of what it wrote to standard error."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4_000))
            return log.read().decode(errors="replace")

    async def wait_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert self.ready in line.decode(), f"{self.command} ended"

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def broker(folder: Path, port: int) -> Child:
    """The broker, which keeps what it has in memory alone."""
    program = os.environ.get("IRISMQ_NSQD", "")
    if program:
        return Child(
            program,
            f"-tcp-address=127.0.0.1:{port}",
            f"-http-address=127.0.0.1:{free_port()}",
            f"-data-path={folder}",
            "-mem-queue-size=100000",
        )
    launcher = str(ROOT / "tests" / "support" / "nsqd_launcher.py")
    return Child(sys.executable, launcher, str(port), str(free_port()))


class Bank:
    """All of it, and the one who kills."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.chance = random.Random(options.seed)
        self.postgres = PostgresServer() if options.store == "postgres" else None
        self.url = (
            f"sqlite:///{folder / 'money.db'}" if self.postgres is None else self.postgres.url()
        )
        self.port = free_port()
        self.relay = EmbeddedRelay()
        self.broker = broker(folder, self.port)
        self.nodes: list[Child] = []
        self.kills = {"node": 0, "broker": 0, "postgres": 0}
        self.last = 0

    async def run(self) -> None:
        """Rounds of killing and rest."""
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.start)
        await self.relay.start()
        await self.broker.start()
        iris, nsqd = f"127.0.0.1:{self.relay.port}", f"127.0.0.1:{self.port}"
        try:
            async with Node(
                name="driver",
                nsqd=nsqd,
                iris=iris,
                store=self.url,
                republish_after=REPUBLISH,
                publish_timeout=2.0,
                drain=2.0,
            ) as node:
                await node.start(Driver)
                program = str(Path(__file__).with_name("money_node.py"))
                for index in range(NODES):
                    given = (str(index), nsqd, iris, self.url, str(REPUBLISH))
                    log = self.folder / f"node-{index}.log"
                    self.nodes.append(
                        Child(sys.executable, program, *given, ready="ready", log=log)
                    )
                await asyncio.gather(*(each.start() for each in self.nodes))
                await asyncio.gather(*(each.wait_ready() for each in self.nodes))
                keepers = [asyncio.ensure_future(each.keep()) for each in self.nodes]
                try:
                    await self._rounds(node)
                finally:
                    for keeper in keepers:
                        keeper.cancel()
                    await asyncio.wait(keepers)
        except BaseException:
            for each in self.nodes:
                print(f"{each.log.name}, which ended by itself with {each.ended}:\n{each.said()}")
            raise
        finally:
            for child in (*self.nodes, self.broker):
                await child.kill()
            await self.relay.stop()
            if self.postgres is not None:
                await asyncio.to_thread(self.postgres.remove)

    async def _rounds(self, node: Node) -> None:
        end = time.monotonic() + self.options.seconds
        while True:
            telling = asyncio.ensure_future(self._tell(node))
            for _ in range(self.options.kills):
                await pause(self.chance.uniform(0.3, 1.5))
                await self._kill_one()
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling
            await self._look(node)
            if time.monotonic() > end:
                return

    async def _tell(self, node: Node) -> None:
        driver = node.ref("money.driver")
        while True:
            with contextlib.suppress(Exception):  # whatever is killed just now
                await driver.ask(Begin(self.chance.getrandbits(32)), timeout=3.0)
            await pause(0.02)

    async def _kill_one(self) -> None:
        what = self.chance.choice([*range(NODES), "broker"] + ["postgres"] * bool(self.postgres))
        if what == "broker":
            self.kills["broker"] += 1
            await self.broker.kill()
            await self.broker.start()
        elif what == "postgres":
            self.kills["postgres"] += 1
            assert self.postgres is not None
            await asyncio.to_thread(self.postgres.kill)
            await asyncio.to_thread(self.postgres.start)
        else:
            self.kills["node"] += 1
            child = self.nodes[int(what)]
            await child.kill()
            await child.start()

    async def _look(self, node: Node) -> None:
        """Wait until nothing is under way, and count."""
        found: dict[str, Any] = {}
        backlog: list[Any] = []
        store = node.parts.durable.store  # type: ignore[union-attr]  # it was given one
        end = time.monotonic() + REST
        while True:
            with contextlib.suppress(RuntimeFault):
                found, backlog = await self._counts(node), await store.backlog()
                if found["paid"] == found["received"] == found["told"] and not backlog:
                    break
            assert time.monotonic() < end, f"it does not come to rest: {found}, {backlog}"
            await pause(0.5)
        assert await self._counts(node) == found, "something was applied after all had been"
        assert found["moved"] == 0, f"{found['moved']} cents were made"
        ended = [code for each in self.nodes for code in each.ended]
        print(
            f"{found['told'][0]:,} transfers, each once; kills so far: {self.kills}; nodes that "
            f"ended by themselves, and were started again: {len(ended)}",
            flush=True,
        )

    async def _counts(self, node: Node) -> dict[str, Any]:
        """What the store says of all branches."""
        codec = StateCodec(Serializer(), BranchState, "", 1 << 30)
        of_driver = StateCodec(Serializer(), DriverState, "", 1 << 30)
        store = node.parts.durable.store  # type: ignore[union-attr]  # it was given one
        keys = [StateKey("money.driver"), *(StateKey(branch_of(n)) for n in range(BRANCHES))]
        driver, *branches = await store.load(keys)
        states: list[Any] = [codec.decode(each.state) for each in branches]
        last: int = of_driver.decode(driver.state).last  # type: ignore[attr-defined]  # a DriverState
        told = Tally()
        for number in range(1, last + 1):
            told.add(number)
        moved = sum(sum(cents - 100 for cents in state.cents.values()) for state in states)
        return {
            "told": _sum([told]),
            "paid": _sum([state.paid for state in states]),
            "received": _sum([state.received for state in states]),
            "moved": moved,
        }


def _sum(tallies: list[Tally]) -> tuple[int, int, int]:
    return (
        sum(each.count for each in tallies),
        sum(each.numbers for each in tallies),
        sum(each.squares for each in tallies),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run it; an `AssertionError` or `TimeoutError` says what was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--kills", type=int, default=10, help="in each round")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(Bank(options, Path(folder)).run())


if __name__ == "__main__":
    main()
