"""Two nodes in one process, looked at in the way that BENCHMARK_OBSERVE names.

Sender and receiver share the process, so that a second of its processor time holds
what both ends pay; the broker and the relay run elsewhere. Rates are messages a
second of processor time: what a machine does beside them does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors import Actor, message, receives
from contestants.remote_meter import IN_FLIGHT, in_flight
from irismq_runtime import Node, loop

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = b"x" * 100
TURN = 500


@message("bench.observed.item")
@dataclass(frozen=True, slots=True)
class Item:
    payload: bytes


@message("bench.observed.count")
@dataclass(frozen=True, slots=True)
class Count:
    """How many items have come."""


@message("bench.observed.echo")
@dataclass(frozen=True, slots=True)
class Echo:
    payload: bytes


class Member(Actor):
    mailbox_window = 2000

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @receives(Item)
    def item(self, message: Item) -> None:
        self.count += 1

    @receives(Echo)
    def echo(self, message: Echo) -> bytes:
        return message.payload

    @receives(Count)
    def counted(self, message: Count) -> int:
        return self.count


def provide(*, sampled: bool = True) -> Any:
    """A provider of the SDK whose spans go into memory, as batches; gives a tracer."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON if sampled else ALWAYS_OFF))
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    return provider.get_tracer("bench")


async def scraped(nodes: list[Node]) -> None:
    """A scrape of each node a second, which is much more often than usual."""
    while True:
        await asyncio.sleep(1.0)
        for node in nodes:
            node.metrics()


def without_meter(node: Node) -> None:
    meter: Any = node.meter
    meter.stop()
    meter.ask_ended = meter.request_ended = lambda *_: None


async def rate(count: int, work: Callable[[], Any]) -> float:
    began = time.process_time()
    await work()
    return count / (time.process_time() - began)


class Workload:
    """What is done with both nodes: `local` is an actor of the first, `far` its address."""

    def __init__(self, local: Any, bound: Any, far: Any, scale: float) -> None:
        self.local, self.bound, self.far = local, bound, far
        self.item, self.echo = Item(PAYLOAD), Echo(PAYLOAD)
        self.tells = int(400_000 * scale)
        self.asks = int(80_000 * scale)
        self.durable = int(60_000 * scale) // TURN * TURN
        self.remote = int(25_000 * scale) // IN_FLIGHT * IN_FLIGHT

    async def local_tells(self) -> None:
        for _ in range(self.tells // TURN):
            for _ in range(TURN):
                self.local.tell(self.item)
            await self.local.ask(self.echo)

    async def local_asks(self) -> None:
        for _ in range(self.asks):
            await self.local.ask(self.echo)

    async def durably(self) -> None:
        receipts: list[Any] = []
        for _ in range(self.durable // TURN):
            receipts += [self.far.tell(self.item) for _ in range(TURN)]
            await asyncio.sleep(0)
        for receipt in receipts:
            await receipt
        while await self.bound.ask(Count()) < self.durable:  # noqa: ASYNC110  # asks another actor
            await asyncio.sleep(0.001)

    async def remote_ask(self) -> None:
        await self.far.ask(self.echo, timeout=10.0)

    async def remotely(self) -> None:
        await in_flight(self.remote_ask, self.remote)

    async def figures(self) -> dict[str, float]:
        await self.remote_ask()
        return {
            "local tell": await rate(self.tells, self.local_tells),
            "local ask": await rate(self.asks, self.local_asks),
            "durable tell, receive, FIN": await rate(self.durable, self.durably),
            "remote ask, both ends": await rate(self.remote, self.remotely),
        }


async def run(scale: float, way: str, servers: dict[str, str]) -> dict[str, float]:
    address = f"bench.observed.{time.time_ns()}"
    kind = type("Member", (Member,), {"address": address})
    options: dict[str, Any] = dict(servers)
    span: Any = contextlib.nullcontext()
    if way == "tracing":
        provide()
    elif way == "tracing every message":
        provide()
        options["traces_per_second"] = 1_000_000
    elif way == "tracing, not sampled":
        span = provide(sampled=False).start_as_current_span("not sampled")
    async with Node(name="one", **options) as one, Node(name="two", **options) as two:
        bound = await one.start(kind)
        local = await one.start(Member)
        await two.settled()
        scraping = None
        if way == "metrics":
            scraping = asyncio.create_task(scraped([one, two]))
        elif way == "hooks":
            for node in (one, two):
                node.system.events.subscribe(lambda event: None)
        elif way == "no meter":
            for node in (one, two):
                without_meter(node)
        with span:
            figures = await Workload(local, bound, two.ref(address), scale).figures()
        if scraping is not None:
            scraping.cancel()
    return figures


def measure(scale: float) -> dict[str, float]:
    way = os.environ["BENCHMARK_OBSERVE"]
    servers = json.loads(os.environ["BENCHMARK_SERVERS"])
    figures: dict[str, float] = loop.run(run(scale, way, servers))
    return figures
