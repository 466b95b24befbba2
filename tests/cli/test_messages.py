"""Messages that commands make: what a program may send, and nothing else (165)."""

from __future__ import annotations

import datetime as dt
import enum
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from actors import message
from irismq_runtime.cli.messages import _read
from irismq_runtime.errors import ConfigError, DecodeError
from irismq_runtime.wire import Serializer


class Colour(enum.Enum):
    RED = "red"


@message("talk.job")
@dataclass
class Job:
    due: dt.datetime | None = None
    price: Decimal | None = None
    colour: Colour | None = None
    counts: dict[int, int] = field(default_factory=dict)
    times: list[dt.datetime] = field(default_factory=list)


def sent(type_name: str, body: str) -> tuple[str, Any]:
    """The type and the plain fields of what leaves."""
    name, data, codec = Serializer().dump(_read(type_name, body, []))
    return name, Serializer().load("", data, codec)


@pytest.mark.parametrize(
    "body",
    [
        '{"from": 1}',
        '{"first-name": "a", "": 2, "class": 3, "1": 4, "__init__": 5, "a b": [1]}',
        '{"self": 1, "field_1": 2, "field_0": 3}',
    ],
)
def test_fields_may_have_any_name(body: str) -> None:
    name, fields = sent(f"talk.any{abs(hash(body))}", body)
    assert name.startswith("talk.any")
    assert fields == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"due": "2026-11-30T03:00:00"}',
        '{"times": ["2026-11-30T03:00:00"]}',
        '{"colour": "blue"}',
        '{"price": "dear"}',
        '{"due": 7, "due": 8}',
        '{"price": NaN}',
        '{"due": "\\ud800"}',
        "[1]",
        "{",
        "[" * 100_000,
    ],
)
def test_a_known_type_refuses_what_a_program_could_not_send(body: str) -> None:
    with pytest.raises(ConfigError, match="JSON") as refused:
        _read("talk.job", body, [])
    assert "SyntaxError" not in str(refused.value)


def test_a_known_type_takes_what_a_program_could_send() -> None:
    made = _read(
        "talk.job",
        '{"due": "2026-11-30T03:00:00Z", "price": "1.50", "colour": "red", "counts": {"1": 2}}',
        [],
    )
    assert made == Job(
        dt.datetime(2026, 11, 30, 3, tzinfo=dt.UTC), Decimal("1.50"), Colour.RED, {1: 2}
    )


@pytest.mark.parametrize("type_name", ["", "two words", "x" * 300, "a\nb"])
def test_a_name_that_is_none_is_said(type_name: str) -> None:
    with pytest.raises(ConfigError, match="TYPE"):
        _read(type_name, '{"a": 1}', [])


@pytest.mark.parametrize(
    "fields", [{"due": "2026-11-30T03:00:00"}, {"times": ["2026-11-30T03:00:00"]}]
)
def test_a_member_refuses_a_naive_datetime_from_whoever_it_comes(fields: dict[str, Any]) -> None:
    _, data, _ = Serializer().dump(fields)
    with pytest.raises(DecodeError, match="zone"):
        Serializer().load("talk.job", data)
    _, data, _ = Serializer().dump({"due": "2026-11-30T03:00:00+01:00"})
    assert Serializer().load("talk.job", data).due.utcoffset() == dt.timedelta(hours=1)  # type: ignore[attr-defined]  # a Job
