"""FastStream over JetStream, its stream in memory: a durable pull consumer that fetches 100
at once, and 100 handlers. A message is acknowledged when its handler has returned; a
publish is awaited until the stream has it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import StorageType

from contestants.tally import Tally

broker = NatsBroker(os.environ["BENCH_URL"], logger=None)
app = FastStream(broker, logger=None)
stream = JStream("bench", subjects=["bench.items"], storage=StorageType.MEMORY)
TALLY = Tally(os.environ["BENCH_TALLY"])
#: Publishes that wait for their confirmation at once.
AHEAD = 500


def consume() -> None:
    """Only the worker subscribes."""

    @broker.subscriber(
        "bench.items",
        stream=stream,
        durable="worker",
        pull_sub=PullSub(batch_size=100, timeout=1.0),
        max_workers=100,
    )
    async def item(payload: str) -> None:
        TALLY.hit()


def worker() -> list[str]:
    return ["-m", "contestants.queue_faststream"]


def send(count: int, payload: str, *, awaited: bool) -> float:
    return asyncio.run(_send(count, payload, 1 if awaited else AHEAD))


async def _send(count: int, payload: str, ahead: int) -> float:
    publisher = broker.publisher("bench.items", stream=stream)
    async with broker:
        await broker.start()
        await publisher.publish(payload)
        began = time.perf_counter()
        for _ in range(count // ahead):
            await asyncio.gather(*[publisher.publish(payload) for _ in range(ahead)])
        return time.perf_counter() - began


if __name__ == "__main__":
    consume()
    sys.exit(asyncio.run(app.run()))
