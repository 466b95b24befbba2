"""Load, and what became of it: messages sent at a rate, so many at a time, each one timed.

With a rate a message is due at its time, whatever became of those before, and its time
counts from then: a service that falls behind shows it, and does not slow down who measures.
Without one the next is sent when another has ended. Knows how to wait, and nothing of nodes.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors.errors import ActorError
from actors.texts import line_of
from irismq_runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LoadOutcome", "LoadPlan", "send_load"]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is sent. `rate`: messages a second; None: as fast as `in_flight` at a time are."""

    count: int
    in_flight: int
    rate: float | None = None


@dataclass(slots=True)
class LoadOutcome:
    """What became of it. `times`: seconds of each that was answered; `errors`: by their text."""

    seconds: float = 0.0
    times: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values: times in milliseconds, None where nothing was answered."""
        times = sorted(self.times)
        shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "longest_ms": 1.0}
        return {
            "done": len(times),
            "failed": self.errors.total(),
            "seconds": round(self.seconds, 3),
            "rate": round(len(times) / self.seconds, 1) if self.seconds else None,
            **{name: _at(times, share) for name, share in shares.items()},
            "errors": dict(self.errors.most_common()),
        }


def _at(times: list[float], share: float) -> float | None:
    """The time that `share` of all took no longer than, in ms: one of those measured."""
    return round(times[math.ceil(share * len(times)) - 1] * 1000, 3) if times else None


async def send_load(
    load: LoadPlan, send: Callable[[], Awaitable[object]], clock: Callable[[], float]
) -> LoadOutcome:
    """Send all of a load; an error of the actor, the node or the broker is counted.

    Args:
        load: What is sent.
        send: Sends one message; done when it is answered, or stored.
        clock: Gives seconds. That of a loop may know whole milliseconds alone.
    """
    outcome, begin, numbers = LoadOutcome(), clock(), iter(range(load.count))

    async def work() -> None:
        for number in numbers:
            since = clock()
            if load.rate is not None:
                due = begin + number / load.rate
                await asyncio.sleep(due - since)
                since = due
            try:
                await send()
            except (ActorError, RuntimeFault) as error:
                outcome.errors[line_of(error)] += 1
            else:
                outcome.times.append(clock() - since)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(load.in_flight, load.count)):
            group.create_task(work())
    outcome.seconds = clock() - begin
    return outcome
