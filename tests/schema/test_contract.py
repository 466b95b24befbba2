"""What a class of actors offers, as AsyncAPI and JSON Schema: judged by the published schemas."""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003  # hints are read when it runs
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pydantic
import pytest

from actors import Actor, Request, exposed, message, receives
from irismq_runtime import Entity, durable, live
from irismq_runtime.errors import ConfigError
from irismq_runtime.schema import Title, asyncapi, contract_of, json_schema
from irismq_runtime.schema.contract import TopicContract

if TYPE_CHECKING:
    from actors import NoSuchName  # type: ignore[attr-defined]  # what a hint may name

PUBLISHED = json.loads(Path(__file__).with_name("asyncapi-3.0.0.json").read_text(encoding="utf-8"))
TITLE = Title("shop", "1.2")


@dataclasses.dataclass
class Line:
    sku: str
    pair: tuple[int, str] = (1, "a")


@message("test-contract.put")
@dataclasses.dataclass
class Put(Request[int]):
    """Put something in."""

    line: Line
    first: Line = dataclasses.field(default_factory=lambda: Line("x"))
    at: dt.datetime | None = None


@message("test-contract/a:b")
class Named(msgspec.Struct):
    data: bytes = b""


@message("test-contract/a_b")
class Other(msgspec.Struct):
    pass


@message("test-contract.rows")
@dataclasses.dataclass
class Rows(Request[AsyncIterator[Line]]):
    pass


@message("test-contract.batch")
@dataclasses.dataclass
class Batched:
    pass


@dataclasses.dataclass
class Local:
    """Without a name on the wire."""


class Stock(Actor):
    address = "shop.stock"
    subscribes = (live("flights.late"), durable("orders.placed", channel="board"))

    @receives(Put)
    def put(self, message: Put) -> int:
        return 1

    @receives(Named)
    async def named(self, message: Named) -> Line | None:
        return None

    @receives(Other)
    def other(self, message: Other) -> NoSuchName:
        return None

    @receives(Rows)
    async def rows(self, message: Rows) -> AsyncIterator[Line]:
        yield Line("x")

    @receives(Batched, batch=10)
    def batched(self, messages: list[Batched]) -> list[int]:
        return [1] * len(messages)

    @receives(Local)
    def local(self, message: Local) -> None:
        pass

    @exposed
    def count(self) -> int:
        return 1


@message("test-contract.state")
@dataclasses.dataclass
class State:
    total: int = 0


class Cart(Entity):
    address = "shop.cart"
    state: State

    @receives(Put)
    def put(self, message: Put) -> None:  # type: ignore[override]  # it does not matter here
        pass


def contract(kind: type) -> Any:
    found = contract_of(kind)
    assert found is not None
    return found


def test_a_contract_has_the_messages_with_names_and_their_answers():
    found = contract(Stock)
    assert found.to_dict() == {
        "class": "tests.schema.test_contract.Stock",
        "version": "",
        "messages": {
            "test-contract.batch": "",
            "test-contract.put": "int",
            "test-contract.rows": "stream of Line",
            "test-contract/a:b": "tests.schema.test_contract.Line | None",
            "test-contract/a_b": "",
        },
        "exposed": ["count"],
    }
    assert found.topics == (
        TopicContract("flights.late", is_durable=False, channel=""),
        TopicContract("orders.placed", is_durable=True, channel="board"),
    )
    assert (contract(Cart).shards, found.shards) == (64, 0)


def test_a_class_without_an_address_and_a_topic_offers_nothing():
    class Inner(Actor):
        @property
        def address(self) -> str:  # type: ignore[override]  # it is known when one is made
            return "x"

    assert contract_of(Actor) is None
    assert contract_of(Inner) is None


def test_asyncapi_is_what_its_published_schema_wants():
    document = asyncapi([contract(Stock), contract(Cart)], TITLE)
    jsonschema.Draft7Validator(PUBLISHED).validate(document)
    assert set(document["channels"]) == {
        *(f"shop.{name}.{of}" for name in ("stock", "cart") for of in ("mailbox", "members")),
        "shop.stock.answers",
        "shop.cart.answers",
        "topic.flights.late",
        "topic.orders.placed",
    }
    assert document["channels"]["topic.orders.placed"]["x-irismq"]["channel"] == "board"
    assert document["channels"]["shop.stock.members"]["x-irismq"]["exposed"] == ["count"]
    assert document["channels"]["shop.cart.mailbox"]["x-irismq"]["shards"] == 64
    assert document["components"]["messages"]["test-contract.put"]["summary"] == (
        "Put something in."
    )
    answer = document["components"]["messages"]["shop.stock.test-contract.put.answer"]
    assert answer["payload"] == {"type": "integer"}
    unknown = document["operations"]["shop.stock.ask.test-contract.batch"]
    assert "reply" not in unknown


def test_every_reference_of_a_document_leads_somewhere():
    for document in (asyncapi([contract(Stock)], TITLE), json_schema([contract(Stock)], TITLE)):
        found = list(references(document))
        assert found
        for reference in found:
            at: Any = document
            for part in reference.removeprefix("#/").split("/"):
                at = at[part]


class Leaf(pydantic.BaseModel):
    a: int = 1


class Branch(pydantic.BaseModel):
    leaf: Leaf = Leaf()
    next: Branch | None = None


@message("test-contract.model")
class Model(pydantic.BaseModel):
    sku: str = pydantic.Field(alias="SKU")
    branch: Branch = Branch()


class Shelf(Actor):
    address = "shop.shelf"

    @receives(Model)
    def put(self, message: Model) -> Branch:
        return message.branch


def test_models_of_pydantic_are_described_by_pydantic_with_their_own_names():
    document = asyncapi([contract(Shelf)], TITLE)
    jsonschema.Draft7Validator(PUBLISHED).validate(document)
    assert set(document["components"]["schemas"]) == {"Model", "Branch", "Leaf"}
    schema = json_schema([contract(Shelf)], TITLE)
    model = jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": "#/$defs/Model"})
    model.validate({"sku": "tea", "branch": {"leaf": {"a": 2}, "next": {}}})
    assert not model.is_valid({"SKU": "tea"})
    assert not model.is_valid({"sku": "tea", "branch": {"leaf": {"a": "x"}}})
    other = type("Line", (pydantic.BaseModel,), {"__annotations__": {"sku": str}})
    both = message("test-contract.both")(
        dataclasses.make_dataclass("Both", [("one", Line), ("two", other)])
    )

    class Two(Actor):
        address = "two"

        @receives(both)
        def two(self, message: Any) -> None:
            pass

    with pytest.raises(ConfigError, match=r"two classes are called Line"):
        asyncapi([contract(Two)], TITLE)


def references(part: Any) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_names_that_are_alike_as_keys_stay_two_messages():
    messages = asyncapi([contract(Stock)], TITLE)["components"]["messages"]
    names = {"test-contract/a:b", "test-contract/a_b"}
    assert {each["name"] for each in messages.values()} >= names


def test_json_schema_takes_what_a_message_is_in_json_and_nothing_else():
    document = json_schema([contract(Stock)], TITLE)
    jsonschema.Draft202012Validator.check_schema(document)
    put = jsonschema.Draft202012Validator(
        {"$defs": document["$defs"], "$ref": "#/$defs/Put"},
    )
    put.validate(json.loads(msgspec.json.encode(Put(Line("tea")))))
    for wrong in ({}, {"line": {"sku": 1}}, {"line": {"sku": "tea", "pair": [1]}}):
        assert not put.is_valid(wrong)
    assert {each["title"] for each in document["anyOf"]} == {
        *contract(Stock).to_dict()["messages"],
    }


def test_a_message_whose_hints_have_no_meaning_is_named():
    broken = message("test-contract.broken")(
        dataclasses.make_dataclass("Broken", [("x", "NoSuchType")])
    )

    class Odd(Actor):
        address = "odd"

        @receives(broken)
        def odd(self, message: Any) -> None:
            pass

    with pytest.raises(ConfigError, match=r"^MODULES: 'test-contract\.broken' has no JSON Schema"):
        asyncapi([contract(Odd)], TITLE)
