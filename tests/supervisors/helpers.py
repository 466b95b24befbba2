"""Actors, gates and waiting for the tests of real trees. Nothing here sleeps."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from actors import Actor, Ignore, System
from actors.testing import ManualClock
from supervisors import start, which_children
from tests.support.until import until


class Log(list):
    """What happened, in order: `(verb, name)`."""

    def take(self):
        """What happened since the last look."""
        taken = list(self)
        self.clear()
        return taken


class Script:
    """How the starts and stops of workers go; by default well and at once.

    `starts[name]` is a list of outcomes, used up from the front: "ok", "fail", "exit",
    "ignore", or an `asyncio.Event` to wait for. `stops[name]` is an event to wait for.
    """

    def __init__(self):
        self.log = Log()
        self.starts = defaultdict(list)
        self.stops = {}


class Worker(Actor):
    """Tells `script.log` of its life; crashes when told an exception, echoes the rest."""

    def __init__(self, script, tag):
        self.script, self.tag = script, tag

    async def on_start(self):
        outcomes = self.script.starts[self.tag]
        outcome = outcomes.pop(0) if outcomes else "ok"
        if isinstance(outcome, asyncio.Event):
            self.script.log.append(("starting", self.tag))
            await outcome.wait()
            outcome = "ok"
        self.script.log.append(("start" if outcome == "ok" else outcome, self.tag))
        if outcome == "fail":
            raise OSError(f"{self.tag}: port busy")
        if outcome == "exit":
            raise SystemExit(1)
        if outcome == "ignore":
            raise Ignore

    async def on_stop(self, reason):
        self.script.log.append(("stop", self.tag))
        gate = self.script.stops.get(self.tag)
        if gate is not None:
            await gate.wait()

    def on_receive(self, message):
        if isinstance(message, BaseException):
            raise message
        return (self.tag, message)


async def rest(turns=30):
    """Let everything that can happen now happen."""
    for _ in range(turns):
        await asyncio.sleep(0)


def manual_system():
    clock = ManualClock()
    return System(clock=clock), clock


def own_timers(clock):
    """How many calls the supervisors and the stops of their children have ordered."""
    ordered = [timer.callback for _, _, timer in clock._timers if not timer.cancelled]
    # The system's own watch over slow handlers is none of ours.
    return sum(getattr(call, "__module__", "") != "actors.slow" for call in ordered)


async def begun(tree, system):
    """Start `tree` and wait for the end of its first start."""
    ref = start(tree, system)
    await ref.started()
    return ref


def child_ref(supervisor, name):
    return next(info.ref for info in which_children(supervisor) if info.name == name)


def states(supervisor):
    return {info.name: info.state for info in which_children(supervisor)}


async def crash(supervisor, name, error=None):
    """Crash the child of that name and wait until its death was decided on."""
    slot = child_ref(supervisor, name)._slot
    before = slot.incarnation, slot.exit
    slot.ref.tell(error or ValueError("boom"))
    await until(lambda: (slot.incarnation, slot.exit) != before, f"the crash of {name}")
    await rest()


async def ended(system, ref):
    """Wait until `ref` has ended and nothing is left in the system."""
    await until(lambda: not ref.is_alive(), f"the end of {ref}")
    await until(lambda: len(system) == 0, "an empty system")
