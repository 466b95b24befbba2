"""Slots without actors: carries out the actions of `decide` on a whole tree, one by one.

Nothing runs at the same time here: an event is carried through to the end before
the next, so that what happens can be compared with OTP's own (serial) order.
"""

from __future__ import annotations

from collections import deque

from actors.exits import Exit
from supervisors import _events as ev
from supervisors._decisions import decide
from supervisors._state import initial


class FakeWorker:
    def on_receive(self, message):
        """Only the shape of an actor class: it is never made."""

    def on_start(self):
        """As on_receive."""


class FakeSupervisor(FakeWorker):
    """A child whose class stands for a supervisor in a `FakeTree`."""


class FakeTree:
    """One supervisor and, below it, those of its children that are supervisors.

    `plans` maps the path of a supervisor to `(policy, specs)`; a child whose path is in it
    is a supervisor. `script(path)` says how the next start of a worker goes: "ok", "fail" or
    "ignore". `log` gets `(verb, path)` for each start and stop of a worker.
    """

    def __init__(self, plans, script=lambda path: "ok", *, path=(), log=None, up=None, clock=None):
        self.plans, self.script, self.path = plans, script, path
        self.log = [] if log is None else log
        self.up = up
        self.clock = clock if clock is not None else [0.0]
        self.state = initial(*plans[path])
        self.below = {}
        self.slots = set()
        self.running = {}
        self.queue = deque()
        self.replies = {}
        self.notes = []
        self.verdict = None
        self.is_up = False
        self.busy = False

    # --- what happens --------------------------------------------------------------

    def feed(self, event):
        self.queue.append(event)
        if self.busy:
            return
        self.busy = True
        while self.queue:
            self.state, actions = decide(self.state, self.queue.popleft(), self.clock[0])
            for action in actions:
                getattr(self, type(action).__name__.lower())(action)
        self.busy = False
        if self.verdict is not None and self.up is not None and self.is_up:
            up, self.up = self.up, None
            up()

    def crash(self, name, reason="crash"):
        """The worker `name` ends on its own."""
        generation = self.running.pop(name)
        self.feed(ev.Died(name, generation, Exit(reason)))

    def boot(self):
        self.feed(ev.Boot())
        return self.verdict is None

    def close(self):
        self.feed(ev.Close())

    # --- actions --------------------------------------------------------------------

    def start(self, action):
        name, generation = action.name, action.generation
        path = (*self.path, name)
        assert name not in self.running, f"{path} started twice"
        self.slots.add(name)
        if path in self.plans:
            self._start_supervisor(path, name, generation)
            return
        outcome = self.script(path)
        self.log.append(("start" if outcome == "ok" else outcome, path))
        if outcome == "ok":
            self.running[name] = generation
            self.queue.append(ev.Started(name, generation))
        elif outcome == "fail":
            self.queue.append(ev.StartFailed(name, generation, Exit("start_failed")))
        else:
            self.queue.append(ev.Ignored(name, generation))

    def _start_supervisor(self, path, name, generation):
        def ended():
            if self.running.pop(name, None) is not None:
                self.feed(ev.Died(name, generation, Exit("shutdown")))

        tree = FakeTree(
            self.plans, self.script, path=path, log=self.log, up=ended, clock=self.clock
        )
        if tree.boot():
            self.below[name] = tree
            self.running[name] = generation
            self.queue.append(ev.Started(name, generation))
        else:
            self.queue.append(ev.StartFailed(name, generation, Exit("start_failed")))

    def stop(self, action):
        assert self.running.pop(action.name) == action.generation
        tree = self.below.pop(action.name, None)
        if tree is not None:
            tree.up = None
            tree.close()
            assert not tree.running
        else:
            self.log.append(("stop", (*self.path, action.name)))
        self.queue.append(ev.Stopped(action.name, action.generation, Exit("shutdown")))

    def stopall(self, action):
        for stop in action.stops:
            if stop.name in self.running:
                self.stop(stop)

    def end(self, action):
        self.slots.discard(action.name)

    def retry(self, action):
        self.queue.append(ev.RetryDue(action.name, action.generation))

    def answer(self, action):
        assert action.token not in self.replies
        self.replies[action.token] = "ok"

    def refuse(self, action):
        assert action.token not in self.replies
        self.replies[action.token] = action.reason

    def note(self, action):
        self.notes.append(action)

    def booted(self, action):
        self.is_up = True

    def finish(self, action):
        assert self.verdict is None, "finished twice"
        assert not self.running, f"{self.path} left {sorted(self.running)} behind"
        self.verdict = action.verdict
