"""What all parts of one simulation share: its future, its chance, its digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING

from irismq_runtime.simulation.conditions import Conditions
from irismq_runtime.simulation.digest import RunDigest
from irismq_runtime.simulation.events import EventQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.simulation.chance import Chance
    from irismq_runtime.simulation.loop import SimulatedLoop

__all__ = ["SimulationContext"]


@dataclass(slots=True)
class SimulationContext:
    """Made once by `Simulation` and passed down whole."""

    chance: Chance
    conditions: Conditions = field(default_factory=Conditions)
    events: EventQueue = field(default_factory=EventQueue)
    digest: RunDigest = field(default_factory=RunDigest)
    #: What happened one at a time: callbacks that loops ran, jobs that threads did, segments
    #: and dials that arrived. What only says when a loop runs again is none.
    steps: int = 0
    #: The loop whose code runs at this moment, in a turn or in a thread of its.
    running: SimulatedLoop | None = None
    #: Errors that nobody caught, with the loop they belong to, as asyncio describes them.
    uncaught: list[tuple[SimulatedLoop, dict[str, object]]] = field(default_factory=list)
    #: What was done to hosts and network, with its time: the story of the run.
    story: list[tuple[float, str]] = field(default_factory=list)
    #: The thread of the simulation.
    thread: int = field(default_factory=get_ident)
    next_number: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    def note(self, text: str) -> None:
        """Something was done to a host or the network: it belongs to story and digest."""
        self.story.append((self.events.now, text))
        self.digest.add((self.events.now,))
        self.digest.text(text)
