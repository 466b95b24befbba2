"""The map of children behaves as a dict in the order of seats, and never changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisors._children import Child, Children, Phase
from supervisors.spec import ChildSpec
from tests.supervisors.fake_tree import FakeWorker

operations = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove"]), st.integers(0, 120), st.sampled_from(list(Phase))
    ),
    max_size=300,
)


def one(number, seat, phase=Phase.RUNNING):
    return Child(ChildSpec(FakeWorker, name=f"n{number}"), seat, phase)


@given(operations)
def test_it_is_a_dict_that_never_changes(script):
    children, model, history = Children(), {}, []
    for verb, number, phase in script:
        history.append((children, dict(model)))
        name = f"n{number}"
        if verb == "put":
            seat = model[name].seat if name in model else children.next_seat
            model[name] = one(number, seat, phase)
            children = children.put(model[name])
        else:
            model.pop(name, None)
            children = children.remove(name)
    history.append((children, model))
    for version, expected in history:
        assert version.ordered() == sorted(expected.values(), key=lambda child: child.seat)
        assert len(version) == len(expected)
        for phase in Phase:
            assert version.count(phase) == sum(c.phase is phase for c in expected.values())
        assert version.get("nobody") is None


def test_many_children_are_found_by_name():
    children = Children()
    for number in range(5_000):
        children = children.put(one(number, number))
    assert [child.name for child in children] == [f"n{number}" for number in range(5_000)]
    for number in range(0, 5_000, 7):
        children = children.remove(f"n{number}")
    assert children.get("n7") is None
    assert children.get("n8").seat == 8


def test_equal_hashes_share_a_leaf(monkeypatch):
    import supervisors._children as module

    monkeypatch.setattr(module, "hash", lambda name: 5, raising=False)
    children = Children()
    for number in range(100):
        children = children.put(one(number, number))
    assert len(children) == 100
    assert children.get("n99").seat == 99
    assert len(children.remove("n50").ordered()) == 99


def test_its_repr_names_the_children():
    assert repr(Children().put(one(1, 0))) == "Children(n1: running)"


def test_those_in_trouble_are_shown_first_and_a_great_many_cheaply():
    children = Children()
    for number in range(50):
        children = children.put(one(number, number))
    hurt = children.get("n30")._replace(restarts=2)
    children = children.put(hurt).put(one(40, 40, Phase.RESTARTING))
    assert [child.name for child in children.some(4)] == ["n0", "n1", "n30", "n40"]
    assert children.some(50) == children.ordered()
    for number in range(50, 3_000):
        children = children.put(one(number, number))
    assert len(children.some(100)) == 100
