"""The service that the integration tests run, in this process and in others."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors import Actor, Refused, exposed, message, receives
from irismq_runtime import current_node, durable, live
from supervisors import Supervisor, child


@message("shop.put")
@dataclass(frozen=True)
class Put:
    sku: str
    count: int = 1


@message("shop.stock")
@dataclass(frozen=True)
class Stock:
    sku: str


@message("shop.crash")
@dataclass(frozen=True)
class Crash:
    text: str = "boom"


@message("shop.reset")
@dataclass(frozen=True)
class Reset:
    pass


@message("shop.slow")
@dataclass(frozen=True)
class Slow:
    pass


@message("shop.count")
@dataclass(frozen=True)
class CountTo:
    last: int


@message("shop.who")
@dataclass(frozen=True)
class Who:
    pass


@message("shop.sold")
@dataclass(frozen=True)
class Sold:
    sku: str


class Inventory(Actor):
    """Counts things. `log` records what it did, for the tests of one process."""

    address = "shop.inventory"

    def __init__(self, log: list[Any] | None = None, gate: asyncio.Event | None = None) -> None:
        self.log = [] if log is None else log
        self.gate = asyncio.Event() if gate is None else gate
        self.stock: dict[str, int] = {}

    def on_start(self) -> None:
        self.log.append("start")

    def on_stop(self, reason: str) -> None:
        self.log.append(f"stop {reason}")

    @receives(Put)
    def put(self, put: Put) -> int:
        self.stock[put.sku] = self.stock.get(put.sku, 0) + put.count
        self.log.append(put)
        return self.stock[put.sku]

    @receives(Stock)
    async def count(self, asked: Stock) -> int:
        if asked.sku not in self.stock:
            raise Refused(f"no {asked.sku}", code="unknown")
        return self.stock[asked.sku]

    @receives(Crash)
    def crash(self, crash: Crash) -> None:
        self.log.append(("crash", self.context.attempt))
        raise ValueError(crash.text)

    @receives(Reset)
    def reset(self, reset: Reset) -> None:
        self.stock.clear()
        self.log.append("reset")

    @receives(Slow)
    async def slow(self, slow: Slow) -> str:
        self.log.append("slow began")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.log.append("slow cancelled")
            raise
        return "at last"

    @receives(CountTo)
    async def count_to(self, asked: CountTo):
        for number in range(asked.last):
            self.log.append(number)
            yield number

    @receives(Who)
    def who(self, who: Who) -> Any:
        return self.actor_ref

    @exposed
    def double(self, number: int, *, plus: int = 0) -> int:
        return 2 * number + plus

    def hidden(self) -> str:
        return "secret"

    async def on_tunnel(self, tunnel: Any) -> None:
        async for item in tunnel:
            await tunnel.send(item * 2)


class Till(Actor):
    """Listens to what is sold, live and durable."""

    subscribes = (live("shop.sold.live"), durable("shop.sold", channel="till"))

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @receives(Sold)
    def sold(self, sold: Sold) -> None:
        self.log.append((self.context.kind, sold.sku))


class Journal(Actor):
    """Writes what it is told to the file in SHOP_JOURNAL, one line a message."""

    address = "shop.inventory"

    def __init__(self) -> None:
        self.path = Path(os.environ["SHOP_JOURNAL"])

    def _write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{text}\n")

    @receives(Put)
    def put(self, put: Put) -> None:
        self._write(f"begin {put.sku} {self.context.attempt}")
        if put.sku == "poison":
            os._exit(9)
        self._write(f"done {put.sku}")

    @receives(Slow)
    async def slow(self, slow: Slow) -> None:
        self._write("slow")
        await asyncio.Event().wait()

    @receives(Crash)
    def crash(self, crash: Crash) -> None:
        raise ValueError(crash.text)

    @receives(Who)
    def who(self, who: Who) -> str:
        return current_node().name


class Shop(Supervisor):
    """The tree that `irismq run` runs in the tests."""

    children = (child(Journal),)


class Fragile(Supervisor):
    """Gives up at the first crash."""

    max_restarts = 0
    children = (child(Journal),)


class NeverUp(Actor):
    async def on_start(self) -> None:
        await asyncio.Event().wait()


class Stuck(Supervisor):
    """Never finishes its start."""

    children = (child(NeverUp),)
