"""Models of pydantic as messages: checked as strictly as a dataclass, then by their validators."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)

from actors import message
from irismq_runtime.errors import DecodeError, EncodeError, ValidationError
from irismq_runtime.json_text import json_text
from irismq_runtime.schema import describe
from irismq_runtime.wire import Serializer
from tests.support.hostile import ALL
from tests.support.walk import walk

#: Texts and numbers that all have one hash.
COLLIDING = [n * (2**61 - 1) for n in range(1, 200)]


class Colour(Enum):
    RED = "red"


class Line(BaseModel):
    sku: Annotated[str, Field(min_length=1)]
    count: int = 1
    parts: list[Line] = []


@message("models.order")
class Order(BaseModel):
    model_config = ConfigDict(frozen=True)

    number: int
    lines: list[Line]
    by_sku: dict[str, Line] = {}
    pair: tuple[Line, int] | None = None
    best: Line | None = None
    at: datetime | None = None
    lasts: timedelta = timedelta(0)
    key: UUID | None = None
    price: Decimal = Decimal(0)
    raw: bytes = b""
    tags: set[int] = set()
    names: dict[int, str] = {}
    colour: Colour = Colour.RED
    kind: Literal["new", "old"] = "new"
    anything: Any = None
    home: AnyUrl | None = None
    made: list[str] = Field(default_factory=lambda: ["here"])


@message("models.flat")
class Flat(BaseModel):
    text: str
    count: int = 0

    @field_validator("count")
    @classmethod
    def no_ghosts(cls, value: int) -> int:
        if value == 13:
            raise ValueError("thirteen")
        if value == 14:
            raise SystemExit(14)
        if value == 15:
            raise RuntimeError("fifteen")
        return value


@message("models.aliased")
class Aliased(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    from_: str = Field(alias="from")
    kept: int = Field(default=3, exclude=True)


@message("models.checked")
class Checked(BaseModel):
    low: int
    high: int
    seen: list[int] = []

    @model_validator(mode="after")
    def in_order(self) -> Checked:
        self.seen.append(1)
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


@pytest.fixture
def wire() -> Serializer:
    return Serializer()


def full() -> Order:
    line = Line(sku="tea", parts=[Line(sku="leaf")])
    return Order(
        number=7,
        lines=[line, Line(sku="milk", count=2)],
        by_sku={"tea": line},
        pair=(line, 3),
        best=line,
        at=datetime(2026, 12, 1, 4, 5, tzinfo=UTC),
        lasts=timedelta(seconds=3),
        key=UUID(int=5),
        price=Decimal("1.50"),
        raw=b"\0\xff",
        tags={1, 2},
        names={1: "one"},
        kind="old",
        anything=[{"deep": (1, 2)}],
        home="https://example.org/a",
    )


def test_a_model_comes_as_it_was_sent_in_each_codec(wire):
    with walk() as case:
        for sent in (full(), Order(number=1, lines=[]), Flat(text="tea"), Flat(text="", count=5)):
            for codec in (None, "json"):
                with case(sent, codec):
                    got = wire.load(*wire.dump(sent, codec))
                    assert got == sent
                    assert type(got) is type(sent)
    aliased = Aliased(**{"from": "ada"})
    assert wire.load(*wire.dump(aliased)) == aliased
    assert b"from_" in wire.dump(aliased)[1]
    assert b"kept" not in wire.dump(aliased)[1]


def test_a_field_that_did_not_come_has_the_default_of_the_model(wire):
    load = wire.registry.convert
    order: Any = load("models.order", {"number": 1, "lines": [{"sku": "tea"}]})
    assert order == Order(number=1, lines=[Line(sku="tea")])
    assert order.model_fields_set == {"number", "lines"}
    assert load("models.order", {"number": 1, "lines": [], "later": 5}) == order.model_copy(
        update={"lines": []}
    )


WRONG: list[tuple[str, Any, str, str]] = [
    ("models.flat", {"text": 5}, "$.text", "str"),
    ("models.flat", {"text": "tea", "count": "5"}, "$.count", "int"),
    ("models.flat", {"text": "tea", "count": 1.5}, "$.count", "int"),
    ("models.flat", {"text": "tea", "count": True}, "$.count", "int"),
    ("models.flat", {}, "$", "text"),
    ("models.flat", [], "$", "object"),
    ("models.flat", {"text": "tea", "count": 13}, "$.count", "thirteen"),
    ("models.flat", {"text": "tea", "count": 14}, "$", "14"),
    ("models.flat", {"text": "tea", "count": 15}, "$", "fifteen"),
    ("models.order", {"number": 1, "lines": [{"sku": ""}]}, "$.lines[0].sku", "1 char"),
    ("models.order", {"number": 1, "lines": [{"sku": 1}]}, "$.lines[0].sku", "str"),
    ("models.order", {"number": 1, "lines": [], "home": "no url"}, "$", "Order.home: "),
    ("models.shape", {"form": {"kind": "circle", "radius": "2"}}, "$", "radius"),
    ("models.shape", {"form": {"kind": "triangle"}}, "$", "'circle'"),
    ("models.order", {"number": 1, "lines": [], "at": "2026-12-01T00:00:00"}, "$.at", "zone"),
    ("models.order", {"number": 1, "lines": [], "kind": "odd"}, "$.kind", "odd"),
    ("models.aliased", {"from_": "ada", "more": 1}, "$", "more"),
    ("models.checked", {"low": 2, "high": 1}, "$", "above"),
]


def test_what_does_not_fit_is_refused_with_its_place_and_nothing_else_is_raised(wire):
    with walk() as case:
        for name, fields, path, says in WRONG:
            with case(name, fields):
                with pytest.raises(ValidationError) as caught:
                    wire.registry.convert(name, fields)
                assert caught.value.path == path
                assert says in caught.value.problem
                assert caught.value.type_name == name


def test_what_was_sent_is_not_told_back_in_the_error(wire):
    with pytest.raises(ValidationError) as caught:
        wire.registry.convert("models.order", {"number": 1, "lines": [], "home": "my secret"})
    assert "secret" not in str(caught.value)


hostile = {"name": ""}


@message("models.hostile")
class Hostile(BaseModel):
    number: int = 0

    @model_validator(mode="after")
    def fails(self) -> Hostile:
        if hostile["name"]:
            error = ALL[hostile["name"]]()
            raise error
        return self


@pytest.mark.parametrize("name", ALL)
def test_whatever_a_validator_raises_is_a_message_that_is_refused(wire, monkeypatch, name):
    """143: an exception may do anything when it is looked at."""
    monkeypatch.setitem(hostile, "name", name)
    with pytest.raises(ValidationError) as caught:
        wire.registry.convert("models.hostile", {"number": 1})
    assert caught.value.type_name == "models.hostile"
    assert caught.value.problem


def test_validators_run_once(wire):
    assert wire.load(*wire.dump(Checked(low=1, high=2))).seen == [1, 1]  # one here, one there


@message("models.keyed")
class Keyed(BaseModel):
    inner: list[KeyedPart] = []
    numbers: set[int] = set()


class KeyedPart(BaseModel):
    by_number: dict[int, int] = {}
    pairs: frozenset[tuple[int, int]] = frozenset()


Keyed.model_rebuild()


def test_keys_that_were_made_to_have_one_hash_are_refused_before_the_model_sees_them(wire):
    crafted: list[dict[str, Any]] = [
        {"numbers": COLLIDING},
        {"inner": [{"by_number": dict.fromkeys(COLLIDING, 1)}]},
        {"inner": [{"pairs": [[n, 0] for n in COLLIDING]}]},
    ]
    with walk() as case:
        for fields in crafted:
            with case(next(iter(fields))), pytest.raises(DecodeError, match="hash"):
                wire.registry.convert("models.keyed", fields)
    harmless = {"numbers": list(range(2000)), "inner": [{"pairs": [[1, 2]]}]}
    assert wire.registry.convert("models.keyed", harmless) == Keyed(
        numbers=set(range(2000)), inner=[KeyedPart(pairs=frozenset({(1, 2)}))]
    )


def refused_models() -> dict[str, type]:
    class OwnForm(BaseModel):
        x: int

        @field_serializer("x")
        def as_text(self, value: int) -> str:
            return str(value)

    class TakesAll(BaseModel):
        model_config = ConfigDict(extra="allow")

    class Hidden(BaseModel):
        secret: SecretStr = SecretStr("s")

    class Sizes(BaseModel):
        sizes: set[ByteSize] = set()

    class Inside(BaseModel):
        either: Sizes | Hidden = Sizes()

    class Frozen(BaseModel):
        model_config = ConfigDict(frozen=True)

    class Members(BaseModel):
        members: frozenset[Frozen] = frozenset()

    class Root(RootModel[int]):
        root: int = 0

    class Excluded(BaseModel):
        x: int = Field(exclude=True)

    def either(kind: type) -> type:
        return create_model("Either", of=(kind | Line, None))

    return {"serializers": OwnForm, "extra": TakesAll, "stars": Hidden, "keys": Sizes} | {
        "members of a set": Inside,
        "Frozen": Members,
        "root": Root,
        "no default": Excluded,
        "has serializers of its own": either(OwnForm),
        "takes fields": either(TakesAll),
        "which travels as stars": either(Hidden),
    }


def test_a_model_whose_form_the_wire_cannot_keep_is_refused_at_both_ends(wire):
    with walk() as case:
        for number, (says, model) in enumerate(refused_models().items()):
            with case(says):
                name = f"models.refused.{number}"
                message(name)(model)
                values = {"x": 1} if "x" in model.__pydantic_fields__ else {}
                with pytest.raises(EncodeError, match=says) as refused:
                    wire.dump(model(**values))
                # What a model says is mended there, and is no name that cannot be imported.
                assert "TYPE_CHECKING" not in str(refused.value)
                with pytest.raises(ValidationError, match=says):
                    wire.registry.convert(name, values)


def test_where_a_value_is_that_pydantic_cannot_write_is_said(wire):
    class Picture(BaseModel):
        pixels: bytes

    class Album(BaseModel):
        pages: list[Picture | Line]

    @message("models.shelf")
    class Shelf(BaseModel):
        albums: list[Album]

    albums = [Album(pages=[]), Album(pages=[Picture(pixels=b"\xff")])]
    with pytest.raises(EncodeError, match=r"no text in UTF-8 .* field of its own") as caught:
        wire.dump(Shelf(albums=albums))
    assert caught.value.path == "$.albums[1].pages"


@message("models.shape")
class Shape(BaseModel):
    form: Annotated[Circle | Square, Field(discriminator="kind")]
    size: ByteSize = ByteSize(0)


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: int


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: int


Shape.model_rebuild()


def test_a_choice_of_models_is_read_by_pydantic(wire):
    with walk() as case:
        for form in (Circle(radius=2), Square(side=3)):
            with case(form):
                sent = Shape(form=form, size=ByteSize(5))
                assert wire.load(*wire.dump(sent)) == sent


class Aged(BaseModel):
    years: float = Field(0.0, alias="Years")


class Timed(BaseModel):
    times: dict[str, list[datetime]] = {}


class Sku(RootModel[str]):
    pass


@message("models.choices")
class Choices(BaseModel):
    form: Aged | Timed
    skus: list[Sku] = []


def test_a_choice_of_models_keeps_what_was_sent_under_the_names_of_the_fields(wire):
    now = datetime(2026, 12, 1, tzinfo=UTC)
    with walk() as case:
        for form in (Aged(Years=4.5), Aged(Years=math.inf), Timed(times={"a": [now]})):
            with case(form):
                sent = Choices(form=form, skus=[Sku("tea")])
                assert wire.load(*wire.dump(sent)) == sent


def test_a_datetime_without_a_zone_is_refused_in_a_choice_of_models_as_elsewhere(wire):
    fields = {"form": {"times": {"a": ["2026-12-01T00:00:00"]}}}
    with pytest.raises(ValidationError, match="without a zone"):
        wire.registry.convert("models.choices", fields)


@message("models.strict")
class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    lines: tuple[Line, ...] = ()
    either: tuple[Line, ...] | None = None


def test_a_tuple_of_models_is_a_tuple_for_a_strict_model(wire):
    sent = Strict(lines=(Line(sku="tea"),), either=(Line(sku="milk"),))
    assert wire.load(*wire.dump(sent)) == sent


def test_a_subclass_in_a_field_of_its_base_is_refused_as_of_a_dataclass(wire):
    class LongLine(Line):
        note: str = ""

    with pytest.raises(EncodeError, match=r"LongLine, a subclass"):
        wire.dump(Order.model_construct(number=1, lines=[LongLine(sku="tea")]))


def test_a_model_is_described_and_printed_by_its_fields():
    flat = describe({"models.flat": Flat}, ()).types["models.flat"].fields
    assert flat["text"].type == "str"
    assert flat["count"].default == 0
    order = describe({"models.order": Order}, ()).types["models.order"].fields
    assert order["made"].default["made by"]
    assert "AnyUrl" in order["home"].type["class"]
    assert order["best"].type["union"][1]["record"]["sku"]["type"] == "str"
    assert json_text(Flat(text="tea")) == '{"text": "tea", "count": 0}'


def test_pydantic_is_imported_only_by_who_has_a_model():
    code = (
        "import sys, irismq_runtime.schema; "
        "from irismq_runtime.wire import Serializer; Serializer().load(*Serializer().dump([1])); "
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
