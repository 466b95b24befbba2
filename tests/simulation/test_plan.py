"""The plan of faults: a function of seed and dials, and the dials' rules."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.simulation.chance import Chance
from irismq_runtime.simulation.fault_plan import fault_plan
from irismq_runtime.simulation.faults import KINDS, Fault, Targets, dials_of, fault_now

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL = dict.fromkeys(KINDS, 1.0)
SHOP = Targets(
    ("a", "b", "c"),
    ("broker-1", "broker-2"),
    ("relay",),
    ("client",),
    ("lookup-1",),
    ("database",),
)


def first(count: int, dials: Mapping[str, float] = ALL, *, seed: int = 0x8F31) -> list[Fault]:
    plan = fault_plan(Chance(seed).stream("faults"), dials, SHOP, begins=10.0)
    return list(itertools.islice(plan, count))


def test_a_plan_is_a_function_of_its_seed_and_its_dials() -> None:
    assert first(200) == first(200)
    assert first(200) != first(200, seed=0x8F32)


def test_a_plan_is_the_same_in_another_process_with_another_hash_seed() -> None:
    program = (
        "import itertools; from irismq_runtime.simulation.chance import Chance; "
        "from irismq_runtime.simulation.fault_plan import fault_plan; "
        "from irismq_runtime.simulation.faults import KINDS, Targets; "
        "machines = Targets(('a', 'b', 'c'), ('broker-1', 'broker-2'), ('relay',), ('client',), "
        "('lookup-1',), ('database',)); "
        "chance = Chance(0x8F31).stream('faults'); "
        "plan = fault_plan(chance, dict.fromkeys(KINDS, 1.0), machines, begins=10.0); "
        "print([each.told() for each in itertools.islice(plan, 50)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "4711", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str([each.told() for each in first(50)])


def test_faults_come_in_order_and_are_numbered() -> None:
    plan = first(300)
    assert [each.number for each in plan] == list(range(300))
    assert all(one.at < other.at for one, other in itertools.pairwise(plan))
    assert plan[0].at > 10.0


@pytest.mark.parametrize(
    ("kind", "target", "holder"),
    [
        ("kill", ("b",), "b"),
        ("power", ("broker-2",), "broker-2"),
        ("partition", ("b", "broker-1"), "b"),
        ("cut", ("client", "broker-2"), "client"),
        ("slow", ("b", "relay"), ""),
    ],
)
def test_a_fault_may_lose_what_a_machine_or_a_broker_holds_and_a_relay_holds_nothing(
    kind: str, target: tuple[str, ...], holder: str
) -> None:
    assert SHOP.holder(fault_now(kind, target, SHOP, at=1.0, amount=2.0)) == holder


def test_they_come_as_often_as_the_dials_say() -> None:
    plan = first(4000, {"kill": 3.0, "partition": 1.0})
    minutes = (plan[-1].at - 10.0) / 60
    kills = sum(each.kind == "kill" for each in plan)
    assert {each.kind for each in plan} == {"kill", "partition"}
    assert kills / minutes == pytest.approx(3.0, rel=0.1)
    assert (len(plan) - kills) / minutes == pytest.approx(1.0, rel=0.1)


def test_each_kind_strikes_what_it_is_for_and_lasts_as_long_as_it_may() -> None:
    servers = {"broker-1", "broker-2", "relay", "lookup-1", "database"}
    places = {
        "host": [(name,) for name in "abc"],
        "broker": [("broker-1",), ("broker-2",)],
        "relay": [("relay",)],
        "lookup": [("lookup-1",)],
        "database": [("database",)],
        "disk": [*((name,) for name in "abc"), ("broker-1",), ("broker-2",)],
        "link": [(host, server) for host in [*"abc", "client"] for server in servers],
    }
    for each in first(3000):
        kind = KINDS[each.kind]
        assert each.target in places[kind.strikes]
        assert kind.lasts[0] * 0.999 <= each.lasts <= kind.lasts[1] * 1.001
        assert kind.amount[0] * 0.999 <= abs(each.amount) <= kind.amount[1] * 1.001
    assert {each.kind for each in first(3000)} == set(KINDS)


def test_a_kind_that_finds_nothing_to_strike_does_not_come() -> None:
    bare, chance = Targets(("a",)), random.Random(1)
    plan = itertools.islice(fault_plan(chance, ALL, bare, begins=0.0), 200)
    assert {each.kind for each in plan} == {"kill", "stop", "pause", "clock", "full"}
    assert list(fault_plan(chance, {"relay": 1.0}, bare, begins=0.0)) == []
    assert list(fault_plan(chance, {}, SHOP, begins=0.0)) == []


def test_the_order_in_which_dials_are_turned_changes_nothing() -> None:
    turned = dials_of({"relay": 1.0, "kill": 2.0, "pause": 0.0})
    assert list(turned.items()) == [("kill", 2.0), ("relay", 1.0)]


@pytest.mark.parametrize(
    ("dials", "error", "text"),
    [
        ({"fire": 1.0}, TypeError, "there is no fault 'fire'; the dials are kill, stop"),
        ({"kill": -1.0}, ValueError, "kill=-1.0 is not a finite number"),
        ({"kill": float("nan")}, ValueError, "kill=nan is not a finite number"),
        ({"kill": "often"}, ValueError, "kill='often' is not a finite number"),
        ({"kill": True}, ValueError, "kill=True is not a finite number"),
    ],
)
def test_a_dial_without_a_meaning_is_named(
    dials: dict[str, float], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        dials_of(dials)


def test_a_fault_that_a_test_wants_names_its_server_last() -> None:
    fault = fault_now("cut", ("relay", "a"), SHOP, at=5.0)
    assert fault == Fault(0, "cut", ("a", "relay"), 5.0)


@pytest.mark.parametrize(
    ("kind", "target", "numbers", "error", "text"),
    [
        ("fire", ("a",), {}, TypeError, "there is no fault 'fire'; the dials are kill, stop"),
        ("kill", ("z",), {}, ValueError, "'kill' strikes one of a, b, c; given was 'z'"),
        ("broker", ("a",), {}, ValueError, "'broker' strikes one of broker-1, broker-2; given"),
        ("cut", ("a", "b"), {}, ValueError, r"a \| relay, .* given was 'a \| b'"),
        ("kill", ("a",), {"lasts": -1.0}, ValueError, "lasts=-1.0 is not"),
        ("slow", ("a", "relay"), {}, ValueError, "amount=0.0 is not"),
        ("clock", ("a",), {"amount": float("nan")}, ValueError, "amount=nan is not"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_what_can(
    kind: str, target: tuple[str, ...], numbers: dict[str, float], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        fault_now(kind, target, SHOP, at=0.0, **numbers)


def test_a_fault_is_told_in_words() -> None:
    assert Fault(3, "kill", ("b",), 31.21, 2.7).told() == "kill b at 31.2 s, until 33.9 s"
    cut = Fault(4, "cut", ("a", "broker-1"), 5.0)
    assert cut.told() == "cut the connections a | broker-1 at 5.0 s"
    assert str(Fault(5, "clock", ("a",), 5.0, 1.0, -61.25)) == "the clock of a is -61.2 s off"
