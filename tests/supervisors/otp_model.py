"""OTP's supervisor as a plain serial program, written from its rules and not from ours.

No states and no events: a crash is carried through with ordinary loops and recursion.
It is the judge of `_decisions` in test_otp_order.py.
"""

from __future__ import annotations

EXPECTED = {"normal", "shutdown"}


class Listed:
    """One entry in a supervisor's list of children."""

    def __init__(self, spec):
        self.spec, self.name, self.on, self.sub = spec, spec.name, False, None


class OtpSupervisor:
    def __init__(self, plans, script, path, log, clock):
        self.plans, self.script, self.path, self.log, self.clock = plans, script, path, log, clock
        self.policy, specs = plans[path]
        self.children = [Listed(spec) for spec in specs]
        self.restarts = []

    def boot(self):
        for child in list(self.children):
            if not self._start(child):
                self.terminate()
                return False
        return True

    def terminate(self):
        for child in reversed(list(self.children)):
            self._stop(child)

    def _start(self, child):
        path = (*self.path, child.name)
        if path in self.plans:
            child.sub = OtpSupervisor(self.plans, self.script, path, self.log, self.clock)
            child.on = child.sub.boot()
            return child.on
        outcome = self.script(path)
        self.log.append(("start" if outcome == "ok" else outcome, path))
        child.on = outcome == "ok"
        if outcome == "ignore" and child.spec.restart == "temporary":
            self.children.remove(child)
        return outcome != "fail"

    def _stop(self, child):
        if child.on:
            child.on = False
            if child.sub is not None:
                child.sub.terminate()
            else:
                self.log.append(("stop", (*self.path, child.name)))
        if child.spec.restart == "temporary":
            self.children.remove(child)

    def died(self, name, reason):
        """A child ended on its own; False when the supervisor ends for it."""
        child = next(one for one in self.children if one.name == name)
        child.on = False
        kind = child.spec.restart
        if kind == "permanent" or (kind == "transient" and reason not in EXPECTED):
            return self._restart(child)
        if kind == "temporary":
            self.children.remove(child)
        if child.spec.significant and self.policy.auto_shutdown != "never":
            others = any(one.spec.significant and one.on for one in self.children)
            if self.policy.auto_shutdown == "any_significant" or not others:
                self.terminate()
                return False
        return True

    def _restart(self, child):
        while True:
            now, limit = self.clock[0], self.policy.intensity
            self.restarts = [t for t in [*self.restarts, now] if t >= now - limit.max_seconds]
            if len(self.restarts) > limit.max_restarts:
                self.terminate()
                return False
            failed = self._restart_once(child)
            if failed is None:
                return True
            child = failed

    def _restart_once(self, child):
        """None, or the child whose start has failed and is to be tried again."""
        if self.policy.strategy == "one_for_one":
            return None if self._start(child) else child
        place = 0 if self.policy.strategy == "one_for_all" else self.children.index(child)
        group = self.children[place:]
        for one in reversed(group):
            self._stop(one)
        for one in group:
            if one in self.children and not self._start(one):
                return one
        return None

    def supervisor(self, path):
        found = self
        for name in path:
            found = next(one for one in found.children if one.name == name).sub
        return found

    def population(self):
        names = []
        for child in self.children:
            if child.on and child.sub is not None:
                names += child.sub.population()
            elif child.on:
                names.append((*self.path, child.name))
        return names


class OtpTree:
    """A root supervisor, and failures that climb."""

    def __init__(self, plans, script, clock):
        self.log = []
        self.root = OtpSupervisor(plans, script, (), self.log, clock)
        self.alive = self.root.boot()

    def crash(self, path, reason):
        goes_on = self.root.supervisor(path[:-1]).died(path[-1], reason)
        path = path[:-1]
        while not goes_on and path:
            goes_on = self.root.supervisor(path[:-1]).died(path[-1], "shutdown")
            path = path[:-1]
        self.alive = goes_on

    def population(self):
        return self.root.population() if self.alive else []
