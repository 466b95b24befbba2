"""A window of messages waits for a slow handler while connections or the broker break.

nsqd counts every delivery, and after `max_attempts` of them a message used to be
buried that no handler had ever seen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, Event, message, receives
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.node import Node
from supervisors import child
from tests.faults.proxy import NsqdProxy
from tests.support.nsqd_server import nsqd_server
from tests.support.transports import MemoryAddresses, MemoryRelay

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGES = 50
MAX_ATTEMPTS = 3
BREAKS = MAX_ATTEMPTS + 2


@message("faults.work")
@dataclass(frozen=True)
class Work:
    number: int


class Slow(Actor):
    """Does not get beyond its first message until it is let go."""

    address = "faults.slow"

    def __init__(self, begun: list[int], busy: asyncio.Event, go: asyncio.Event) -> None:
        super().__init__()
        self.begun, self.busy, self.go = begun, busy, go

    @receives(Work)
    async def work(self, message: Work) -> None:
        self.begun.append(message.number)
        self.busy.set()
        await self.go.wait()


class Watch:
    """What the node is given by the broker, and what it settles."""

    def __init__(self, node: Node) -> None:
        #: The broker's ids of what was handed on since somebody emptied this.
        self.received: set[str] = set()
        self.settled: Counter[str] = Counter()
        self._changed = asyncio.Event()
        node.system.events.subscribe(self._see)

    def _see(self, event: Event) -> None:
        if event.name == "consumer.received":
            self.received.add(event.fields["message"])
        elif event.name.startswith("settlement."):
            self.settled[event.name] += 1
        else:
            return
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.mark.parametrize(
    ("kind", "broken", "lease"),
    [
        ("embedded", "connection", 1.0),
        pytest.param("real", "broker", 60.0, marks=pytest.mark.real_nsqd),
        pytest.param("real", "connection", 1.0, marks=[pytest.mark.real_nsqd, pytest.mark.slow]),
    ],
)
async def test_what_only_waits_is_handled_however_often_it_comes(
    kind: Any, broken: str, lease: float
):
    begun: list[int] = []
    busy, go = asyncio.Event(), asyncio.Event()
    async with nsqd_server(kind) as nsqd, NsqdProxy(nsqd.port) as proxy:

        def transports(config: Any, system: Any, node_id: str) -> Any:
            options = MailboxConfig(
                msg_timeout=lease,
                max_attempts=config.max_attempts,
                max_body=2**20,
                max_delay=10.0,
                reconnect_min=0.02,
                reconnect_max=0.2,
            )
            mailbox = NsqMailbox(
                [f"127.0.0.1:{proxy.port}"],
                clock=system.clock,
                events=system.events,
                config=options,
            )
            return mailbox, MemoryAddresses(MemoryRelay(), system.clock)

        async with Node(
            name="slow", transports=transports, max_attempts=MAX_ATTEMPTS, drain=1.0
        ) as node:
            watch = Watch(node)
            await node.start(child(Slow, begun, busy, go))
            for number in range(MESSAGES):
                node.ref("faults.slow").tell(Work(number))
            await watch.until(lambda: len(watch.received) == MESSAGES)
            await asyncio.wait_for(busy.wait(), 60)
            for _ in range(BREAKS):
                watch.received.clear()
                if broken == "broker":
                    await nsqd.restart()
                else:
                    proxy.cut_all()
                # All but the first, whose handler takes its new lease over.
                await watch.until(lambda: len(watch.received) >= MESSAGES - 1)
            go.set()
            await watch.until(lambda: watch.settled.total() >= MESSAGES)
    assert watch.settled == {"settlement.finished": MESSAGES}
    assert sorted(begun) == list(range(MESSAGES))
