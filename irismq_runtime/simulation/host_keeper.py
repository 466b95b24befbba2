"""A host with a job: what runs on it, and what starts it again, as an init system does.

The keeper of a machine lives on the test's own loop. It starts the program when nothing
holds the machine down, waits for its end, and starts it again: after a fault as soon as
the fault is over, after an end of its own (a broker that was not there, a tree that gave
up) a second later. Several faults may hold one machine down, or still, at the same time:
each is counted, and the last one that ends lets it go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from irismq_runtime.simulation.errors import ProcessKilled
from irismq_runtime.simulation.invariants import Life

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from irismq_runtime.simulation.host import Process, SimulatedHost
    from irismq_runtime.simulation.witness import Witness

__all__ = ["HostKeeper"]

#: Seconds until a program that ended by itself is started again.
RESTART: Final = 1.0


class HostKeeper:
    """See the module. Everything on the test's loop.

    Args:
        host: What it runs on.
        program: What runs on it; given the machine and its life. It returns when it is to end
            in order, or is cancelled before it has set `end`, and must leave nothing behind.
        witness: Hears of its lives.

    Attributes:
        name: Of the host.
        life: The process that runs, or ran last; None before the first.
        end: Ends the program in order, on its own loop; set by the program.
    """

    def __init__(
        self,
        host: SimulatedHost,
        program: Callable[[Life], Coroutine[None, None, None]],
        witness: Witness,
    ) -> None:
        self.host = host
        self.name = host.name
        self.life: Life | None = None
        self.end: Callable[[], Coroutine[None, None, None]] | None = None
        self._program = program
        self._process: Process[None] | None = None
        self._witness = witness
        self._down = 0
        self._still = 0
        self._full = 0
        self._may_run = asyncio.Event()
        self._may_run.set()

    async def keep(self) -> None:
        """Keep the program running until this is cancelled."""
        while True:
            await self._may_run.wait()
            self.life = Life(self.name, self.life.number + 1 if self.life else 1)
            process = self._process = self.host.start(self._program, self.life)
            if self._still:
                self.host.pause()
            try:
                await process.wait()
            except ProcessKilled:
                said = ""
            except asyncio.CancelledError:
                if not process.task.cancelled() or _is_cancelled():
                    raise
                said = f"the process on {self.life} was told to end, and has ended"
            except Exception as error:  # whatever a program ends with: it is started again
                said = f"the process on {self.life} failed: {type(error).__name__}: {error}"
            else:
                said = f"the process on {self.life} has ended"
            self.end = None
            self.host.kill()
            self._witness.died(self.life)
            if said and not self._down:
                self._witness.note(said)
                await asyncio.sleep(RESTART)

    # -- what faults do to it -----------------------------------------------------------

    def kill(self, *, power: bool = False) -> None:
        """Hold it down from now on: killed, or `power`: turned off."""
        self._hold_down()
        if power:
            self.host.power_off()
        else:
            self.host.kill()

    async def stop(self) -> None:
        """Hold it down from now on, and have its program end in order: SIGTERM.

        One that is still being started gives that up, as `irismq run` does.
        """
        self._hold_down()
        if self.host.running:
            with contextlib.suppress(ProcessKilled):
                await self.host.call(self.end or self._give_up)

    async def _give_up(self) -> None:
        """On the loop of the machine: end the program wherever it is."""
        if self._process is not None:
            self._process.task.cancel()

    def _hold_down(self) -> None:
        self._down += 1
        self._may_run.clear()

    def release(self) -> None:
        """One hold less; it starts when there is none."""
        self._down -= 1
        if not self._down:
            self._may_run.set()

    def fill_disk(self) -> Callable[[], None]:
        """Let nothing more be written to its disk; return what takes this hold away."""
        self._full += 1
        self.host.disk.full = True

        def empty() -> None:
            self._full -= 1
            self.host.disk.full = self._full > 0

        return empty

    def pause(self) -> None:
        """Let it stand still from now on."""
        self._still += 1
        if self._still == 1:
            self._witness.stands_still(self.name, still=True)
            if self.host.running:
                self.host.pause()

    def resume(self) -> None:
        """One hold less; it goes on when there is none."""
        self._still -= 1
        if not self._still:
            self._witness.stands_still(self.name, still=False)
            self.host.resume()


def _is_cancelled() -> bool:
    """Whether the running task itself is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
