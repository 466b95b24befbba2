"""The random trees of test_otp_order, on real actors: hundreds of them, the same order."""

from __future__ import annotations

import random

import pytest

from actors import Actor, Ignore, runtime
from supervisors import Supervisor, child, start, which_children
from supervisors.requests import executor_of
from tests.supervisors.helpers import manual_system
from tests.supervisors.otp_model import OtpTree
from tests.supervisors.test_otp_order import random_plans, start_script
from tests.support.until import until

TREES = 300
BATCHES = 3


class Leaf(Actor):
    def __init__(self, path, script, log):
        self.path, self.script, self.log = path, script, log

    def on_start(self):
        outcome = self.script(self.path)
        self.log.append(("start" if outcome == "ok" else outcome, self.path))
        if outcome == "fail":
            raise OSError("port busy")
        if outcome == "ignore":
            raise Ignore

    ending = False

    def on_receive(self, reason):
        if reason == "crash":
            raise ValueError("boom")
        # Its own end is not a stop by its supervisor: it is not logged as one.
        self.ending = True
        runtime.exit_with(self._slot, reason)

    def on_stop(self, reason):
        if not self.ending:
            self.log.append(("stop", self.path))


def real_tree(plans, script, log, path=()):
    policy, specs = plans[path]
    children = []
    for spec in specs:
        below = (*path, spec.name)
        options = {"restart": spec.restart, "significant": spec.significant, "name": spec.name}
        if below in plans:
            children.append(child(real_tree(plans, script, log, below), **options))
        else:
            children.append(child(Leaf, below, script, log, **options))
    return Supervisor.of(
        *children,
        strategy=policy.strategy,
        max_restarts=policy.intensity.max_restarts,
        max_seconds=policy.intensity.max_seconds,
        auto_shutdown=policy.auto_shutdown,
        name="/".join(path) or "root",
    )


def population(ref, path=()):
    found = {}
    for info in which_children(ref):
        if info.ref is None or info.state != "running":
            continue
        here = (*path, info.name)
        if info.kind == "supervisor":
            found.update(population(info.ref, here))
        else:
            found[here] = info.ref
    return found


def at_rest(supervisor):
    """No child anywhere is on its way to something else, and no supervisor to its end."""
    if not supervisor.is_alive():
        return True
    executor = executor_of(supervisor)
    if executor is None or executor.state.mode != "up":
        return False
    return all(
        info.state in {"running", "down"}
        and (info.kind == "worker" or info.ref is None or at_rest(info.ref))
        for info in which_children(supervisor)
    )


async def run_both(seed):
    rng = random.Random(seed)
    plans = random_plans(rng)
    system, clock = manual_system()
    log = []
    root = start(real_tree(plans, start_script(seed), log), system)
    shared = [0.0]
    model = OtpTree(plans, start_script(seed), shared)
    await until(lambda: at_rest(root))
    assert log == model.log
    assert root.is_alive() == model.alive
    for _ in range(rng.randint(1, 8)):
        alive = population(root)
        assert list(alive) == model.population()
        if not alive:
            break
        step = rng.choice([0, 0, 0.5, 1, 2, 5, 6])
        clock.advance(step)
        shared[0] += step
        path = rng.choice(list(alive))
        reason = rng.choices(["crash", "normal", "shutdown"], [6, 1, 1])[0]
        slot = alive[path]._slot
        before = slot.incarnation
        alive[path].tell(reason)
        await until(lambda c=slot, b=before: c.incarnation != b or c.state.value != "running")
        await until(lambda: at_rest(root))
        model.crash(path, reason)
        assert log == model.log
        assert root.is_alive() == model.alive
    if root.is_alive():
        await root.stop()
        model.root.terminate()
        assert log == model.log
    await until(lambda: len(system) == 0)
    return len(log)


@pytest.mark.parametrize("batch", range(BATCHES))
async def test_random_trees_of_real_actors_end_as_otp_would_end_them(batch, caplog):
    caplog.set_level("CRITICAL")
    size = TREES // BATCHES
    steps = [await run_both(seed) for seed in range(batch * size, (batch + 1) * size)]
    assert sum(steps) > 10 * size
