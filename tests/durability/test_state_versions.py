"""A stored state of an older version is upgraded when it is read; of a newer one it is not read."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from typing import Any

import pytest

from actors import MessageNameError, message, upgrades
from actors.messages import message_version
from irismq_runtime import StateUnreadable
from irismq_runtime.durability.state_codec import StateCodec
from irismq_runtime.wire import Serializer

_names = itertools.count()


class Cart:
    """A class as it was, or is, in each of its versions: a module that is loaded again."""

    def __init__(self) -> None:
        self.name = f"test-versions.cart-{next(_names)}"

    def version(self, number: int, *fields: Any) -> type:
        return message(self.name, version=number)(dataclasses.make_dataclass("Cart", fields))

    def one(self) -> type:
        return self.version(1, ("total", int, 0), ("note", str, ""))

    def kept_by_one(self) -> bytes:
        kind = self.one()
        return codec(kind).encode(kind(total=250, note="tea"))


@pytest.fixture
def cart() -> Cart:
    return Cart()


def codec(kind: type) -> StateCodec:
    return StateCodec(Serializer(), kind, "test.cart", 1 << 20)


def as_cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"cents": fields["total"] * 100, "note": fields["note"]}


def test_a_state_goes_through_every_step_from_its_version_on(cart: Cart):
    stored = cart.kept_by_one()
    three = cart.version(
        3, ("cents", int, 0), ("notes", list[str], dataclasses.field(default_factory=list))
    )
    assert message_version(three) == 3

    def as_list(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "notes": [fields.pop("note")]}

    upgrades(three, from_version=1)(as_cents)
    upgrades(three, from_version=2)(as_list)
    read: Any = codec(three).decode(stored)
    assert (read.cents, read.notes) == (25_000, ["tea"])
    again: Any = codec(three).decode(codec(three).encode(read))
    assert again == read


def test_a_version_without_a_step_changes_nothing(cart: Cart):
    stored = cart.kept_by_one()
    two = cart.version(2, ("total", int, 0), ("open", bool, True))
    read: Any = codec(two).decode(stored)
    assert (read.total, read.open) == (250, True)


def test_older_code_does_not_read_what_newer_code_wrote(cart: Cart):
    two = cart.version(2, ("total", int, 0), ("note", str, ""), ("open", bool, True))
    stored = codec(two).encode(two(open=False))
    with pytest.raises(StateUnreadable, match="has version 2, and this code knows 1"):
        codec(cart.one()).decode(stored)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda fields: fields["missing"], r"version 1 failed: KeyError.*missing"),
        (lambda _fields: {"cents": "many"}, "does not fit its type"),
        (lambda _fields: {"cents": object()}, "cannot be kept"),
        (lambda _fields: sys.exit(3), "version 1 failed: SystemExit"),
    ],
)
def test_a_step_that_fails_says_which_and_nothing_is_read(cart: Cart, step: Any, reason: str):
    stored = cart.kept_by_one()
    two = cart.version(2, ("cents", int, 0))
    upgrades(two, from_version=1)(step)
    with pytest.raises(StateUnreadable, match=reason):
        codec(two).decode(stored)


def test_versions_and_steps_that_mean_nothing_are_errors_at_import(cart: Cart):
    for version in (0, -1, True, 1.5, "2"):
        with pytest.raises(MessageNameError, match="whole number from 1"):
            message("test-versions.x", version=version)  # type: ignore[arg-type]  # under test
    two = cart.version(2, ("cents", int, 0))
    for wrong in (0, 2, 3):
        with pytest.raises(MessageNameError, match="raise the version"):
            upgrades(two, from_version=wrong)
    with pytest.raises(MessageNameError, match="has no name"):
        upgrades(int, from_version=1)
    upgrades(two, from_version=1)(as_cents)
    with pytest.raises(MessageNameError, match="from version 1 already"):
        upgrades(two, from_version=1)(codec)  # type: ignore[type-var]  # under test


def test_a_state_of_another_name_is_read_and_upgraded_where_that_is_an_alias(cart: Cart):
    stored = cart.kept_by_one()
    plain = dataclasses.make_dataclass("Basket", [("total", int, 0), ("note", str, "")])
    basket = f"{cart.name}.basket"
    with pytest.raises(StateUnreadable, match="it is of the type"):
        codec(message(basket)(plain)).decode(stored)
    # As if the class had gone from the code: its name is free.
    name = f"{cart.name}.two"
    fields = [("cents", int, 0), ("note", str, "")]
    two = message(name, version=2, aliases=(f"{cart.name}.one",))(
        dataclasses.make_dataclass("Two", fields)
    )
    upgrades(two, from_version=1)(as_cents)
    old = stored.replace(cart.name.encode(), f"{cart.name}.one".encode())
    old = bytes([old[0], 0xA0 + len(f"{cart.name}.one")]) + old[2:]
    read: Any = codec(two).decode(old)
    assert (read.cents, read.note) == (25_000, "tea")
    again = codec(two).encode(read)
    assert name.encode() in again
    assert f"{cart.name}.one".encode() not in again
