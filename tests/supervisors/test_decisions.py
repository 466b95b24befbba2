"""Every event in every state; and what always holds, whatever happens in whatever order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.exits import Exit
from supervisors import _events as ev
from supervisors._children import ALIVE, Child, Children, Phase
from supervisors._decisions import decide
from supervisors._intensity import Intensity
from supervisors._state import Mode, Plan, Policy, State, initial
from supervisors.backoff import Backoff
from supervisors.spec import ChildSpec
from tests.supervisors.fake_tree import FakeWorker

NAMES = ("a", "b", "c")
EXITS = [Exit(reason) for reason in ("normal", "shutdown", "killed", "crash", "start_failed")]


def spec(name, restart="permanent", **more):
    return ChildSpec(FakeWorker, name=name, restart=restart, **more)


def every_event(name="b", generation=1):
    yield ev.Boot()
    yield ev.Started(name, generation)
    yield ev.Ignored(name, generation)
    for exit_ in EXITS:
        yield ev.StartFailed(name, generation, exit_)
        yield ev.Died(name, generation, exit_)
        yield ev.Stopped(name, generation, exit_)
    yield ev.RetryDue(name, generation)
    yield ev.StartChild(1, spec(name))
    yield ev.StartChild(1, spec("new", "temporary"))
    yield ev.TerminateChild(1, name)
    yield ev.RestartChild(1, name)
    yield ev.DeleteChild(1, name)
    yield ev.Close()
    yield ev.Kill()


def every_state():
    """Each mode, with and without a plan, and child `b` in each phase under each rule."""
    for mode in Mode:
        for phase in Phase:
            for restart in ("permanent", "transient", "temporary"):
                for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
                    for backoff in (None, Backoff(1, 8)):
                        policy = Policy(strategy, backoff=backoff)
                        yield state_of(policy, mode, phase, restart)
            yield state_of(Policy(dynamic=True, max_children=3), mode, phase, "permanent")


def state_of(policy, mode, phase, restart):
    up = Phase.RUNNING
    children = (
        Children()
        .put(Child(spec("a"), 0, up, 1))
        .put(Child(spec("b", restart), 1, phase, 1, last_exit=EXITS[3]))
        .put(Child(spec("c", "transient"), 2, up, 1))
    )
    plan = None
    if not policy.dynamic and mode is Mode.BOOTING:
        plan = Plan(starts=NAMES, started=2)
    if not policy.dynamic and mode is Mode.CLOSING:
        plan = Plan(stops=NAMES[::-1], stopped=1)
    verdict = ev.Verdict("asked") if mode in {Mode.CLOSING, Mode.CLOSED} else None
    return State(policy, children, mode, plan, verdict=verdict)


def tokens_of(state):
    waiting = Counter()
    for child in state.children:
        waiting.update(child.starters)
        waiting.update(child.stoppers)
    waiting.update(event.token for event in state.deferred if hasattr(event, "token"))
    return waiting


def check_step(before, event, state, actions):
    """What holds of any one decision."""
    answered = Counter(
        action.token for action in actions if isinstance(action, ev.Answer | ev.Refuse)
    )
    asked = tokens_of(before) + Counter([event.token] if hasattr(event, "token") else [])
    assert answered + tokens_of(state) == asked, "a request is answered once, or still waits"
    started = [action.name for action in actions if isinstance(action, ev.Start)]
    assert len(started) == len(set(started))
    stopped = [action.name for action in actions if isinstance(action, ev.Stop)]
    for name in started:
        # What was deferred may end in the same decision a child that it has just started.
        expected = Phase.STOPPING if name in stopped else Phase.STARTING
        assert state.children.get(name).phase is expected
    if any(isinstance(action, ev.Finish) for action in actions):
        assert state.mode is Mode.CLOSED
        assert before.mode is not Mode.CLOSED
        assert not any(child.alive for child in state.children)
    if before.mode in {Mode.CLOSING, Mode.CLOSED}:
        assert not started, "nothing starts during the end"
    if before.mode is Mode.CLOSED:
        assert state.mode is Mode.CLOSED
    assert state.children.count(*ALIVE) == sum(child.alive for child in state.children)


def test_every_event_is_taken_in_every_state():
    pairs = 0
    for state in every_state():
        for event in every_event():
            after, actions = decide(state, event, 10.0)
            check_step(state, event, after, actions)
            pairs += 1
    assert pairs > 15_000


def test_news_of_an_older_generation_changes_nothing():
    for state in every_state():
        for event in every_event(generation=0):
            if hasattr(event, "generation"):
                assert decide(state, event, 10.0) == (state, ())


def test_a_decision_does_not_change_the_state_it_is_given():
    state = state_of(Policy("one_for_all"), Mode.UP, Phase.RUNNING, "permanent")
    before = repr(state)
    decide(state, ev.Died("b", 1, Exit("crash")), 10.0)
    assert repr(state) == before


# --- whatever happens, in whatever order -------------------------------------------------

policies = st.builds(
    Policy,
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    intensity=st.builds(Intensity, st.integers(0, 3), st.sampled_from([1.0, 5.0])),
    backoff=st.sampled_from([None, Backoff(1, 8)]),
    dynamic=st.booleans(),
    max_children=st.sampled_from([None, 4]),
)
specs = st.lists(
    st.sampled_from(["permanent", "transient", "temporary"]), min_size=1, max_size=4
).map(lambda kinds: [spec(f"c{place}", kind) for place, kind in enumerate(kinds)])
steps = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=60)


class Chaos:
    """Actors that answer in any order: starts and stops are in flight until chosen."""

    def __init__(self, state):
        self.state, self.now, self.token = state, 0.0, 0
        self.flights, self.alive, self.due = [], {}, []
        self.finished = False

    def feed(self, event):
        before = self.state
        self.state, actions = decide(before, event, self.now)
        check_step(before, event, self.state, actions)
        for action in actions:
            self.take(action)

    def take(self, action):
        match action:
            case ev.Start(name, generation, _):
                assert name not in self.alive, "two incarnations at the same time"
                self.alive[name] = generation
                self.flights.append((name, generation, "start"))
            case ev.Stop(name, generation, _):
                self.flights.append((name, generation, "stop"))
            case ev.StopAll(stops):
                for stop in stops:
                    self.take(stop)
            case ev.Retry(name, generation, _):
                self.due.append((name, generation))
            case ev.Finish():
                assert not self.finished
                assert not self.alive
                self.finished = True

    def land(self, choice, outcome):
        """One start or stop that is in flight comes to its end."""
        if not self.flights:
            return
        name, generation, verb = self.flights.pop(choice % len(self.flights))
        if self.alive.get(name) != generation:
            return
        if verb == "stop" or outcome:
            stopping = any(flight[:2] == (name, generation) for flight in self.flights)
            if verb == "start" and stopping:
                return
            if verb == "start" and outcome != 1:
                del self.alive[name]
                kind = ev.Ignored(name, generation) if outcome == 3 else None
                self.feed(kind or ev.StartFailed(name, generation, Exit("start_failed")))
            elif verb == "start":
                self.feed(ev.Started(name, generation))
            else:
                del self.alive[name]
                self.feed(ev.Stopped(name, generation, Exit("shutdown" if outcome else "killed")))
        else:
            self.flights.append((name, generation, verb))

    def step(self, choice, detail):
        self.token += 1
        if choice < 12:
            self.land(choice, detail)
        elif choice < 18:
            self.die(choice, detail)
        elif choice < 22:
            if self.due:
                self.feed(ev.RetryDue(*self.due.pop(choice % len(self.due))))
        elif choice == 26:
            self.now += detail * 2
        elif choice < 27 or detail == 0:
            self.ask(choice, detail)

    def die(self, choice, detail):
        """One of those that run ends on its own."""
        flying = {flight[:2] for flight in self.flights}
        running = [child for child in self.alive.items() if child not in flying]
        if running:
            name, generation = running[choice % len(running)]
            del self.alive[name]
            self.feed(ev.Died(name, generation, EXITS[detail]))

    def ask(self, choice, detail):
        name = f"c{detail}"
        requests = {
            22: ev.StartChild(self.token, spec(f"n{detail}", "transient")),
            23: ev.TerminateChild(self.token, name),
            24: ev.RestartChild(self.token, name),
            25: ev.DeleteChild(self.token, name),
            27: ev.Close(),
            28: ev.Kill(),
        }
        if choice in requests:
            self.feed(requests[choice])

    def settle(self):
        """Let everything that is in flight land well, until nothing is left to happen."""
        for _ in range(500):
            if self.flights:
                self.land(0, 1)
            elif self.due:
                self.feed(ev.RetryDue(*self.due.pop(0)))
            else:
                return
        raise AssertionError("it never comes to rest")


@settings(max_examples=400, deadline=None)
@given(policies, specs, steps)
def test_whatever_happens_it_comes_to_rest(policy, children, script):
    if policy.dynamic:
        policy = policy._replace(strategy="one_for_one")
    chaos = Chaos(initial(policy, children))
    chaos.feed(ev.Boot())
    for choice, detail in script:
        chaos.step(choice, detail)
    chaos.settle()
    state = chaos.state
    resting = {Phase.RUNNING, Phase.DOWN}
    assert {child.phase for child in state.children} <= resting
    assert state.plan is None
    assert not state.deferred
    assert not tokens_of(state), "no request waits for ever"
    assert state.mode in {Mode.UP, Mode.CLOSED}
    assert chaos.finished == (state.mode is Mode.CLOSED)
    chaos.feed(ev.Close())
    chaos.settle()
    assert chaos.finished
    assert not chaos.alive


@pytest.mark.parametrize("backoff", [None, Backoff(1, 8)], ids=["no backoff", "backoff"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_who_waits_for_one_that_is_terminated_meanwhile_starts_without_it(strategy, backoff):
    chaos = Chaos(initial(Policy(strategy, Intensity(5, 1.0), backoff), [*map(spec, NAMES)]))
    chaos.feed(ev.Boot())
    chaos.settle()
    first, *others = NAMES
    del chaos.alive[first]
    chaos.feed(ev.Died(first, 1, Exit("crash")))
    while not chaos.due:  # the others stop; without a backoff its start is tried, and fails
        chaos.land(0, 1 if chaos.flights[0][2] == "stop" else 2)
    assert {chaos.state.children.get(name).phase for name in others} == {Phase.QUEUED}
    chaos.feed(ev.TerminateChild(7, first))
    chaos.settle()
    assert chaos.state.children.get(first).phase is Phase.DOWN
    assert {chaos.state.children.get(name).phase for name in others} == {Phase.RUNNING}


def test_who_waits_for_another_one_as_well_goes_on_to_wait():
    policy = Policy("rest_for_one", Intensity(9, 9.0), Backoff(1, 8))
    chaos = Chaos(initial(policy, [*map(spec, "abcd")]))
    chaos.feed(ev.Boot())
    chaos.settle()
    for name in "ca":
        generation = chaos.alive.pop(name)
        chaos.feed(ev.Died(name, generation, Exit("crash")))
        while chaos.flights:
            chaos.land(0, 1)
    chaos.feed(ev.TerminateChild(7, "a"))
    while chaos.flights:
        chaos.land(0, 1)
    phases = [chaos.state.children.get(name).phase for name in "abcd"]
    assert phases == [Phase.DOWN, Phase.RUNNING, Phase.RESTARTING, Phase.QUEUED]
    chaos.settle()
    phases = [chaos.state.children.get(name).phase for name in "abcd"]
    assert phases == [Phase.DOWN, Phase.RUNNING, Phase.RUNNING, Phase.RUNNING]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_starts_are_serial_and_stops_are_reverse(strategy):
    state = initial(Policy(strategy), [spec(name) for name in NAMES])
    state, actions = decide(state, ev.Boot(), 0.0)
    for name in NAMES:
        assert [a.name for a in actions if isinstance(a, ev.Start)] == [name]
        state, actions = decide(state, ev.Started(name, 1), 0.0)
    assert isinstance(actions[-1], ev.Booted)
    state, actions = decide(state, ev.Close(), 0.0)
    for name in reversed(NAMES):
        assert [a.name for a in actions if isinstance(a, ev.Stop)] == [name]
        state, actions = decide(state, ev.Stopped(name, 1, Exit("shutdown")), 0.0)
    assert isinstance(actions[-1], ev.Finish)
