"""A datetime without a zone is found wherever a hint says that one may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  # msgspec reads the hints
from typing import NamedTuple, TypedDict

import pytest

from actors import message
from irismq_runtime.errors import ValidationError
from tests.wire.samples import serializer

wire = serializer()


class Span(NamedTuple):
    begin: datetime
    title: str


class Alarm(TypedDict):
    at: datetime


@dataclass
class Task:
    due: datetime | None = None
    after: list[Task] = field(default_factory=list)


@message("naive.plan")
@dataclass
class Plan:
    title: str = ""
    at: datetime | None = None
    days: list[datetime] = field(default_factory=list)
    pair: tuple[int, datetime] | None = None
    named: dict[str, datetime] = field(default_factory=dict)
    keyed: dict[datetime, int] = field(default_factory=dict)
    span: Span | None = None
    alarm: Alarm | None = None
    task: Task | None = None
    either: int | list[datetime] | None = None


def read(text: str) -> object:
    return wire.load("naive.plan", text.encode(), "json")


PLACES = [
    ('{"at":"%s"}', "$.at"),
    ('{"days":["2026-11-30T03:00:00Z","%s"]}', "$.days[1]"),
    ('{"pair":[1,"%s"]}', "$.pair[1]"),
    ('{"named":{"a":"%s"}}', "$.named['a']"),
    ('{"span":["%s","x"]}', "$.span.begin"),
    ('{"alarm":{"at":"%s"}}', "$.alarm.at"),
    ('{"task":{"after":[{},{"after":[{"due":"%s"}]}]}}', "$.task.after[1].after[0].due"),
    ('{"either":["%s"]}', "$.either[0]"),
]


@pytest.mark.parametrize(("text", "place"), PLACES)
def test_a_time_without_a_zone_is_refused_at_its_place(text: str, place: str):
    with pytest.raises(ValidationError) as caught:
        read(text % "2026-11-30T03:00:00")
    assert caught.value.path == place
    assert read(text % "2026-11-30T03:00:00+01:00")


def test_a_key_that_is_one_is_refused():
    with pytest.raises(ValidationError, match="without a zone"):
        read('{"keyed":{"2026-11-30T03:00:00":1}}')
