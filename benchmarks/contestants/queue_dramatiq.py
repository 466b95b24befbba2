"""Dramatiq on Redis, without the middleware that counts for Prometheus: a process for each
core with eight threads, its default. A message is acknowledged when its actor has returned.
"""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from contestants.tally import Tally

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_URL"]))
TALLY = Tally(os.environ["BENCH_TALLY"])


@dramatiq.actor(max_retries=0)
def item(payload: str) -> None:
    TALLY.hit()


def worker() -> list[str]:
    return ["-m", "dramatiq", "contestants.queue_dramatiq", "--processes", "2"]


def send(count: int, payload: str, *, awaited: bool) -> float:
    """`send` returns when Redis has answered: each is awaited by nature."""
    item.send(payload)
    began = time.perf_counter()
    for _ in range(count):
        item.send(payload)
    return time.perf_counter() - began
