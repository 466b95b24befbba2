"""Every line of JSON that anything prints is read by a strict parser (166)."""

from __future__ import annotations

import enum
import json
import logging
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.cli import console
from irismq_runtime.cli.message_format import as_json, escaped_json
from irismq_runtime.json_text import json_text
from irismq_runtime.observe import Check, Health, JsonLines, StatusServer
from irismq_runtime.observer.dead_letter_service import _text
from irismq_runtime.observer.model import to_json
from irismq_runtime.wire import Envelope, Kind, Serializer, encode_envelope
from tests.support.walk import walked


class Level(enum.IntEnum):
    HIGH = 3


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@dataclass
class Point:
    x: float


@dataclass
class Stored:
    body: bytes
    id: str = "0123456789abcdef"
    attempts: int = 1
    timestamp: float = 1_700_000_000.25


nested: Any = []
for _ in range(5000):
    nested = [nested]

HOSTILE = [
    float("nan"), float("inf"), float("-inf"), "\ud800", "a\udfffb", b"\xff\x00", b"text",
    2**64, -(2**70), 10**5000, 10**300, {"\ud800": 1}, {float("nan"): 1, None: 2, 1: 3, "1": 4},
    Level.HIGH, Point(float("nan")), {1, 2}, Unspeakable(), nested, object, bytearray(b"\xfe"),
]  # fmt: skip


def strict(text: str | bytes) -> Any:
    """Read as the strictest parsers do: no NaN, no lone surrogate, no bare control."""

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    plain = text if isinstance(text, str) else text.decode()
    plain.encode()
    json.loads(plain, parse_constant=refuse)
    return msgspec.json.decode(plain)


def logged(value: Any) -> str:
    made = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", ("\ud800",), None)
    made.value = value
    return JsonLines().format(made)


def probed(value: Any) -> str:
    health = Health((Check("c", ok=False, reason=json_text(value) + "\ud800"),))
    return StatusServer(health=lambda: health, metrics=lambda: "")._answer("/ready")[2]


EXITS: dict[str, Any] = {
    "the writer": json_text,
    "a line of tail": escaped_json,
    "a log record": logged,
    "a probe": probed,
    "the page": lambda value: to_json({"value": value}),
    "a message on the page": lambda value: _text([value]),
}


@pytest.mark.parametrize("name", EXITS)
@walked("value", HOSTILE)
def test_whatever_is_in_it_a_strict_parser_reads_it(name: str, value: Any) -> None:
    strict(EXITS[name](value))


@walked("value", HOSTILE)
def test_what_a_command_prints_is_read_by_a_strict_parser(
    value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    console.print_json({"answer": value}, data=True)
    strict(capsys.readouterr().out)


def test_a_stored_message_with_nan_is_a_strict_line() -> None:
    _, body, _ = Serializer().dump({"x": float("nan"), "y": [float("inf")]})
    line = as_json(Stored(encode_envelope(Envelope(Kind.TELL, bytes(16), "t", body, {}))))  # type: ignore[arg-type]  # as far as it is read
    assert strict(line)["body"] == {"x": "nan", "y": ["inf"]}


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_value_is_strict_json(value: Any) -> None:
    strict(json_text(value))


def test_what_json_has_a_form_for_is_not_changed() -> None:
    value = {"a": [1, -2.5, True, None, "é\n"], "b": {"c": 2**60}}
    assert strict(json_text(value)) == value
