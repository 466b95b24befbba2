"""Celery on Redis. The settings are those of its page "Optimizing": many small tasks
prefetched, no results kept, a pool of producers. A task is acknowledged when it has
returned (acks_late), as everywhere in this benchmark.
"""

from __future__ import annotations

import os
import time

from celery import Celery

from contestants.tally import Tally

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=128,
    broker_pool_limit=10,
    worker_send_task_events=False,
)
TALLY = Tally(os.environ["BENCH_TALLY"])


@app.task(name="item")
def item(payload: str) -> None:
    TALLY.hit()


def worker() -> list[str]:
    """Its default pool, a process for each core."""
    return [
        *("-m", "celery", "-A", "contestants.queue_celery", "worker", "--concurrency", "2"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"),
    ]


def send(count: int, payload: str, *, awaited: bool) -> float:
    """`apply_async` returns when Redis has answered: each is awaited by nature."""
    with app.producer_pool.acquire(block=True) as producer:
        item.apply_async((payload,), producer=producer)
        began = time.perf_counter()
        for _ in range(count):
            item.apply_async((payload,), producer=producer)
        return time.perf_counter() - began
