"""Nodes over in-memory transports, and the actors that the tests of the node use."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors import Actor, LoopClock, Refused, Reject, Retry, message, receives
from irismq_runtime.node import Node
from tests.support.transports import MemoryAddresses, MemoryBroker, MemoryMailbox, MemoryRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@message("test.add")
@dataclass(frozen=True)
class Add:
    amount: int


@message("test.total")
@dataclass(frozen=True)
class Total:
    pass


@message("test.fail")
@dataclass(frozen=True)
class Fail:
    how: str = "crash"
    times: int = 10**9


@dataclass
class MemoryServers:
    """One broker and one relay in memory, and the nodes on them."""

    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker(LoopClock()))
    relay: MemoryRelay = field(default_factory=MemoryRelay)

    def transports(self, config: Any, system: Any, node_id: str) -> Any:
        mailbox = MemoryMailbox(self.broker, max_attempts=config.max_attempts)
        return mailbox, MemoryAddresses(self.relay, system.clock)

    @contextlib.asynccontextmanager
    async def node(self, name: str = "node", **options: Any) -> AsyncIterator[Node]:
        options.setdefault("presence_period", 0.2)
        options.setdefault("drain", 1.0)
        async with Node(name=name, transports=self.transports, **options) as node:
            yield node


class Counter(Actor):
    """Adds up, and fails on demand."""

    address = "test.counter"

    def __init__(self, log: list[Any] | None = None) -> None:
        self.total = 0
        self.log = log if log is not None else []

    @receives(Add)
    def add(self, message: Add) -> int:
        self.total += message.amount
        self.log.append(message.amount)
        return self.total

    @receives(Total)
    async def report(self, message: Total) -> int:
        return self.total

    @receives(Fail)
    def fail(self, message: Fail) -> str:
        self.log.append((message.how, self.context.attempt))
        if self.context.attempt > message.times:
            return "passed"
        match message.how:
            case "refuse":
                raise Refused("no such thing", code="missing")
            case "retry":
                raise Retry(after=0.0)
            case "reject":
                raise Reject("never again")
        raise ValueError("boom")
