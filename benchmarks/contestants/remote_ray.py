"""Ray: one actor process on this machine, asked by its driver."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray

from contestants.remote_meter import IN_FLIGHT, PAYLOAD, percentiles


class Echo:
    def echo(self, payload: bytes) -> bytes:
        return payload


def measure(scale: float) -> dict[str, Any]:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level=logging.ERROR,
        object_store_memory=200_000_000,
    )
    try:
        actor = ray.remote(Echo).remote()
        for _ in range(100):
            ray.get(actor.echo.remote(PAYLOAD))
        took = []
        for _ in range(int(2_000 * scale)):
            began = time.perf_counter()
            ray.get(actor.echo.remote(PAYLOAD))
            took.append(time.perf_counter() - began)
        return {**percentiles(took), "asks in flight": in_flight(actor, int(8_000 * scale))}
    finally:
        ray.shutdown()


def in_flight(actor: Any, count: int) -> float:
    """The oldest is fetched, a new one asked: always `IN_FLIGHT` outstanding."""
    from collections import deque

    began = time.perf_counter()
    waiting = deque(actor.echo.remote(PAYLOAD) for _ in range(IN_FLIGHT))
    for number in range(count):
        ray.get(waiting.popleft())
        if number + IN_FLIGHT < count:
            waiting.append(actor.echo.remote(PAYLOAD))
    return count / (time.perf_counter() - began)
