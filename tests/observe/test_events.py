"""The catalogue of events: all that is emitted is in it, with its fields, and nothing else is."""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path

import pytest

from actors import Actor, Events, System, receives
from actors.testing import ManualClock, settle
from irismq_runtime.observe import EVENTS, STEPS, Record, on_event, record_of
from irismq_runtime.observe.records import event, required_fields
from supervisors import Supervisor, child, start

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+|dead_letter")
WHO = re.compile(r"By (refs|mailbox|dispatch|durability|node|pyiris|actors|supervisors)\b")
#: Methods that emit an event, the second ones under a name and with fields of their own.
EMITTERS = {"emit", "_emit", "_tell"}


@functools.cache
def emitted():
    """(name pattern, field names or None when they are added elsewhere) of every site."""
    return list(sites())


def sites():
    for package in ("actors", "supervisors", "irismq_runtime"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            if "emit(" not in text and "_tell(" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                if node.func.attr not in EMITTERS or not node.args:
                    continue
                name = pattern_of(node.args[0])
                if name is not None:
                    direct = node.func.attr == "emit"
                    yield name, {k.arg for k in node.keywords} if direct else None, path.name


def pattern_of(argument):
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return re.escape(argument.value) if NAME.fullmatch(argument.value) else None
    if isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
        return re.escape(argument.values[0].value) + "[a-z_]+"
    return None


def test_every_event_that_is_emitted_is_in_the_catalogue_with_its_fields():
    for pattern, given, where in emitted():
        classes = [cls for name, cls in EVENTS.items() if re.fullmatch(pattern, name)]
        assert classes, f"{where} emits {pattern}, which is not in the catalogue"
        if given is None:
            continue
        problems = [mismatch(cls, given) for cls in classes]
        # Where a part of the name is put in, the others of that prefix may be emitted elsewhere.
        assert not min(problems, key=len), f"{where}: {problems}"


def mismatch(cls, given):
    strange = given - set(cls.__struct_fields__)
    missing = required_fields(cls) - given
    return [f"{cls.NAME}: {what}" for what in sorted(strange | missing)]


def test_every_event_of_the_catalogue_is_emitted_somewhere():
    patterns = [pattern for pattern, _, _ in emitted()]
    unheard = [name for name in EVENTS if not any(re.fullmatch(p, name) for p in patterns)]
    assert unheard == []


def test_every_event_says_when_it_comes_and_from_whom():
    for name, cls in EVENTS.items():
        text = cls.__doc__ or ""
        assert WHO.search(text), name
    assert set(STEPS) <= set(EVENTS)


def test_a_name_is_declared_once_and_a_record_is_frozen():
    with pytest.raises(TypeError, match="twice"):
        event("tell.encoded")(type("Again", (Record,), {}))
    record = EVENTS["node.started"](time=1.0, node="a-1", name="a")
    with pytest.raises(AttributeError, match="immutable"):
        record.name = "b"


def test_an_unknown_event_and_unknown_fields_are_errors():
    seen = []
    events = Events()
    events.subscribe(seen.append)
    events.emit("no.such", id="1")
    events.emit("node.started", node="a", nickname="b")
    with pytest.raises(LookupError, match=r"no\.such"):
        record_of(seen[0])
    with pytest.raises(LookupError, match=r"node\.started"):
        record_of(seen[1])


class Fragile(Actor):
    @receives(str)
    def take(self, text: str) -> None:
        if text == "boom":
            raise RuntimeError("boom")


async def test_the_events_of_actors_and_trees_are_records_and_json():
    system = System(clock=ManualClock(), blocked_after=None)
    system.attach()
    records = []
    end = on_event(system.events, records.append)
    tree = Supervisor.of(child(Fragile, name="fragile"), max_restarts=1)
    ref = start(tree, system)
    await ref.started()
    worker = next(r for r in system.actors() if r.actor_class is Fragile)
    for _ in range(2):
        worker.tell("boom")
        worker.tell("secret-of-a-user")
    await settle(system)
    names = {record.NAME for record in records}
    assert {"actor.started", "actor.crashed", "actor.down", "supervisor.child_terminated"} <= names
    assert {"supervisor.progress", "supervisor.shutdown", "actor.ended", "dead_letter"} <= names
    text = json.dumps([record.to_dict() for record in records])
    assert "secret-of-a-user" not in text
    end()
    assert not system.events.active
    await system.shutdown()
