"""Specifications: defaults, and every refusal of OTP's check_childspecs by its name."""

from __future__ import annotations

import pytest

from supervisors.errors import SpecError
from supervisors.spec import ChildSpec, Supervises, check_children, child
from tests.supervisors.fake_tree import FakeWorker


class Tree(FakeWorker, Supervises):
    pass


def test_a_worker_has_otps_defaults():
    spec = child(FakeWorker, 1, deep=True)
    assert (spec.name, spec.restart, spec.shutdown) == ("FakeWorker", "permanent", 5.0)
    assert (spec.args, spec.kwargs, spec.kind) == ((1,), {"deep": True}, "worker")
    assert not spec.significant


def test_a_supervisor_is_waited_for_without_limit():
    assert child(Tree).shutdown == "infinity"
    assert child(Tree).kind == "supervisor"
    assert child(Tree, shutdown=1.0).shutdown == 1.0


def test_a_shutdown_of_zero_stays_zero():
    assert child(FakeWorker, shutdown=0).stop_within == 0


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("invalid_restart_type", {"restart": "always"}),
        ("invalid_shutdown", {"shutdown": "brutal"}),
        ("invalid_shutdown", {"shutdown": -1.0}),
        ("invalid_shutdown", {"shutdown": float("inf")}),
        ("invalid_shutdown", {"shutdown": float("nan")}),
        ("invalid_shutdown", {"shutdown": True}),
        ("invalid_significant", {"significant": 1, "restart": "transient"}),
        ("bad_combination", {"significant": True}),
        ("invalid_instances", {"instances": 0}),
        ("invalid_instances", {"instances": True}),
        ("invalid_instances", {"instances": 1.5}),
        ("invalid_name", {"name": 7}),
        ("invalid_name", {"name": "file \udcff"}),
    ],
)
def test_what_is_wrong_with_one_child_is_refused_where_it_is_written(reason, arguments):
    with pytest.raises(SpecError) as caught:
        child(FakeWorker, **arguments)
    assert caught.value.reason == reason
    assert reason in str(caught.value)


@pytest.mark.parametrize("value", [None, "FakeWorker", FakeWorker(), dict])
def test_a_child_is_a_class_of_actors(value):
    with pytest.raises(SpecError) as caught:
        child(value)
    assert caught.value.reason == "invalid_actor_class"


def test_two_children_of_one_name_are_refused():
    with pytest.raises(SpecError) as caught:
        check_children([FakeWorker, child(FakeWorker)])
    assert caught.value.reason == "duplicate_child_name"
    assert caught.value.child == "FakeWorker"


def test_a_significant_child_needs_auto_shutdown():
    spec = child(FakeWorker, restart="transient", significant=True)
    with pytest.raises(SpecError) as caught:
        check_children([spec])
    assert caught.value.reason == "bad_combination"
    assert check_children([spec], auto_shutdown="any_significant") == (spec,)


def test_instances_are_written_out_in_order():
    specs = check_children([child(FakeWorker, name="w", instances=3), child(FakeWorker)])
    assert [spec.name for spec in specs] == ["w-1", "w-2", "w-3", "FakeWorker"]


def test_instances_may_collide_with_a_name():
    with pytest.raises(SpecError):
        check_children([child(FakeWorker, name="w", instances=2), child(FakeWorker, name="w-2")])


def test_a_value_can_be_given_another_name():
    value = ChildSpec(FakeWorker, (1,), name="one")
    assert child(value, name="two", restart="transient").args == (1,)
    with pytest.raises(SpecError) as caught:
        child(value, 2)
    assert caught.value.reason == "invalid_arguments"


def test_a_value_can_be_given_other_options_and_keeps_the_rest():
    one = child(FakeWorker, 1, size=2, name="one", shutdown=3.0)
    other = one.with_options(restart="transient", instances=2)
    assert other == child(
        FakeWorker, 1, size=2, name="one", shutdown=3.0, restart="transient", instances=2
    )
    assert one.restart == "permanent"
    assert one.with_options() == one
    with pytest.raises(SpecError) as caught:
        one.with_options(restart="never")
    assert caught.value.reason == "invalid_restart_type"


def test_a_long_value_does_not_fill_the_screen():
    with pytest.raises(SpecError) as caught:
        child(FakeWorker, restart="x" * 10_000)
    assert len(str(caught.value)) < 300
