"""Limits of restarts, children that fail or hang, and supervisors that end in the middle."""

from __future__ import annotations

import asyncio
import threading

import pykka
import pytest

from actors import Actor, AskTimeout, Refused, ThreadActor
from supervisors import (
    DynamicSupervisor,
    Supervisor,
    child,
    count_children,
    start,
    start_child,
    terminate_child,
    tree_of,
    which_children,
)
from tests.supervisors.helpers import (
    Script,
    Worker,
    begun,
    child_ref,
    crash,
    ended,
    manual_system,
    own_timers,
    rest,
    states,
)
from tests.support.until import until


class Stubborn(Actor):
    """Does not stop before its gate opens; swallows one cancellation after another."""

    def __init__(self, gate):
        self.gate = gate

    async def on_stop(self, reason):
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                continue


class Slow(Actor):
    """Takes until `gate` to stop, and lets itself be cancelled."""

    def __init__(self, gate):
        self.gate = gate

    async def on_stop(self, reason):
        await self.gate.wait()


class Spawner(Actor):
    """Wants one more sibling while it is being stopped."""

    def __init__(self, seen):
        self.seen = seen

    async def on_stop(self, reason):
        parent = self._slot.parent
        try:
            await start_child(parent, child(Slow, self.seen["gate"], name="late"))
        except Refused as error:
            self.seen["code"] = error.code


async def test_no_orphans_when_a_supervisor_is_killed_in_the_middle_of_stopping():
    gate = asyncio.Event()
    for round_ in range(4):
        system, clock = manual_system()
        inner = Supervisor.of(*(child(Slow, gate, name=f"s{n}") for n in range(20)), name="inner")
        ref = await begun(Supervisor.of(child(inner, shutdown=0.1)), system)
        assert len(system) == 22
        stopping = ref.stop()
        await rest(3)
        clock.advance(0.1 if round_ % 2 else 0.2)
        await until(lambda system=system: len(system) == 0, "0 actors left")
        assert await stopping is True
        # The stop of the killed one may have left its patience for `finally` blocks behind.
        clock.advance(10.0)
        assert own_timers(clock) == 0


async def test_no_orphans_when_the_whole_system_has_no_more_patience():
    gate = asyncio.Event()
    system, clock = manual_system()
    inner = Supervisor.of(*(child(Slow, gate, name=f"s{n}") for n in range(20)), name="inner")
    await begun(Supervisor.of(inner, Supervisor.of(child(Slow, gate), name="other")), system)
    stopping = asyncio.ensure_future(system.shutdown(timeout=0.1))
    await rest(3)
    clock.advance(0.2)
    await stopping
    assert len(system) == 0


async def test_spawning_during_the_stop_is_refused(world):
    system, _ = world
    seen = {"gate": asyncio.Event()}
    ref = await begun(Supervisor.of(child(Spawner, seen, shutdown="infinity")), system)
    await ref.stop()
    assert seen["code"] == "shutting_down"
    await ended(system, ref)


async def test_a_request_that_waits_is_refused_when_the_stop_begins(world):
    system, _ = world
    gate = asyncio.Event()
    ref = await begun(Supervisor.of(child(Slow, gate, shutdown="infinity")), system)
    stopping = ref.stop()
    waiting = start_child(ref, child(Slow, gate, name="late"))
    with pytest.raises(Refused) as caught:
        await waiting
    assert caught.value.code == "shutting_down"
    gate.set()
    await stopping


@pytest.mark.parametrize("how", ["fail", "exit"])
async def test_a_child_that_fails_in_every_start_ends_the_supervisor(world, script, how):
    system, _ = world
    ref = await begun(Supervisor.of(child(Worker, script, "a", name="a")), system)
    script.starts["a"] = [how] * 100
    child_ref(ref, "a").tell(ValueError("boom"))
    await ended(system, ref)
    assert script.log.count((how, "a")) == 3


async def test_starts_slower_than_the_window_that_fail_are_counted(world, script):
    system, clock = world
    ref = await begun(Supervisor.of(child(Worker, script, "a", name="a")), system)

    class Late:
        """Fails after ten seconds."""

    async def slow_failure(self):
        waited = asyncio.Event()
        clock.call_later(10.0, waited.set)
        script.log.append(("try", "a"))
        await waited.wait()
        raise OSError("port busy")

    child_ref(ref, "a")._slot.actor_class = type(
        "SlowFailure", (Worker,), {"on_start": slow_failure}
    )
    child_ref(ref, "a").tell(ValueError("boom"))
    for tries in range(1, 4):
        await until(lambda tries=tries: script.log.count(("try", "a")) == tries)
        clock.advance(10.0)
    await ended(system, ref)
    assert ref.exit.reason == "shutdown"


async def test_stops_slower_than_the_window_are_not_counted_as_quiet_time(world, script):
    system, clock = world
    tree = Supervisor.of(
        child(Worker, script, "a", name="a"),
        child(Worker, script, "b", name="b", shutdown="infinity"),
        strategy="one_for_all",
    )
    parent = await begun(Supervisor.of(child(tree, name="inner"), name="outer"), system)
    inner = child_ref(parent, "inner")
    for restart in range(3):
        script.stops["b"] = gate = asyncio.Event()
        child_ref(inner, "a").tell(ValueError("boom"))
        await until(lambda r=restart: script.log.count(("stop", "b")) == r + 1)
        clock.advance(10.0)
        gate.set()
        await until(lambda: states(inner) == {"a": "running", "b": "running"})
    assert tree_of(parent).children[0].restarts == 0
    child_ref(inner, "a").tell(ValueError("one too many"))
    await until(lambda: tree_of(parent).children[0].restarts == 1, "the parent's restart")
    assert tree_of(parent).children[0].last_exit["reason"] == "shutdown"


@pytest.mark.parametrize("how", ["fail", "exit"])
async def test_a_restart_that_fails_is_counted_and_tried_again(world, script, how):
    system, _ = world
    children = [child(Worker, script, name, name=name) for name in "abc"]
    ref = await begun(Supervisor.of(*children, max_restarts=5), system)
    script.log.clear()
    script.starts["b"] = [how, how]
    await crash(ref, "b")
    await until(lambda: states(ref)["b"] == "running")
    assert tree_of(ref).children[1].restarts == 3
    assert script.log == [(how, "b"), (how, "b"), ("start", "b")]


async def test_an_error_in_the_constructor_is_a_failed_start(world):
    system, _ = world
    fails = [False, True, True, False]

    class Made(Actor):
        def __init__(self):
            if fails.pop(0):
                raise OSError("port busy")

        def on_receive(self, message):
            raise message

    ref = await begun(Supervisor.of(Made, max_restarts=5), system)
    await crash(ref, "Made")
    await until(lambda: states(ref)["Made"] == "running")
    assert tree_of(ref).children[0].restarts == 3


async def test_children_that_end_normally_use_up_no_restarts(world):
    system, _ = world

    class Brief(Actor):
        def on_receive(self, message):
            self.stop()

    ref = await begun(DynamicSupervisor, system)
    for number in range(1000):
        restart = "transient" if number % 2 else "temporary"
        brief = await start_child(ref, child(Brief, restart=restart))
        brief.tell("end")
    await until(lambda: count_children(ref).specs == 0)
    assert ref.is_alive()
    assert ref._slot.actor._executor.state.window.entries == ()


@pytest.mark.parametrize(("limit", "recovers"), [(3, False), (10, True)])
async def test_four_of_four_killed_at_once(world, script, limit, recovers):
    system, _ = world
    children = [child(Worker, script, name, name=name) for name in "abcd"]
    ref = await begun(Supervisor.of(*children, max_restarts=limit), system)
    for name in "abcd":
        child_ref(ref, name).tell(ValueError("boom"))
    if recovers:
        await until(lambda: script.log.count(("start", "d")) == 2)
        await until(lambda: count_children(ref).active == 4)
    else:
        await ended(system, ref)
        assert ref.exit.reason == "shutdown"


async def test_a_circle_of_siblings_gives_up_in_bounded_time(world, caplog):
    system, clock = world
    refs, errors = {}, []

    class Needy(Actor):
        def __init__(self, name, other):
            self.name, self.other = name, other

        async def on_start(self):
            refs[self.name] = self.actor_ref
            if self.other in refs:
                try:
                    await refs[self.other].ask("ready?", timeout=1.0)
                except Exception as error:
                    errors.append(type(error))
                    raise

        def on_receive(self, message):
            if isinstance(message, Exception):
                raise message
            return "yes"

    caplog.set_level("INFO", "supervisors")
    ref = await begun(
        Supervisor.of(child(Needy, "a", "b", name="a"), child(Needy, "b", "a", name="b")), system
    )
    both = [child_ref(ref, name) for name in "ab"]
    for one in both:
        one.tell(ValueError("boom"))
    began = clock.monotonic()
    while ref.is_alive():
        await rest()
        clock.advance(0.25)
        assert clock.monotonic() - began < 10.0, "it goes on for ever"
    assert set(errors) <= {AskTimeout}
    assert errors
    assert len([r for r in caplog.records if r.name == "supervisors"]) <= 10


async def test_a_hundred_children_survive_random_crashes(world, script):
    import random

    system, _ = world
    rng = random.Random(74)
    reports = []
    system.events.subscribe(
        lambda event: (
            reports.append(event.fields["report"])
            if event.name == "supervisor.child_terminated"
            else None
        )
    )
    ref = await begun(
        Supervisor.of(child(Worker, script, "w", name="w", instances=100), max_restarts=10_000),
        system,
    )
    deaths = 0
    for info in which_children(ref):
        for _ in range(rng.randint(0, 5)):
            info.ref.tell(KeyError("random"))
            deaths += 1
    await until(lambda: len(reports) == deaths)
    await until(lambda: count_children(ref).active == 100)
    assert {(report.reason, report.exit.message_type) for report in reports} == {
        ("crash", "KeyError")
    }


async def test_a_child_that_swallows_its_cancellation_is_abandoned_and_named(world, caplog):
    system, clock = world
    gate = asyncio.Event()
    reports = []
    system.events.subscribe(
        lambda event: (
            reports.append(event.fields["report"])
            if event.name == "supervisor.shutdown_error"
            else None
        )
    )
    ref = await begun(Supervisor.of(child(Stubborn, gate, name="mule", shutdown=3.0)), system)
    stopping = ref.stop()
    await rest()
    clock.advance(2.9)
    await rest()
    assert not stopping.done()
    clock.advance(0.1)
    await rest()
    clock.advance(0.2)
    await stopping
    gate.set()
    assert [report.offender.name for report in reports] == ["mule"]
    assert reports[0].reason == "killed"
    assert "Stubborn" in caplog.text
    await ended(system, ref)


class Sleeper(ThreadActor):
    """Blocks its thread until it is let go."""

    def __init__(self, let_go, asleep):
        super().__init__()
        self.let_go, self.asleep = let_go, asleep

    def on_receive(self, message):
        self.asleep.set()
        self.let_go.wait()


class PlainSleeper(pykka.ThreadingActor):
    """The same, of a class that knows nothing of us."""

    def __init__(self, let_go, asleep):
        super().__init__()
        self.let_go, self.asleep = let_go, asleep

    def on_receive(self, message):
        self.asleep.set()
        self.let_go.wait()


@pytest.mark.blocking_ok
@pytest.mark.parametrize("sleeper", [Sleeper, PlainSleeper])
async def test_a_thread_that_does_not_end_is_abandoned_and_named(world, caplog, sleeper):
    system, clock = world
    let_go, asleep = threading.Event(), threading.Event()
    ref = await begun(
        Supervisor.of(child(sleeper, let_go, asleep, name="mule", shutdown=3.0)), system
    )
    try:
        child_ref(ref, "mule").tell("sleep")
        await until(asleep.is_set)
        stopping = ref.stop()
        await rest()
        clock.advance(3.0)
        await until(stopping.done)
    finally:
        let_go.set()
    assert sleeper.__name__ in caplog.text
    await ended(system, ref)


async def test_each_dynamic_child_restarts_with_its_own_arguments(world, script):
    system, _ = world
    big = bytes(50_000_000)

    class Holder(Worker):
        def __init__(self, script, tag, load, *, extra):
            super().__init__(script, tag)
            self.load, self.extra = load, extra

        def on_receive(self, message):
            if message == "what":
                return self.tag, self.load, self.extra
            return super().on_receive(message)

    ref = await begun(DynamicSupervisor, system)
    loads = [big, *([number] for number in range(9))]
    refs = [
        await start_child(ref, child(Holder, script, f"h{n}", load, extra=n, name=f"h{n}"))
        for n, load in enumerate(loads)
    ]
    script.log.clear()
    for hurt in (0, 5):
        await crash(ref, f"h{hurt}")
    assert script.log == [("start", "h0"), ("start", "h5")]
    for number, one in enumerate(refs):
        tag, load, extra = await one.ask("what")
        assert (tag, extra) == (f"h{number}", number)
        assert load is loads[number]


async def test_ignore_leaves_no_hole(world, script):
    system, _ = world
    kinds = ("permanent", "transient", "temporary")
    for kind in kinds:
        script.starts[kind] = ["ignore"]
    children = [child(Worker, script, kind, name=kind, restart=kind) for kind in kinds]
    ref = await begun(Supervisor.of(*children), system)
    assert states(ref) == {"permanent": "down", "transient": "down"}
    assert [info.ref for info in which_children(ref)] == [None, None]
    await ref.stop()
    await ended(system, ref)


async def test_ignore_at_a_restart_then_stop(world, script):
    system, _ = world
    children = [child(Worker, script, name, name=name) for name in "ab"]
    ref = await begun(Supervisor.of(*children), system)
    script.starts["a"] = ["ignore"]
    child_ref(ref, "a").tell(ValueError("boom"))
    await until(lambda: states(ref)["a"] == "down")
    assert count_children(ref) == (2, 1, 0, 2)
    await ref.stop()
    await ended(system, ref)
    assert script.log[-1] == ("stop", "b")


async def test_a_dynamic_child_that_ignores_is_forgotten(world, script):
    system, _ = world
    ref = await begun(DynamicSupervisor, system)
    script.starts["a"] = ["ignore"]
    assert await start_child(ref, child(Worker, script, "a", name="a")) is None
    assert which_children(ref) == []


async def test_a_slow_start_blocks_neither_questions_nor_other_restarts(world, script):
    system, _ = world
    ref = await begun(
        Supervisor.of(*(child(Worker, script, name, name=name) for name in "abc")), system
    )
    gate = asyncio.Event()
    script.starts["a"] = [gate]
    child_ref(ref, "a").tell(ValueError("boom"))
    await until(lambda: ("starting", "a") in script.log)
    script.log.clear()
    await crash(ref, "b")
    assert states(ref) == {"a": "starting", "b": "running", "c": "running"}
    assert script.log == [("start", "b")]
    d = await start_child(ref, child(Worker, script, "d", name="d"))
    await terminate_child(ref, d)
    assert states(ref)["a"] == "starting"
    gate.set()
    await until(lambda: states(ref)["a"] == "running")


async def test_children_are_listed_during_the_first_start(world, script):
    system, _ = world
    gate = asyncio.Event()
    script.starts["b"] = [gate]
    ref = start(Supervisor.of(*(child(Worker, script, name, name=name) for name in "abc")), system)
    await until(lambda: states(ref).get("b") == "starting")
    a = child_ref(ref, "a")
    await crash(ref, "a")
    assert await a.ask("alive?") == ("a", "alive?")
    assert states(ref) == {"a": "running", "b": "starting", "c": "queued"}
    gate.set()
    await ref.started()


async def test_a_child_that_starts_slowly_can_be_terminated(world, script):
    system, clock = world
    ref = await begun(DynamicSupervisor, system)
    script.starts["a"] = [asyncio.Event()]
    starting = start_child(ref, child(Worker, script, "a", name="a", shutdown=1.0))
    await until(lambda: states(ref).get("a") == "starting")
    stopping = terminate_child(ref, "a")
    await until(lambda: states(ref).get("a") == "stopping")
    await rest()
    clock.advance(1.0)
    await until(lambda: "a" not in states(ref))
    assert await stopping is None
    with pytest.raises(Refused) as caught:
        await starting
    assert caught.value.code == "terminated"


class Idle(Actor):
    """Does nothing."""


@pytest.mark.parametrize("kind", ["ordered", "dynamic"])
async def test_five_thousand_children(world, kind):
    system, _ = world
    if kind == "ordered":
        ref = await begun(Supervisor.of(child(Idle, instances=5000)), system)
    else:
        ref = await begun(DynamicSupervisor, system)
        answers = [start_child(ref, child(Idle)) for _ in range(5000)]
        for answer in answers:
            await answer
    assert count_children(ref).active == 5000
    await ref.stop()
    await ended(system, ref)


def test_the_script_of_the_tests_goes_well_by_itself():
    assert Script().starts["anybody"] == []
