"""Registered classes: laid out by their hints, checked on arrival."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import message
from irismq_runtime.errors import DecodeError, EncodeError, UnknownType, ValidationError
from tests.wire.samples import (
    Address,
    Branch,
    Colour,
    Customer,
    Extra,
    Line,
    Order,
    Pair,
    Point,
    Ref,
    Reserve,
    Status,
    Tick,
    Tree,
    Trunk,
    exact,
    serializer,
)

if TYPE_CHECKING:
    from decimal import Decimal

wire = serializer()
CODECS = ["msgpack", "json"]

texts = st.text(max_size=8)
addresses = st.builds(Address, texts, texts, st.lists(texts, max_size=2).map(tuple))
lines = st.builds(Line, texts, st.integers())
anything = st.recursive(
    st.none()
    | st.integers()
    | texts
    | lines
    | texts.map(lambda urn: Ref(f"n/{urn}"))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(texts, inner),
    max_leaves=6,
)
orders = st.builds(
    Order,
    status=st.sampled_from(Status),
    customer=st.builds(Customer, texts, st.none() | addresses),
    lines=st.lists(lines, max_size=3),
    path=st.lists(st.builds(Point, st.integers(), st.integers()), max_size=3),
    by_colour=st.dictionaries(st.sampled_from(Colour), st.lists(addresses, max_size=2)),
    seen=st.sets(st.sampled_from(Colour)),
    extra=st.builds(dict) | st.builds(Extra, colour=st.sampled_from(Colour), note=texts),
    anything=anything,
)
trees = st.recursive(
    st.builds(Tree, texts), lambda inner: st.builds(Tree, texts, st.lists(inner, max_size=3))
)


def round_trip(value: object, codec: str = "msgpack") -> Any:
    type_name, body, header = wire.dump(value, codec)
    return wire.load(type_name, body, header)


@pytest.mark.parametrize("codec", CODECS)
@given(value=orders | trees | lines | st.builds(Reserve, texts, st.lists(lines, max_size=3)))
@settings(deadline=None, max_examples=60)
def test_messages_arrive_equal_in_value_and_type(codec: str, value: Any) -> None:
    arrived = round_trip(value, codec)
    assert arrived == value
    assert exact(arrived) == exact(value)


@pytest.mark.parametrize("codec", CODECS)
def test_a_nested_message_keeps_every_type(codec: str) -> None:
    order = Order(
        Status.PAID,
        Customer("Ada", Address("Road 1", "42", ("a", "b"))),
        lines=[Line("a", 1)],
        path=[Point(1, 2)],
        by_colour={Colour.RED: [Address("Road 2", "43")]},
        seen={Colour.BLUE},
        extra={"colour": Colour.RED},
        anything={"ref": Ref("n/1"), "t": (1, {2}), "line": Line("b", 2), "tree": [Tree("r")]},
    )
    arrived = round_trip(order, codec)
    assert exact(arrived) == exact(order)
    assert type(arrived.status) is Status
    assert type(arrived.path[0]) is Point
    assert type(arrived.customer.address.tags) is tuple


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "value", [Tick(5, ("a",)), Pair(1, Status.PAID), Tree("root", [Tree("leaf")])], ids=repr
)
def test_structs_and_recursive_classes(value: Any, codec: str) -> None:
    assert round_trip(value, codec) == value
    assert round_trip([(value,)], codec) == [(value,)]


def test_fields_go_out_by_their_names_on_the_wire() -> None:
    assert wire.dump(Tick(5), "json")[1] == (
        b'{"type":"tick","atSecond":5,"labels":{"$":"tuple","v":[]}}'
    )
    assert wire.dump(Reserve("o", [Line("a", 1)]), "json")[1] == (
        b'{"order":"o","lines":[{"$":"object","v":["shop.line",{"sku":"a","qty":1}]}]}'
    )


def test_a_peer_may_write_bare_maps_and_texts_in_declared_fields() -> None:
    body = b'{"status":2,"customer":{"name":"Ada"},"lines":[{"sku":"a","qty":1}],"path":[[1,2]]}'
    arrived = wire.load("shop.order", body, "json")
    assert arrived == Order(Status.PAID, Customer("Ada"), [Line("a", 1)], [Point(1, 2)])


# Refused at the sender -------------------------------------------------------


@dataclass
class Unregistered:
    a: int = 1


@message("test.holder")
@dataclass
class Holder:
    address: Address
    colour: Colour = Colour.RED
    anything: Any = None
    bag: dict[str, Any] = field(default_factory=dict)
    keyed: dict[Address, int] | None = None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Unregistered(), "$"),
        ({"a": [Unregistered()]}, "$.a[0]"),
        (Holder(Address("a", "b"), anything=Address("a", "b")), "$.anything"),
        (Holder(Address("a", "b"), anything=[Colour.RED]), "$.anything[0]"),
        (Holder(Address("a", "b"), bag={"c": Colour.RED}), "$.bag.c"),
        (Holder(Unregistered()), "$.address"),  # type: ignore[arg-type]  # what is refused
        (Holder(Address("a", "b"), colour=Status.OPEN), "$.colour"),  # type: ignore[arg-type]  # too
        (Holder(Address("a", "\ud800")), "$.address.zip_code"),
        ([Holder(Address("a", "b"), anything=1j)], "$[0].anything"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_no_hint_explains_is_refused_with_its_path(value: object, path: str) -> None:
    for codec in CODECS:
        with pytest.raises(EncodeError) as caught:
            wire.dump(value, codec)
        assert caught.value.path == path


@message("test.keyed")
@dataclass
class Keyed:
    pairs: dict[tuple[tuple[Colour, ...], frozenset[Colour]], int]
    points: dict[Point, Colour]


@pytest.mark.parametrize("codec", CODECS)
def test_keys_with_hints_of_their_own(codec: str) -> None:
    keyed = Keyed(
        {((Colour.RED,), frozenset({Colour.BLUE})): 1, ((), frozenset()): 2},
        {Point(1, 2): Colour.RED},
    )
    assert exact(round_trip(keyed, codec)) == exact(keyed)


@message("test.private")
@attrs.define
class Private:
    _seat: int
    name: str = attrs.field(default="", alias="label")


def test_attrs_classes_with_names_of_their_own() -> None:
    assert round_trip(Private(4, label="x")) == Private(4, label="x")


def test_an_object_as_a_key_is_refused() -> None:
    @dataclass(frozen=True)
    class Key:
        a: int

    holder = Holder(Address("a", "b"))
    holder.keyed = {Key(1): 2}  # type: ignore[dict-item]  # what is refused
    with pytest.raises(EncodeError) as caught:
        wire.dump(holder)
    assert caught.value.path.startswith("$.keyed key ")


def test_typed_data_that_contains_itself_is_refused() -> None:
    branch = Branch()
    branch.kids.append(branch)
    with pytest.raises(EncodeError) as caught:
        wire.dump(Trunk(branch))
    assert caught.value.path.startswith("$.branch.kids[0].kids[0]")
    tree = Tree("a")
    tree.kids.append(tree)
    with pytest.raises(EncodeError):
        wire.dump(tree)
    shared = Branch()
    for _ in range(40):
        shared = Branch([shared, shared])
    with pytest.raises(EncodeError, match="too many"):
        wire.dump(Trunk(shared))


def test_hints_that_cannot_be_resolved_are_named() -> None:
    @message("test.unresolved")
    @dataclass
    class Unresolved:
        price: Decimal

    with pytest.raises(EncodeError, match=r"Decimal.*TYPE_CHECKING"):
        wire.dump(Unresolved(price=None))  # type: ignore[arg-type]  # it is not looked at
    with pytest.raises(ValidationError, match="Decimal"):
        wire.load("test.unresolved", b"\x81\xa5price\x01")


def test_a_class_registered_later_is_known_then() -> None:
    @dataclass
    class Late:
        a: int

    with pytest.raises(EncodeError):
        wire.dump(Late(1))
    message("test.late")(Late)
    assert wire.dump(Late(1))[0] == "test.late"


# Refused at the receiver -----------------------------------------------------


@pytest.mark.parametrize(
    ("type_name", "body", "path"),
    [
        ("shop.line", b'{"sku":"a","qty":"1"}', "$.qty"),
        ("shop.line", b'{"sku":"a"}', "$"),
        ("shop.line", b"[]", "$"),
        ("shop.line", b"null", "$"),
        ("shop.line", b'{"sku":"a","qty":1.5}', "$.qty"),
        ("shop.line", b'{"sku":"a","qty":true}', "$.qty"),
        (
            "shop.reserve",
            b'{"order":"o","lines":[{"sku":"a","qty":1},{"sku":1}]}',
            "$.lines[1].sku",
        ),
        ("shop.order", b'{"status":9,"customer":{"name":"a"}}', "$.status"),
        ("shop.tick", b'{"type":"tock","atSecond":1}', "$.type"),
    ],
)
def test_what_does_not_fit_names_the_path(type_name: str, body: bytes, path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        wire.load(type_name, body, "json")
    assert (caught.value.path, caught.value.type_name) == (path, type_name)


def test_an_object_inside_is_checked_as_well() -> None:
    bad = b'[{"$":"object","v":["shop.line",{"sku":"a","qty":"1"}]}]'
    with pytest.raises(ValidationError) as caught:
        wire.load("", bad, "json")
    assert caught.value.type_name == "shop.line"


def test_an_unknown_type_is_an_error_of_its_own() -> None:
    with pytest.raises(UnknownType) as caught:
        wire.load("shop.nothing", b"\x80")
    assert caught.value.type_name == "shop.nothing"
    with pytest.raises(UnknownType):
        wire.load("", b"\x93\xd4\x01o\xa7nothing\x80")


def test_fields_too_many_are_ignored() -> None:
    assert wire.load("shop.line", b'{"sku":"a","qty":1,"later":2}', "json") == Line("a", 1)


@message("test.guarded")
@dataclass
class Guarded:
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise LookupError("negative")


def test_what_a_constructor_raises_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="LookupError: negative"):
        wire.load("test.guarded", b"\x81\xa1n\xff")
    assert issubclass(ValidationError, DecodeError)


def test_the_declared_type_decides_on_arrival() -> None:
    @message("test.price")
    @dataclass
    class Price:
        amount: float
        tags: list[str]

    arrived = round_trip(Price(3, ("a",)))  # type: ignore[arg-type]  # as senders do
    assert exact(arrived) == exact(Price(3.0, ["a"]))
