"""pyiris at transport level: two processes and a relay between them.

    python benchmarks/pyiris.py                      our relay, in a process of its own
    python benchmarks/pyiris.py --relay HOST:PORT    a relay that runs already (a real Iris node)

Prints requests one after another and in flight, broadcasts, events, tunnel
throughput, and latency percentiles. The member runs in its own process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from typing import TYPE_CHECKING, Any

from irismq_runtime import loop, pyiris
from irismq_runtime.embedded.relay import EmbeddedRelay

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CLUSTER = "bench"
BODY = b"x" * 100


class Member:
    """Answers at once, counts broadcasts, swallows or echoes tunnels. See ports.MemberHandler."""

    def __init__(self, transport: pyiris.IrisAddresses) -> None:
        self.transport = transport
        self.broadcasts = 0
        self.events = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def on_request(self, request: Any) -> None:
        if request.body == b"count":
            request.reply(b"%d %d" % (self.broadcasts, self.events))
        else:
            request.reply(request.body)

    def on_broadcast(self, body: bytes) -> None:
        self.broadcasts += 1

    def on_event(self, body: bytes) -> None:
        self.events += 1

    def on_tunnel(self, tunnel: Any) -> None:
        task = asyncio.ensure_future(self.swallow(tunnel))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def swallow(self, offer: Any) -> None:
        tunnel = await offer.accept()
        async for body in tunnel:
            if len(body) < 1000:
                await tunnel.send(body)
        await tunnel.close()

    def on_lost(self, reason: str) -> None:
        print("member lost its relay:", reason)

    def on_joined(self) -> None:
        pass


def serve_relay(ready: Connection) -> None:
    async def main() -> None:
        async with EmbeddedRelay() as relay:
            ready.send(relay.port)
            await asyncio.Event().wait()

    loop.run(main())


def serve_member(host: str, port: int, ready: Connection) -> None:
    async def main() -> None:
        transport = pyiris.IrisAddresses(host, port)
        await transport.start()
        member = Member(transport)
        await transport.join(CLUSTER, member)
        await transport.subscribe(CLUSTER, member.on_event)
        ready.send(True)
        await asyncio.Event().wait()

    loop.run(main())


async def one_after_another(iris: pyiris.IrisAddresses, seconds: float) -> None:
    for size in (100, 10_000):
        body = b"x" * size
        took = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            await iris.request(CLUSTER, body, 5.0)
            took.append(time.perf_counter() - began)
        cuts = statistics.quantiles(took, n=1000)
        print(
            f"requests of {size:>6,} B one after another {1 / statistics.fmean(took):>10,.0f}/s   "
            f"p50 {cuts[499] * 1e6:,.0f} us  p99 {cuts[989] * 1e6:,.0f} us  "
            f"p99.9 {cuts[998] * 1e6:,.0f} us"
        )


async def in_flight(iris: pyiris.IrisAddresses, callers: int, seconds: float) -> None:
    """`callers` requests at any time: each answer makes the next request, no task each."""
    done = 0
    finished = asyncio.get_running_loop().create_future()
    end = time.perf_counter() + seconds

    def answered(reply: asyncio.Future[bytes]) -> None:
        nonlocal done
        reply.result()
        done += 1
        if time.perf_counter() < end:
            iris.request(CLUSTER, BODY, 5.0).add_done_callback(answered)
        elif not finished.done():
            finished.set_result(None)

    began = time.perf_counter()
    for _ in range(callers):
        iris.request(CLUSTER, BODY, 5.0).add_done_callback(answered)
    await finished
    rate = done / (time.perf_counter() - began)
    print(f"requests in flight, {callers:>5,} at once        {rate:>10,.0f}/s")


async def counted(iris: pyiris.IrisAddresses, what: int, count: int) -> None:
    """Broadcasts (0) or events (1), until the member has all of them."""
    send = iris.publish if what else iris.broadcast

    async def there() -> int:
        return int((await iris.request(CLUSTER, b"count", 30.0)).split()[what])

    start = await there()
    began = time.perf_counter()
    for number in range(count):
        send(CLUSTER, BODY)
        if number % 500 == 499:
            await asyncio.sleep(0)
    last, arrived = -1, 0
    while arrived < count and arrived != last:
        last = arrived
        arrived = await there() - start
    rate = arrived / (time.perf_counter() - began)
    name = "events" if what else "broadcasts"
    print(f"{name:<39} {rate:>10,.0f}/s   {arrived:,} of {count:,} arrived")


async def tunnel(iris: pyiris.IrisAddresses, size: int, total: int) -> None:
    body = b"x" * size
    opened = await iris.tunnel(CLUSTER, 5.0)
    began = time.perf_counter()
    for _ in range(total // size):
        await opened.send(body)
    await opened.send(b"end")
    await opened.receive()
    rate = total / (time.perf_counter() - began) / 1e6
    await opened.close()
    print(f"tunnel, messages of {size:>9,} B         {rate:>10,.0f} MB/s")


async def measure(host: str, port: int, seconds: float) -> None:
    iris = pyiris.IrisAddresses(host, port)
    await iris.start()
    for _ in range(200):
        await iris.request(CLUSTER, BODY, 5.0)
    await one_after_another(iris, seconds)
    for callers in (16, 128, 1000):
        await in_flight(iris, callers, seconds)
    await counted(iris, 0, 50_000)
    await counted(iris, 1, 50_000)
    for size in (1024, 65_536, 1_048_576):
        try:
            await tunnel(iris, size, min(200_000_000, size * 20_000))
        except pyiris.TunnelTimeout as error:
            print(f"tunnel: {error} (a real node needs an address that is not loopback)")
            break
    await iris.close(drain=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--relay", help="HOST:PORT of a relay that runs already")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure of requests")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    processes = []
    try:
        if given.relay:
            host, _, port = given.relay.rpartition(":")
        else:
            processes.append(context.Process(target=serve_relay, args=(there,), daemon=True))
            processes[-1].start()
            host, port = "127.0.0.1", here.recv()
        target = (host, int(port), there)
        processes.append(context.Process(target=serve_member, args=target, daemon=True))
        processes[-1].start()
        here.recv()
        print(f"relay: {given.relay or 'embedded, a process of its own'}")
        loop.run(measure(host, int(port), given.seconds))
    finally:
        for process in reversed(processes):
            process.kill()
            process.join()


if __name__ == "__main__":
    main()
