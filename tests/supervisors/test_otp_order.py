"""Random trees with random crashes do what OTP would do, in its order."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from supervisors._intensity import Intensity
from supervisors._state import Policy
from supervisors.spec import ChildSpec
from tests.supervisors.fake_tree import FakeSupervisor, FakeTree, FakeWorker
from tests.supervisors.otp_model import OtpTree

#: Trees of one test, and the numbers of the tests; all but the first two are long ones.
TREES = 400
BATCHES = [0, 1, *(pytest.param(batch, marks=pytest.mark.soak) for batch in range(2, 25))]


def random_spec(rng, name, policy, *, supervisor):
    restart = rng.choices(["permanent", "transient", "temporary"], [5, 2, 1])[0]
    significant = policy.auto_shutdown != "never" and restart != "permanent" and rng.random() < 0.7
    cls = FakeSupervisor if supervisor else FakeWorker
    return ChildSpec(cls, name=name, restart=restart, significant=significant)


def random_plans(rng, path=(), depth=0):
    """The policy and the children of each supervisor of a random tree, by path."""
    policy = Policy(
        strategy=rng.choice(["one_for_one", "one_for_all", "rest_for_one"]),
        intensity=Intensity(rng.choice([0, 1, 2, 3, 5]), rng.choice([2, 5])),
        auto_shutdown=rng.choice(["never", "never", "any_significant", "all_significant"]),
    )
    plans, specs = {}, []
    for number in range(rng.randint(1, 4)):
        supervisor = depth < 2 and rng.random() < 0.3
        spec = random_spec(rng, f"c{number}", policy, supervisor=supervisor)
        specs.append(spec)
        if supervisor:
            plans.update(random_plans(rng, (*path, spec.name), depth + 1))
    plans[path] = (policy, specs)
    return plans


def start_script(seed):
    """How each start goes, the same for the same place and number of start."""
    starts = Counter()

    def outcome(path):
        starts[path] += 1
        draw = random.Random(f"{seed} {path} {starts[path]}").random()
        if starts[path] == 1:
            return "fail" if draw < 0.01 else "ignore" if draw < 0.04 else "ok"
        return "fail" if draw < 0.2 else "ignore" if draw < 0.24 else "ok"

    return outcome


def population(tree):
    if tree.verdict is not None:
        return []
    names = []
    for child in tree.state.children:
        if child.name in tree.below and child.name in tree.running:
            names += population(tree.below[child.name])
        elif child.name in tree.running:
            names.append((*tree.path, child.name))
    return names


def find(tree, path):
    for name in path:
        tree = tree.below[name]
    return tree


def run_both(seed):
    rng = random.Random(seed)
    plans = random_plans(rng)
    clock = [0.0]
    ours = FakeTree(plans, start_script(seed), clock=clock)
    theirs = OtpTree(plans, start_script(seed), clock)
    assert ours.boot() == theirs.alive
    assert ours.log == theirs.log
    for _ in range(rng.randint(1, 8)):
        alive = population(ours)
        assert alive == theirs.population()
        if not alive:
            break
        clock[0] += rng.choice([0, 0, 0.5, 1, 2, 5, 6])
        path, reason = rng.choice(alive), rng.choices(["crash", "normal", "shutdown"], [6, 1, 1])[0]
        find(ours, path[:-1]).crash(path[-1], reason)
        theirs.crash(path, reason)
        assert ours.log == theirs.log
        assert (ours.verdict is None) == theirs.alive
    if ours.verdict is None:
        ours.close()
        theirs.root.terminate()
        assert ours.log == theirs.log
    assert not ours.running
    assert not ours.slots
    return len(ours.log)


@pytest.mark.parametrize("batch", BATCHES)
def test_random_trees_end_as_otp_would_end_them(batch):
    steps = [run_both(seed) for seed in range(batch * TREES, (batch + 1) * TREES)]
    assert sum(steps) > 10 * TREES, "too few starts and stops to prove anything"
