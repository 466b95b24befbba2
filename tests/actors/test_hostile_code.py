"""Whatever a user's code does is a crash of its actor, never a stuck one, and nobody else's.

Each handler, hook, attribute and callback that a user may write raises what
tests/support/hostile.py has, one at a time. After each: who asked got an error, the
supervisor saw a crash, and the actor and its neighbours go on.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from actors import (
    Actor,
    ActorClassError,
    ActorError,
    Refused,
    Retry,
    System,
    ThreadActor,
    receives,
    runtime,
)
from actors.texts import class_name, exc_info_of, line_of, repr_of, text_of, trace_of
from supervisors import (
    DynamicSupervisor,
    PartitionSupervisor,
    Supervisor,
    child,
    start,
    start_child,
    which_children,
)
from tests.support.hostile import ALL, ANSWERS, CRASHES, NoClass, TextIsNoText
from tests.support.walk import walked


class Neighbour(Actor):
    def on_receive(self, message):
        return "well"


class _Raises:
    made = None

    def on_receive(self, message):
        if message == "raise":
            raise type(self).made()
        return "well"


class Plain(_Raises, Actor):
    pass


class OnThread(_Raises, ThreadActor):
    pass


class Async(Actor):
    made = None

    async def on_receive(self, message):
        await asyncio.sleep(0)
        if message == "raise":
            raise type(self).made()
        return "well"


class AsyncOnOther(Async):
    """Raises in the first step of its coroutine."""

    async def on_receive(self, message):
        if message == "raise":
            raise type(self).made()
        return "well"


KINDS = [Plain, OnThread, Async, AsyncOnOther]


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """The reports are looked at elsewhere; a text of megabytes need not be printed."""
    caplog.set_level(logging.CRITICAL + 1)


def raising(kind, make):
    return type(f"Raising{kind.__name__}", (kind,), {"made": staticmethod(make)})


async def outcome(awaitable):
    """What came of it: the value, or the class name of the error."""
    try:
        return await asyncio.wait_for(awaitable, 20)
    except TimeoutError as error:
        raise AssertionError("nobody answered") from error
    except BaseException as error:
        if type(error) is asyncio.CancelledError and asyncio.current_task().cancelling():
            raise
        return error


def ref_of(supervisor, name):
    return next(info.ref for info in which_children(supervisor) if info.name == name)


@pytest.mark.parametrize("name", ALL)
@walked("kind", KINDS)
async def test_what_leaves_a_handler_is_an_answer_to_the_asker_and_a_crash(
    actor_system, kind, name
):
    tree = Supervisor.of(
        child(raising(kind, ALL[name]), name="one"), child(Neighbour, name="two"), max_restarts=5
    )
    root = start(tree, actor_system)
    await root.started()
    one, two = ref_of(root, "one"), ref_of(root, "two")
    error = await outcome(one.ask("raise"))
    assert isinstance(type(error), type)
    assert issubclass(type(error), Exception), error
    one.tell("raise")
    assert await outcome(one.ask("hello")) == "well"
    assert await outcome(two.ask("hello")) == "well"
    assert one._slot.restarts == (0 if name in ANSWERS else 2)
    assert root.is_alive()


class Batches(Actor):
    made = None

    @receives(str, batch=2, within=0.001)
    async def together(self, messages):
        if messages[0] == "raise":
            raise type(self).made()
        if messages[0] == "return":
            return [type(self).made() for _ in messages]
        return ["well" for _ in messages]


@pytest.mark.parametrize("name", ALL)
@walked("way", ["raise", "return"])
async def test_what_a_batch_raises_or_returns_is_an_answer_to_each_asker(actor_system, way, name):
    tree = Supervisor.of(child(raising(Batches, ALL[name]), name="one"), max_restarts=50)
    root = start(tree, actor_system)
    await root.started()
    one = ref_of(root, "one")
    for error in await asyncio.gather(*(outcome(one.ask(way)) for _ in range(2))):
        assert issubclass(type(error), Exception), error
    for _ in range(2):
        one.tell(way)
    assert await asyncio.gather(*(outcome(one.ask("hello")) for _ in range(2))) == ["well"] * 2
    assert root.is_alive()


@pytest.mark.parametrize("name", ALL)
@walked("when", ["before", "after", "instead"])
async def test_what_leaves_middleware_is_what_left_the_handler(name, when):
    make = ALL[name]

    async def raises(context, message, call_next):
        error = make()
        if message == "raise" and when == "before":
            raise error
        try:
            return await call_next(message)
        except BaseException:
            if when == "instead":
                raise error from None
            raise
        finally:
            if message == "raise" and when == "after":
                raise error

    system = System(f"middleware {when}", middleware=[raises])
    system.attach()
    tree = Supervisor.of(child(raising(Async, ValueError), name="one"), max_restarts=50)
    root = start(tree, system)
    await root.started()
    one = ref_of(root, "one")
    error = await outcome(one.ask("raise"))
    assert issubclass(type(error), Exception), error
    one.tell("raise")
    assert await outcome(one.ask("hello")) == "well"
    assert one._slot.restarts == (0 if name in ANSWERS else 2)
    await system.shutdown(5.0)


@pytest.mark.parametrize("name", CRASHES)
@walked("kind", KINDS)
async def test_a_refuses_that_is_no_tuple_of_classes_is_a_crash_and_said(actor_system, kind, name):
    class Property(kind):
        made = staticmethod(CRASHES[name])

        @property
        def refuses(self):
            error = CRASHES[name]()
            raise error

    root = start(Supervisor.of(child(Property, name="one"), max_restarts=5), actor_system)
    await root.started()
    one = ref_of(root, "one")
    assert issubclass(type(await outcome(one.ask("raise"))), Exception)
    assert await outcome(one.ask("hello")) == "well"
    assert one._slot.restarts == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_refuses_that_the_instance_sets_wrongly_is_a_crash_too(actor_system, kind):
    class Slip(kind):
        made = KeyError

        def on_start(self):
            self.refuses = [KeyError]

    root = start(Supervisor.of(child(Slip, name="one"), max_restarts=5), actor_system)
    await root.started()
    one = ref_of(root, "one")
    assert type(await outcome(one.ask("raise"))) is KeyError
    assert await outcome(one.ask("hello")) == "well"
    assert one._slot.restarts == 1


@pytest.mark.parametrize("base", [Actor, ThreadActor])
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("refuses", [KeyError]),
        ("refuses", KeyError),
        ("refuses", (KeyError, "x")),
        ("refuses", (KeyError(),)),
        ("refuses", None),
        ("inbox_limit", "10"),
        ("inbox_limit", 0),
        ("inbox_limit", -1),
        ("inbox_limit", 1.5),
        ("inbox_limit", True),
        ("stash_limit", None),
        ("stash_limit", "many"),
        ("stash_limit", -1),
        ("crash_retries", "3"),
        ("crash_retries", None),
        ("crash_retries", -1),
        ("address", 5),
        ("address", b"shop"),
    ],
)
def test_a_class_attribute_of_another_kind_is_an_error_when_the_class_is_made(
    base, attribute, value
):
    with pytest.raises(ActorClassError, match=f"Slip.{attribute}"):
        type("Slip", (base,), {attribute: value})


WAYS = ["plain", "async", "thread"]
HOOKS = ["__init__", "on_start", "after_start", "on_stop", "on_failure"]


def with_hook(base, hook, make, *, asynchronous):
    def raises(self, *args):
        raise make()

    async def raises_later(self, *args):
        await asyncio.sleep(0)
        raise make()

    def on_receive(self, message):
        if message == "crash":
            raise ValueError("a crash")
        return "well"

    body = {hook: raises_later if asynchronous else raises, "on_receive": on_receive}
    return type("Hooked", (base,), body)


@pytest.mark.parametrize("name", ALL)
@walked(
    ("how", "hook"),
    [(how, hook) for how in WAYS for hook in HOOKS if (how, hook) != ("async", "__init__")],
)
async def test_what_leaves_a_hook_ends_its_actor_and_no_other(actor_system, how, hook, name):
    base = ThreadActor if how == "thread" else Actor
    kind = with_hook(base, hook, ALL[name], asynchronous=how == "async")
    tree = Supervisor.of(child(Neighbour, name="two"), strategy="one_for_one")
    root = start(tree, actor_system)
    await root.started()
    spec = child(kind, name="one", restart="temporary")
    added = await outcome(start_child(root, spec))
    if hook in {"__init__", "on_start"}:
        assert type(added) is Refused, added
    else:
        assert not issubclass(type(added), BaseException), added
        if hook == "on_stop":
            await outcome(added.stop())
        elif hook == "on_failure":
            added.tell("crash")
        await asyncio.wait_for(asyncio.to_thread(added.actor_stopped.wait), 20)
        assert added.exit.reason == "crash"
    assert await outcome(ref_of(root, "two").ask("hello")) == "well"
    assert root.is_alive()


@pytest.mark.parametrize("name", ALL)
@walked("how", WAYS)
async def test_a_start_without_a_supervisor_ends_whatever_it_raises(actor_system, how, name):
    base = ThreadActor if how == "thread" else Actor
    kind = with_hook(base, "on_start", ALL[name], asynchronous=how == "async")
    ref = actor_system.start(kind)
    error = await outcome(ref.started())
    assert issubclass(type(error), ActorError), error
    assert ref.exit.reason == "start_failed"


TREES = {
    "one_for_one": lambda spec: Supervisor.of(spec, strategy="one_for_one", max_restarts=5),
    "one_for_all": lambda spec: Supervisor.of(spec, strategy="one_for_all", max_restarts=5),
    "rest_for_one": lambda spec: Supervisor.of(spec, strategy="rest_for_one", max_restarts=5),
    "with a backoff": lambda spec: Supervisor.of(spec, backoff=(0.0, 0.0), max_restarts=5),
    "partition": lambda spec: PartitionSupervisor.of(
        spec, partitions=1, key=lambda _: 0, max_restarts=5
    ),
    "dynamic": None,
}


@pytest.mark.parametrize("name", CRASHES)
@walked("tree", TREES)
async def test_every_supervisor_restarts_a_child_that_crashed_with_it(actor_system, tree, name):
    spec = child(raising(Plain, CRASHES[name]), name="one")
    if TREES[tree] is None:
        root = start(DynamicSupervisor.of(max_restarts=5), actor_system)
        await root.started()
        await start_child(root, spec)
    else:
        root = start(TREES[tree](spec), actor_system)
        await root.started()
    one = which_children(root)[0].ref
    assert issubclass(type(await outcome(one.ask("raise"))), Exception)
    assert await outcome(one.ask("hello")) == "well"
    assert one._slot.restarts == 1
    assert root.is_alive()


@pytest.mark.parametrize("name", ALL)
async def test_a_message_whose_key_cannot_be_had_fails_alone(actor_system, name):
    """143: what `key` raises is that message's, and nobody else's."""

    def key(message):
        if message == "raise":
            error = ALL[name]()
            raise error
        return message

    root = start(PartitionSupervisor.of(Neighbour, partitions=2, key=key), actor_system)
    await root.started()
    assert issubclass(type(await outcome(root.ask("raise"))), Exception)
    root.tell("raise")
    assert await outcome(root.ask("hello")) == "well"
    assert root._slot.restarts == 0


async def test_a_key_whose_hash_exits_fails_its_message_alone(actor_system):
    class Key:
        def __hash__(self):
            raise SystemExit(1)

    def key(message):
        return Key() if message == "raise" else message

    root = start(PartitionSupervisor.of(Neighbour, partitions=2, key=key), actor_system)
    await root.started()
    assert type(await outcome(root.ask("raise"))) is Refused
    assert await outcome(root.ask("hello")) == "well"


@pytest.mark.parametrize("name", CRASHES)
@walked("number", ["raises", "text", "nan", "much"])
async def test_a_strange_source_of_chance_does_not_keep_children_down(actor_system, name, number):
    class Chance:
        def random(self):
            if number == "raises":
                error = CRASHES[name]()
                raise error
            return {"text": "x", "nan": float("nan"), "much": 1e300}[number]

    class Tree(Supervisor):
        children = (child(raising(Plain, CRASHES[name]), name="one"),)
        backoff = (0.0, 0.0)
        rng = Chance()

    root = start(Tree, actor_system)
    await root.started()
    one = ref_of(root, "one")
    await outcome(one.ask("raise"))
    assert await outcome(one.ask("hello")) == "well"


@pytest.mark.parametrize("name", ALL)
async def test_callbacks_and_subscribers_that_raise_hurt_nobody(actor_system, name):
    """Those run in the turn of an actor that has nothing to do with them."""

    def raises(_):
        error = ALL[name]()
        raise error

    actor_system.events.subscribe(raises)
    ref = actor_system.start(Neighbour)
    future = ref.ask("hello")
    future.add_done_callback(raises)
    assert await outcome(future) == "well"
    runtime.on_incarnation_end(ref._slot, lambda: raises(None))
    await ref.stop()
    assert ref.exit.reason == "normal"


async def test_watching_what_is_no_ref_is_a_crash_that_is_seen(actor_system):
    class Watcher(Actor):
        def on_receive(self, message):
            if message == "hello":
                return "well"
            self.watch(message)
            return None

    root = start(Supervisor.of(child(Watcher, name="one")), actor_system)
    await root.started()
    one = ref_of(root, "one")
    assert type(await outcome(one.ask("no ref"))) is AttributeError
    assert await outcome(one.ask("hello")) == "well"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_failure_of_the_runtime_itself_is_a_crash_of_that_actor(
    actor_system, kind, monkeypatch
):
    """The wall behind all others: what leaves the runtime's own code in a turn."""
    root = start(Supervisor.of(child(raising(kind, KeyError), name="one")), actor_system)
    await root.started()
    one = ref_of(root, "one")
    slot = one._slot
    broken = "actors._thread_slot.meant" if kind is OnThread else "actors._loop_slot.meant"

    def fails(*_):
        monkeypatch.undo()
        raise SystemExit("of the runtime")

    monkeypatch.setattr(broken, fails)
    assert issubclass(type(await outcome(one.ask("raise"))), Exception)
    assert await outcome(one.ask("hello")) == "well"
    assert slot.restarts == 1


async def test_a_supervisor_that_cannot_decide_crashes_and_its_parent_restarts_it(
    actor_system, monkeypatch
):
    inner = Supervisor.of(child(raising(Plain, KeyError), name="one"), name="inner")
    root = start(Supervisor.of(inner), actor_system)
    await root.started()
    sub = ref_of(root, "inner")
    one = ref_of(sub, "one")

    def fails(*_):
        monkeypatch.undo()
        raise SystemExit("of a decision")

    monkeypatch.setattr("supervisors._executor.decide", fails)
    assert issubclass(type(await outcome(one.ask("raise"))), Exception)
    while sub._slot.restarts == 0 or sub._slot.down:
        await asyncio.sleep(0)
    assert not one.is_alive()
    assert await outcome(ref_of(sub, "one").ask("hello")) == "well"
    assert root._slot.restarts == 0


@pytest.mark.parametrize("value", ["soon", float("nan"), float("inf"), -1.0])
def test_a_retry_after_no_time_is_refused_where_it_is_made(value):
    with pytest.raises(ValueError, match="after"):
        Retry(after=value)


@pytest.mark.parametrize("name", ALL)
def test_texts_of_exceptions_can_always_be_had_and_sent(name):
    error = ALL[name]()
    for text in (class_name(error), text_of(error), repr_of(error), line_of(error)):
        assert type(text) is str
        text.encode()
    assert trace_of(error).rstrip()
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "x", (), exc_info_of(error))
    assert logging.Formatter().format(record)


def test_a_text_that_cannot_be_had_is_said_to_be_so():
    assert line_of(TextIsNoText(404)) == "TextIsNoText: (its text cannot be had: TypeError)"
    assert line_of(NoClass("x")) == "NoClass: x"
    assert "Unshowable" in str(exc_info_of(ALL["a cause that exits"]())[0])


def test_the_handlers_of_a_plain_subclass_stay_as_they_are():
    class Fine(Actor):
        refuses = (KeyError,)
        inbox_limit = 5
        stash_limit = 0
        crash_retries = 1
        address = "shop"

        @receives(int)
        def number(self, message):
            return message

    assert Fine.refuses == (KeyError,)
