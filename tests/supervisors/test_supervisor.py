"""The supervisor on real actors: order, strategies, kinds, escalation, reports."""

from __future__ import annotations

import asyncio
import logging

import pytest

from actors import Actor, ActorDeadError, Refused, Restarting, StartFailed, Terminated
from supervisors import (
    ChildStartFailed,
    RestartLimitReached,
    SpecError,
    Supervisor,
    child,
    count_children,
    delete_child,
    restart_child,
    start,
    start_child,
    terminate_child,
    tree_of,
    which_children,
)
from tests.supervisors.helpers import (
    Worker,
    begun,
    child_ref,
    crash,
    ended,
    rest,
    states,
)
from tests.support.until import until


def abc(script, **options):
    return Supervisor.of(
        *(child(Worker, script, name, name=name) for name in "abc"), name="abc", **options
    )


async def test_stop_is_the_reverse_of_start(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    assert script.log.take() == [("start", name) for name in "abc"]
    await ref.stop()
    assert script.log.take() == [("stop", name) for name in "cba"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["start b"]),
        ("one_for_all", ["stop c", "stop a", "start a", "start b", "start c"]),
        ("rest_for_one", ["stop c", "start b", "start c"]),
    ],
)
async def test_who_is_restarted_and_in_which_order(world, script, strategy, expected):
    system, _ = world
    ref = await begun(abc(script, strategy=strategy), system)
    script.log.clear()
    await crash(ref, "b")
    assert [" ".join(entry) for entry in script.log] == expected


async def test_each_start_has_finished_before_the_next_begins(world, script):
    system, _ = world
    gate = asyncio.Event()
    script.starts["b"] = [gate]
    ref = start(abc(script), system)
    await until(lambda: ("starting", "b") in script.log)
    await rest()
    assert script.log.take() == [("start", "a"), ("starting", "b")]
    assert states(ref) == {"a": "running", "b": "starting", "c": "queued"}
    gate.set()
    await ref.started()
    assert script.log.take() == [("start", "b"), ("start", "c")]


async def test_a_failed_first_start_stops_those_before_it_and_fails_the_supervisor(world, script):
    system, _ = world
    script.starts["c"] = ["fail"]
    ref = start(abc(script), system)
    with pytest.raises(StartFailed) as caught:
        await ref.started()
    cause = caught.value.cause
    assert isinstance(cause, ChildStartFailed)
    assert (cause.supervisor, cause.child, cause.reason) == ("abc", "c", "start_failed")
    assert isinstance(cause.__cause__, OSError)
    assert [" ".join(entry) for entry in script.log] == [
        "start a",
        "start b",
        "fail c",
        "stop b",
        "stop a",
    ]
    await ended(system, ref)


async def test_a_value_and_a_class_are_the_same_tree(world, script):
    system, _ = world

    class Shop(Supervisor):
        strategy = "rest_for_one"
        max_restarts, max_seconds = 7, 9.0

        def children(self):
            return [child(Worker, script, name, name=name) for name in "abc"]

    ref = await begun(Shop, system)
    node = tree_of(ref)
    assert (node.name, node.strategy) == ("Shop", "rest_for_one")
    assert [one.name for one in node.children] == ["a", "b", "c"]


async def test_permanent_transient_and_temporary_children(world, script):
    system, _ = world
    kinds = ("permanent", "transient", "temporary")
    tree = Supervisor.of(
        *(child(Worker, script, kind, name=kind, restart=kind) for kind in kinds), max_restarts=9
    )
    ref = await begun(tree, system)
    for kind in kinds:
        await child_ref(ref, kind).stop()
        await rest()
    assert states(ref) == {"permanent": "running", "transient": "down"}
    assert child_ref(ref, "transient") is None
    await restart_child(ref, "transient")
    await crash(ref, "transient")
    assert states(ref) == {"permanent": "running", "transient": "running"}
    await crash(ref, "permanent")
    assert states(ref)["permanent"] == "running"


async def test_the_ref_of_a_child_outlives_its_restarts_and_its_messages_wait(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    b = child_ref(ref, "b")
    b.tell(ValueError("boom"))
    answers = [b.ask(number) for number in range(20)]
    assert [await answer for answer in answers] == [("b", number) for number in range(20)]
    assert child_ref(ref, "b") is b


async def test_the_second_restart_too_many_ends_the_supervisor_with_shutdown(world, script):
    system, clock = world
    ref = await begun(abc(script, max_restarts=1, max_seconds=5.0), system)
    await crash(ref, "a")
    clock.advance(5.1)
    await crash(ref, "b")
    assert ref.is_alive()
    clock.advance(5.0)
    script.log.clear()
    child_ref(ref, "a").tell(ValueError("boom"))
    await ended(system, ref)
    assert ref.exit.reason == "shutdown"
    assert script.log == [("stop", "c"), ("stop", "b")]
    error = ref.exit.error
    assert isinstance(error, RestartLimitReached)
    assert (error.supervisor, error.child, error.exit.reason) == ("abc", "a", "crash")
    assert str(error.__cause__) == "boom"
    assert "gave up, more than 1 restart in 5 s: child 'a'" in str(error)


async def test_a_failure_climbs_and_the_parent_restarts_the_subtree(world, script):
    system, _ = world
    inner = Supervisor.of(child(Worker, script, "w", name="w"), name="inner", max_restarts=0)
    outer = Supervisor.of(inner, child(Worker, script, "x", name="x"), strategy="rest_for_one")
    ref = await begun(outer, system)
    inner_ref = child_ref(ref, "inner")
    script.log.clear()
    child_ref(inner_ref, "w").tell(ValueError("boom"))
    await until(lambda: script.log.count(("start", "x")) == 1)
    assert [" ".join(entry) for entry in script.log] == ["stop x", "start w", "start x"]
    assert child_ref(ref, "inner") is inner_ref
    assert states(inner_ref) == {"w": "running"}


async def test_at_the_root_the_failure_is_the_end(world, script):
    system, _ = world
    inner = Supervisor.of(child(Worker, script, "w", name="w"), name="inner", max_restarts=0)
    ref = await begun(Supervisor.of(inner, max_restarts=0), system)
    child_ref(child_ref(ref, "inner"), "w").tell(ValueError("boom"))
    await ended(system, ref)
    assert ref.exit.reason == "shutdown"


async def test_a_restart_that_fails_leaves_the_supervisor_responsive(world, script):
    system, clock = world
    ref = await begun(abc(script, max_restarts=100, backoff=(1.0, 8.0, 0.0)), system)
    script.starts["b"] = ["fail"] * 3
    await crash(ref, "b")
    assert states(ref)["b"] == "restarting"
    assert tree_of(ref).children[1].state == "restarting"
    clock.advance(1.0)
    await rest()
    assert script.log[-1] == ("fail", "b")
    await terminate_child(ref, "b")
    assert states(ref)["b"] == "down"
    clock.advance(60.0)
    await rest()
    assert states(ref)["b"] == "down"


async def test_a_supervisor_can_be_stopped_between_two_tries(world, script):
    system, _ = world
    ref = await begun(abc(script, max_restarts=None, backoff=(1.0, 8.0, 0.0)), system)
    script.starts["b"] = ["fail"] * 1000
    await crash(ref, "b")
    script.log.clear()
    await ref.stop()
    assert script.log == [("stop", "c"), ("stop", "a")]


async def test_backoff_grows_and_is_reset_after_a_quiet_time(world, script):
    system, clock = world
    ref = await begun(abc(script, max_restarts=100, backoff=(1.0, 8.0, 0.0)), system)
    for delay in (1.0, 2.0, 4.0, 8.0, 8.0):
        await crash(ref, "b")
        assert child_ref(ref, "b")._slot.retry_after == delay
        clock.advance(delay - 0.01)
        await rest()
        assert states(ref)["b"] == "restarting"
        clock.advance(0.01)
        await until(lambda: states(ref)["b"] == "running")
    clock.advance(4.5)
    await crash(ref, "b")
    assert child_ref(ref, "b")._slot.retry_after == 1.0


async def test_an_ask_waits_for_the_restart_or_fails_at_once(world, script):
    system, clock = world
    ref = await begun(abc(script, max_restarts=100, backoff=(2.0, 8.0, 0.0)), system)
    await crash(ref, "b")
    b = child_ref(ref, "b")
    with pytest.raises(Restarting) as caught:
        await b.ask("soon", timeout=1.0)
    assert caught.value.retry_after == 2.0
    patient = b.ask("later", timeout=3.0)
    clock.advance(2.0)
    assert await patient == ("b", "later")


async def test_one_for_all_with_backoff_stops_the_others_while_it_waits(world, script):
    system, clock = world
    options = {"strategy": "one_for_all", "max_restarts": 100, "backoff": (1.0, 8.0, 0.0)}
    ref = await begun(abc(script, **options), system)
    script.log.clear()
    await crash(ref, "b")
    assert script.log.take() == [("stop", "c"), ("stop", "a")]
    assert states(ref) == {"a": "queued", "b": "restarting", "c": "queued"}
    with pytest.raises(Restarting):
        await child_ref(ref, "a").ask("too early", timeout=0.5)
    clock.advance(1.0)
    await until(lambda: len(script.log) == 3)
    assert script.log == [("start", "a"), ("start", "b"), ("start", "c")]


async def test_auto_shutdown_any_and_all_significant(world, script):
    system, _ = world
    for wish, needed in (("any_significant", 1), ("all_significant", 2)):
        tree = Supervisor.of(
            *(
                child(Worker, script, name, name=name, restart="transient", significant=True)
                for name in "ab"
            ),
            child(Worker, script, "c", name="c"),
            auto_shutdown=wish,
        )
        ref = await begun(tree, system)
        for name in "ab"[:needed]:
            assert ref.is_alive()
            await child_ref(ref, name).stop()
            await rest()
        await ended(system, ref)
        assert ref.exit.reason == "shutdown"


async def test_a_child_that_its_supervisor_stops_is_not_significant(world, script):
    system, _ = world
    tree = Supervisor.of(
        child(Worker, script, "a", name="a", restart="transient", significant=True),
        auto_shutdown="any_significant",
    )
    ref = await begun(tree, system)
    await terminate_child(ref, "a")
    await rest()
    assert ref.is_alive()


async def test_children_can_be_added_terminated_restarted_and_deleted(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    d = await start_child(ref, child(Worker, script, "d", name="d"))
    assert await d.ask(1) == ("d", 1)
    assert count_children(ref) == (4, 4, 0, 4)
    with pytest.raises(Refused) as caught:
        await start_child(ref, child(Worker, script, "d", name="d"))
    assert caught.value.code == "already_started"
    for verb in (restart_child, delete_child):
        with pytest.raises(Refused) as caught:
            await verb(ref, "d")
        assert caught.value.code == "running"
    assert await terminate_child(ref, d) is None
    assert not d.is_alive()
    with pytest.raises(Refused) as caught:
        await start_child(ref, child(Worker, script, "d", name="d"))
    assert caught.value.code == "already_present"
    again = await restart_child(ref, "d")
    assert again != d
    await terminate_child(ref, "d")
    await delete_child(ref, "d")
    for verb in (restart_child, delete_child, terminate_child):
        with pytest.raises(Refused) as caught:
            await verb(ref, "d")
        assert caught.value.code == "not_found"
    assert [info.name for info in which_children(ref)] == ["a", "b", "c"]


async def test_a_child_that_does_not_start_is_the_askers_answer(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    script.starts["d"] = ["fail"]
    with pytest.raises(Refused) as caught:
        await start_child(ref, child(Worker, script, "d", name="d"))
    assert caught.value.code == "start_failed"
    assert isinstance(caught.value.__cause__, OSError)
    assert "d" not in states(ref)


async def test_what_cannot_be_a_child_is_refused_and_the_supervisor_lives(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    wrong = [
        ("child", "invalid_child"),
        (child(Worker, script, "d", instances=2), "invalid_instances"),
        (child(Worker, script, "d", restart="transient", significant=True), "bad_combination"),
    ]
    for spec, code in wrong:
        with pytest.raises(Refused) as caught:
            await start_child(ref, spec)
        assert caught.value.code == code
    with pytest.raises(TypeError):
        start_child(child_ref(ref, "a"), child(Worker, script, "d"))
    with pytest.raises(TypeError):
        which_children(child_ref(ref, "a"))
    assert count_children(ref).active == 3


async def test_after_the_end_requests_fail_with_the_cause(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    await ref.stop()
    with pytest.raises(ActorDeadError) as caught:
        await start_child(ref, child(Worker, script, "d"))
    assert caught.value.exit.reason == "normal"
    assert which_children(ref) == []


async def test_what_waits_in_the_slot_of_a_terminated_child_becomes_dead_letters(world, script):
    system, _ = world
    ref = await begun(abc(script, max_restarts=9, backoff=(1.0, 8.0, 0.0)), system)
    await crash(ref, "b")
    b = child_ref(ref, "b")
    b.tell("lost")
    answer = b.ask("lost too", timeout=60.0)
    await terminate_child(ref, "b")
    with pytest.raises(ActorDeadError) as caught:
        await answer
    assert caught.value.exit.reason == "crash"
    letters = [(letter.message, letter.reason) for letter in system.dead_letters]
    assert ("lost", "dead") in letters


async def test_a_restart_is_not_a_death_for_a_watcher_but_the_giving_up_is(world, script):
    system, _ = world
    seen = []

    class Watcher(Worker):
        async def on_start(self):
            self.watch(self.script.watched)

        def on_receive(self, message):
            seen.append(message)

    ref = await begun(abc(script, max_restarts=1), system)
    script.watched = child_ref(ref, "b")
    watcher = system.start(Watcher, script, "watcher")
    await watcher.started()
    await crash(ref, "b")
    assert seen == []
    script.watched.tell(ValueError("the second"))
    await until(lambda: seen)
    assert [type(one) for one in seen] == [Terminated]
    assert (seen[0].ref, seen[0].exit.reason) == (script.watched, "crash")
    assert seen[0].exit.restarts == 1
    assert str(seen[0].exit.error) == "the second"
    assert seen[0].exit.message_type == "ValueError"


async def test_one_report_for_each_thing_that_happens(world, script, caplog):
    system, _ = world
    caplog.set_level(logging.DEBUG, "supervisors")
    reports = []
    system.events.subscribe(
        lambda event: (
            reports.append(event.fields["report"]) if event.name.startswith("supervisor.") else None
        )
    )
    ref = await begun(abc(script, max_restarts=1), system)
    assert [report.event for report in reports] == ["progress"] * 3
    reports.clear()
    script.starts["b"] = ["fail"]
    child_ref(ref, "b").tell(ValueError("boom"))
    await ended(system, ref)
    assert [report.event for report in reports] == ["child_terminated", "start_error", "shutdown"]
    first, _, last = reports
    assert (first.supervisor, first.offender.name, first.reason) == ("abc", "b", "crash")
    assert first.exit.message_type == "ValueError"
    assert last.reason == "reached_max_restart_intensity"
    plain = first.to_dict()
    assert plain["offender"]["actor_class"] == "Worker"
    assert plain["exit"]["error"] == "ValueError"
    logged = [record.report for record in caplog.records if record.name == "supervisors"]
    assert [report.event for report in logged][-3:] == [
        "child_terminated",
        "start_error",
        "shutdown",
    ]
    assert "abc: child 'b' (Worker) ended: crash (ValueError: boom)" in caplog.text


async def test_a_tree_is_a_plain_value_for_json(world, script):
    import json

    system, _ = world
    inner = Supervisor.of(child(Worker, script, "w", instances=2, name="w"), name="inner")
    ref = await begun(
        Supervisor.of(inner, child(Worker, script, "x", name="x"), name="top"), system
    )
    await crash(child_ref(ref, "inner"), "w-2")
    node = tree_of(ref)
    assert json.loads(json.dumps(node.to_dict())) == node.to_dict()
    assert [one.name for one in node.walk()] == ["top", "inner", "w-1", "w-2", "x"]
    hurt = node.children[0].children[1]
    assert (hurt.restarts, hurt.last_exit["error"], hurt.state) == (1, "ValueError", "running")
    starts = ["top  ", "├─ inner  ", "│  ├─ w-1  ", "│  └─ w-2  ", "└─ x  "]
    assert len(node.lines()) == len(starts)
    assert all(map(str.startswith, node.lines(), starts))
    assert "1 restart  last: ValueError: boom" in node.lines()[3]
    assert tree_of(child_ref(ref, "x")).kind == "worker"
    few = tree_of(ref, most=1)
    assert [(one.name, one.hidden) for one in few.walk()] == [("top", 1), ("inner", 1), ("w-2", 0)]


def test_a_wrong_tree_is_an_error_at_import(script):
    with pytest.raises(SpecError) as caught:

        class Twice(Supervisor):
            children = (child(Worker, script, "a"), child(Worker, script, "b"))

    assert caught.value.reason == "duplicate_child_name"
    wrong = [
        ({"strategy": "one_for_none"}, "invalid_strategy"),
        ({"max_restarts": -1}, "invalid_intensity"),
        ({"max_restarts": 1.5}, "invalid_intensity"),
        ({"max_restarts": True}, "invalid_intensity"),
        ({"max_restarts": None}, "bad_combination"),
        ({"max_restarts": None, "backoff": (0, 1, 0)}, "bad_combination"),
        ({"max_seconds": 0}, "invalid_period"),
        ({"max_seconds": float("inf")}, "invalid_period"),
        ({"auto_shutdown": "sometimes"}, "invalid_auto_shutdown"),
        ({"backoff": 5}, "invalid_backoff"),
    ]
    for options, reason in wrong:
        with pytest.raises(SpecError) as caught:
            Supervisor.of(child(Worker, script, "a"), **options)
        assert caught.value.reason == reason
    with pytest.raises(TypeError):
        Supervisor.of(max_restart=3)


async def test_an_own_handler_beside_the_children(world, script):
    system, _ = world

    class Own(Supervisor):
        def children(self):
            return [child(Worker, script, "a", name="a")]

        def on_receive(self, message):
            if message == "crash":
                raise ValueError("my own")
            return "mine"

    ref = await begun(Own, system)
    assert await ref.ask("hello") == "mine"
    a = child_ref(ref, "a")
    ref.tell("crash")
    await ended(system, ref)
    assert ref.exit.reason == "crash"
    assert not a.is_alive()


async def test_an_own_on_stop_that_forgets_its_parent_leaves_no_orphans(world, script):
    system, _ = world

    class Forgetful(Supervisor):
        def children(self):
            return [child(Worker, script, "a", name="a")]

        async def on_stop(self, reason):
            """It does not call super().on_stop()."""

    ref = await begun(Forgetful, system)
    await ref.stop()
    await ended(system, ref)


async def test_a_class_that_cannot_be_run_is_a_failed_start(world):
    system, _ = world

    class NoActor:
        def on_start(self):
            """It only looks like one."""

        def on_receive(self, message):
            """As on_start."""

    ref = start(Supervisor.of(child(NoActor)), system)
    with pytest.raises(StartFailed) as caught:
        await ref.started()
    assert isinstance(caught.value.cause.__cause__, TypeError)
    await ended(system, ref)


class Hooks:
    """Lifecycle hooks that let the loop turn before they are done."""

    def __init__(self):
        self.log = []

    async def started(self, ref, actor):
        await self.note("started", ref)

    async def restarting(self, ref, exit):  # noqa: A002  # the name in the protocol
        await self.note("restarting", ref)

    async def restarted(self, ref, actor):
        await self.note("restarted", ref)

    async def ended(self, ref, exit):  # noqa: A002  # as above
        await self.note("ended", ref)

    async def note(self, what, ref):
        for _ in range(5):
            await asyncio.sleep(0)
        self.log.append((what, ref.name))


async def test_the_hooks_of_a_node_are_awaited_in_the_order_of_the_tree(world, script):
    system, _ = world
    hooks = Hooks()
    system.lifecycle.append(hooks)
    ref = await begun(abc(script), system)
    assert hooks.log == [("started", name) for name in ("a", "b", "c", "abc")]
    hooks.log.clear()
    child_ref(ref, "b").tell(ValueError("boom"))
    await until(lambda: states(ref)["b"] == "running" and hooks.log)
    await until(lambda: ("restarted", "b") in hooks.log)
    assert hooks.log == [("restarting", "b"), ("restarted", "b")]
    hooks.log.clear()
    await terminate_child(ref, "b")
    assert hooks.log[-1] == ("ended", "b")
    await restart_child(ref, "b")
    assert hooks.log[-1] == ("started", "b")
    hooks.log.clear()
    await ref.stop()
    await ended(system, ref)
    ends = [name for what, name in hooks.log if what == "ended"]
    assert ends == ["c", "b", "a", "abc"]


async def test_what_waits_survives_restarts_with_backoff_in_order(world):
    system, clock = world
    seen, tries = [], []

    class Picky(Worker):
        crash_retries = 3

        def __init__(self):
            """It has no script."""

        async def on_start(self):
            """Always well."""

        async def on_stop(self, reason):
            """At once."""

        def on_receive(self, message):
            if message == 1 and len(tries) < 3:
                tries.append(message)
                raise ValueError("not yet")
            seen.append(message)

    ref = await begun(Supervisor.of(Picky, max_restarts=9, backoff=(1.0, 8.0, 0.0)), system)
    picky = child_ref(ref, "Picky")
    for number in range(1, 101):
        picky.tell(number)
    for _ in range(100):
        await rest()
        clock.advance(1.0)
    assert tries == [1, 1, 1]
    assert seen == list(range(1, 101))
    assert system.dead_letters.total == 0


async def test_the_message_in_hand_of_a_crash_is_a_dead_letter(world, script):
    system, _ = world
    ref = await begun(abc(script), system)
    b = child_ref(ref, "b")
    b.tell(ValueError("poison"))
    answers = [b.ask(number) for number in range(100)]
    assert [(await answer)[1] for answer in answers] == list(range(100))
    letters = [(str(letter.message), letter.reason) for letter in system.dead_letters]
    assert letters == [("poison", "crashed")]


def test_a_synchronous_program_uses_supervisors_as_it_uses_pykka():
    from actors import System

    system = System("background")
    try:
        ref = start(Supervisor.of(child(Echo, name="one")), system)
        extra = start_child(ref, child(Echo, name="two")).get(timeout=5)
        assert extra.ask("hello", block=True) == "hello"
        assert states(ref) == {"one": "running", "two": "running"}
        assert terminate_child(ref, "two").get(timeout=5) is None
        assert ref.stop(block=True, timeout=5)
        assert len(system) == 0
    finally:
        system.close()


def test_importing_the_package_starts_nothing():
    import subprocess
    import sys

    program = (
        "import supervisors, threading, asyncio\n"
        "assert threading.active_count() == 1\n"
        "try: asyncio.get_running_loop()\n"
        "except RuntimeError: print('quiet')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, check=False
    )
    assert done.stdout.strip() == b"quiet", done.stderr


class Echo(Actor):
    def on_receive(self, message):
        return message


async def test_children_of_two_incarnations_never_run_beside_each_other(world):
    system, _ = world
    log, gate = [], asyncio.Event()

    class Lingering(Actor):
        async def on_start(self):
            log.append("start")

        async def on_receive(self, message):
            log.append("busy")
            try:
                await asyncio.Event().wait()
            finally:
                await gate.wait()
                log.append("over")

    class Own(Supervisor):
        children = (Lingering,)

        def on_receive(self, message):
            raise ValueError("my own")

    parent = await begun(Supervisor.of(Own), system)
    own = child_ref(parent, "Own")
    child_ref(own, "Lingering").tell("work")
    await until(lambda: log == ["start", "busy"])
    own.tell("crash")
    await rest()
    assert log == ["start", "busy"], "the next one waits for the end of this one"
    assert states(parent) == {"Own": "starting"}
    gate.set()
    await until(lambda: states(parent) == {"Own": "running"})
    assert log == ["start", "busy", "over", "start"]


def test_what_is_public_is_what_the_package_says():
    import supervisors

    assert sorted(supervisors.__all__) == list(supervisors.__all__)
    assert all(hasattr(supervisors, name) for name in supervisors.__all__)
    for module in ("backoff", "dynamic", "errors", "partition", "reports", "requests", "tree"):
        loaded = __import__(f"supervisors.{module}", fromlist=["x"])
        defined = {
            name
            for name, value in vars(loaded).items()
            if getattr(value, "__module__", None) == loaded.__name__ and not name.startswith("_")
        }
        assert set(loaded.__all__) <= defined
