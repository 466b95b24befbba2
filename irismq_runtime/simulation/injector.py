"""Carries faults out, and undoes them, at their times. On the test's loop.

What carries a fault out returns what undoes it. Faults overlap as they come: each undoes
its own part and nothing else (see `host_keeper`). What was done, and undone, goes into the trace.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from irismq_runtime.simulation.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from irismq_runtime.simulation.faults import Fault, Targets
    from irismq_runtime.simulation.host_keeper import HostKeeper
    from irismq_runtime.simulation.simulation import Simulation
    from irismq_runtime.simulation.witness import Witness

__all__ = ["Injector"]


class Injector:
    """See the module.

    Args:
        simulation: Whose network and time it is.
        keepers: Of all machines, by their names.
        targets: Which of them are what.
        witness: Hears what is done.
        kept: The numbers of the faults that are carried out; None: all.
    """

    def __init__(
        self,
        simulation: Simulation,
        keepers: Mapping[str, HostKeeper],
        targets: Targets,
        witness: Witness,
        kept: Container[int] | None,
    ) -> None:
        self._simulation = simulation
        self._keepers = keepers
        self._targets = targets
        self._witness = witness
        self._kept = kept
        #: The number of the next fault of the run.
        self.next_number = 0
        self._slow: dict[tuple[str, ...], list[float]] = {}
        #: What undoes each fault that is in force, in the order in which they began.
        self._undo: dict[int, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: Those that were carried out.
        self.done: list[Fault] = []

    async def carry_out(self, plan: Iterable[Fault]) -> None:
        """Do what a plan says, at its times, until this is cancelled."""
        for fault in plan:
            await asyncio.sleep(max(0.0, fault.at - self._simulation.now))
            self.strike(fault)

    def strike(self, fault: Fault) -> None:
        """Carry one fault out now, if it is kept, and undo it when its time is over.

        One that lasts 0 s and can be undone is undone by `heal`. Its number is its place
        among all of the run, kept or not: several plans may be carried out at once.
        """
        fault = replace(fault, number=self.next_number)
        self.next_number += 1
        if self._kept is not None and fault.number not in self._kept:
            return
        self.done.append(fault)
        self._witness.note(str(fault))
        undo = self._do(fault)
        self._excuse(fault, is_over=undo is None)
        if undo is not None:
            self._undo[fault.number] = undo
            if fault.lasts:
                self._spawn(self._undo_later(fault))

    async def _undo_later(self, fault: Fault) -> None:
        await asyncio.sleep(fault.lasts)
        self._undone(fault)

    def _undone(self, fault: Fault) -> None:
        undo = self._undo.pop(fault.number, None)
        if undo is not None:
            self._witness.note(f"over: {fault}")
            self._excuse(fault, is_over=True)
            undo()

    def _excuse(self, fault: Fault, *, is_over: bool) -> None:
        """Whoever loses by it what was held may not know it yet."""
        unnoticed, holder = KINDS[fault.kind].unnoticed, self._targets.holder(fault)
        if unnoticed and holder:
            seconds = unnoticed if is_over else math.inf
            self._witness.excuse(holder, fault.number, seconds)

    def heal(self) -> None:
        """Undo all that is in force, now."""
        for fault in self.done:
            self._undone(fault)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the kinds -----------------------------------------------------------------

    def _do(self, fault: Fault) -> Callable[[], None] | None:
        """Carry a fault out; what undoes it, if anything is to be undone."""
        network = self._simulation.network
        match fault.kind:
            case "partition":
                one, other = fault.target
                return network.partition([one], [other]).heal
            case "cut":
                network.cut(*fault.target)
                return None
            case "slow":
                return self._slow_down(fault.target, fault.amount)
        return self._do_to_machine(fault, self._keepers[fault.target[0]])

    def _do_to_machine(self, fault: Fault, keeper: HostKeeper) -> Callable[[], None]:
        match fault.kind:
            case "stop":
                self._spawn(keeper.stop())
            case "pause":
                keeper.pause()
                return keeper.resume
            case "full":
                return keeper.fill_disk()
            case "clock":
                keeper.host.jump(fault.amount)
                return lambda: keeper.host.jump(-fault.amount)
            case _:
                keeper.kill(power=fault.kind == "power")
        return keeper.release

    def _slow_down(self, link: tuple[str, ...], factor: float) -> Callable[[], None]:
        factors = self._slow.setdefault(link, [])

        def set_pace() -> None:
            one, other = link
            self._simulation.network.slow(one, other, max(factors, default=1.0))

        def undo() -> None:
            factors.remove(factor)
            set_pace()

        factors.append(factor)
        set_pace()
        return undo
