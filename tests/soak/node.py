"""The two nodes of a soak run: `python tests/soak/node.py service|client NSQD IRIS PERIOD`.

The service has actors that crash, that are slow, that never answer, that come and
go, on the loop and on threads. The client tells, asks (some with deadlines that
must pass), streams, opens tunnels, broadcasts and publishes, all the time, while
its servers are cut off. Each prints its samples; counts of what was done and of
what failed, by the name of the error, are with those of the client.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors import Actor, Terminated, ThreadActor, message, receives
from actors.errors import ActorError
from irismq_runtime import Node, durable, live
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.loop import run
from supervisors import Supervisor, child
from tests.soak.sampling import Sampling, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@message("soak.do")
@dataclass(frozen=True)
class Do:
    what: str = ""
    text: str = ""


@message("soak.news")
@dataclass(frozen=True)
class News:
    number: int


@message("soak.up_to")
@dataclass(frozen=True)
class UpTo:
    last: int


class Echo(Actor):
    address = "soak.echo"
    subscribes = (live("soak.live"), durable("soak.news", channel="echo"))

    @receives(Do)
    def do(self, do: Do) -> Any:
        return Passing.start() if do.what == "start" else do.text

    @receives(News)
    def news(self, news: News) -> None:
        """Nothing to do."""

    @receives(UpTo)
    async def up_to(self, asked: UpTo) -> AsyncIterator[int]:
        for number in range(asked.last):
            yield number

    async def on_tunnel(self, tunnel: Any) -> None:
        async for item in tunnel:
            await tunnel.send(item)


class Fragile(Actor):
    address = "soak.fragile"

    @receives(Do)
    async def do(self, do: Do) -> str:
        if do.what == "crash":
            raise ValueError(do.text)
        return do.text


class FragileThread(ThreadActor):
    address = "soak.thread"

    @receives(Do)
    def do(self, do: Do) -> str:
        if do.what == "crash":
            raise ValueError(do.text)
        return do.text


class Slow(Actor):
    """Takes 20 ms for a message: a mailbox fills and empties."""

    address = "soak.slow"

    @receives(Do)
    async def do(self, do: Do) -> None:
        await pause(0.02)


class Never(Actor):
    """Answers when nobody waits any more."""

    address = "soak.never"

    @receives(Do)
    async def do(self, do: Do) -> str:
        await pause(0.3)
        return do.text


class Passing(Actor):
    """Lives for a tenth of a second."""

    def on_start(self) -> None:
        self.send_after(0.1, "end")

    def on_receive(self, message: Any) -> None:
        self.stop()


class Nursery(Actor):
    """Starts an actor outside of the tree each tenth of a second."""

    def on_start(self) -> None:
        self.send_every(0.1, "next")

    def on_receive(self, message: Any) -> None:
        if message == "next":  # and not the end of one of them
            self.watch(Passing.start())


class Watcher(Actor):
    """Watches whom it is told of, on whatever node, until they end."""

    def on_receive(self, message: Any) -> None:
        if not isinstance(message, Terminated):
            self.watch(message)


def service() -> Any:
    return Supervisor.of(
        *(child(kind) for kind in (Echo, Fragile, FragileThread, Slow, Never, Nursery)),
        max_restarts=10**9,
    )


class Client:
    """Does everything all the time, each thing at its own pace."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.counts: Counter[str] = Counter()
        self._number = 0
        self._watcher = node.system.start(Watcher)

    async def watch(self) -> None:
        self._watcher.tell(await self.node.ref("soak.echo").ask(Do("start"), timeout=3.0))

    async def tell(self) -> None:
        await self.node.ref("soak.echo").tell(Do(text="x" * 200))

    async def delayed(self) -> None:
        await self.node.ref("soak.echo").tell(Do(text="later"), delay=2.0)

    async def ask(self) -> None:
        await self.node.ref("soak.echo").ask(Do(text="y" * 200), timeout=3.0)

    async def ask_in_vain(self) -> None:
        await self.node.ref("soak.never").ask(Do(), timeout=0.1)

    async def ask_nobody(self) -> None:
        await self.node.ref("soak.nobody").ask(Do(), timeout=0.2)

    async def crash(self) -> None:
        await self.node.ref("soak.fragile").ask(Do("crash", "asked"), timeout=3.0)

    async def crash_thread(self) -> None:
        await self.node.ref("soak.thread").ask(Do("crash", "asked"), timeout=3.0)

    async def crash_stored(self) -> None:
        await self.node.ref("soak.fragile").tell(Do("crash", "told"))

    async def burst(self) -> None:
        receipts = self.node.ref("soak.slow").tell_many([Do(text="z" * 500)] * 100)
        await asyncio.gather(*receipts)

    async def ask_all(self) -> None:
        await self.node.ref("soak.echo").ask_all(Do(), timeout=2.0)

    async def tell_all(self) -> None:
        self.node.ref("soak.echo").tell_all(Do())

    async def publish(self) -> None:
        self._number += 1
        self.node.publish("soak.live", News(self._number), durable=False)
        receipt = self.node.publish("soak.news", News(self._number))
        if receipt is not None:
            await receipt

    async def stream(self) -> None:
        async for _ in self.node.ref("soak.echo").stream(UpTo(20), timeout=2.0):
            pass

    async def tunnel(self) -> None:
        async with self.node.ref("soak.echo").tunnel(timeout=2.0) as tunnel:
            for number in range(5):
                await tunnel.send(number)
                await tunnel.receive()

    async def every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Begin `action` each so many seconds, for ever, whether the last is done or not."""
        name = action.__name__
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._once(name, action))
                await pause(seconds)

    async def _once(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(60.0):
                await action()
        except (ActorError, RuntimeFault, TimeoutError) as error:
            self.counts[f"{name}: {type(error).__name__}"] += 1
        else:
            self.counts[name] += 1

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for action, seconds in (
                (self.tell, 0.01), (self.delayed, 0.5), (self.ask, 0.01),
                (self.ask_in_vain, 0.25), (self.ask_nobody, 0.5), (self.crash, 1.0),
                (self.crash_thread, 2.0), (self.crash_stored, 3.0), (self.burst, 5.0),
                (self.ask_all, 1.0), (self.tell_all, 0.5), (self.publish, 0.5),
                (self.stream, 1.0), (self.tunnel, 2.0), (self.watch, 0.5),
            ):  # fmt: skip
                group.create_task(self.every(seconds, action))


async def main(role: str, nsqd: str, iris: str, period: str) -> int:
    logging.getLogger().setLevel(logging.CRITICAL)
    node = Node(
        name=role,
        nsqd=nsqd,
        iris=iris,
        drain=3.0,
        dedupe_window=100,  # to be full soon
        mailbox_options={
            "requeue_base": 0.2,
            "requeue_max": 2.0,
            # Not asked of the broker: the questions do not pass the proxy.
            "max_body": 1024 * 1024,
            "max_delay": 3600.0,
        },
    )
    async with node:
        if role == "service":
            await node.start(service())
            async with Sampling(float(period), counts=node.parts.dispatch.counters.to_dict):
                return await node.run_until_signal()
        client = Client(node)
        work = asyncio.create_task(client.run())
        try:
            async with Sampling(float(period), counts=lambda: dict(client.counts)):
                return await node.run_until_signal()
        finally:
            work.cancel()
            await asyncio.wait([work])


if __name__ == "__main__":
    raise SystemExit(run(main(*sys.argv[1:])))
