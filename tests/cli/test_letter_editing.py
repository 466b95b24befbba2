"""The message of a letter as JSON, and back: what has no form in it is not guessed."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, cast

import pytest

from actors import message
from irismq_runtime.cli.letter_editing import edited, shown
from irismq_runtime.dead_letters.reader import Letter
from irismq_runtime.errors import ConfigError
from irismq_runtime.wire import DeadRecord, Envelope, Foreign, Kind, Serializer, new_id

if TYPE_CHECKING:
    from irismq_runtime.ports import StoredMessage

SERIALIZER = Serializer()
NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


@message("test-editing.put", aliases=("test-editing.old",))
@dataclasses.dataclass
class Put:
    at: dt.datetime
    data: bytes = b"\x00"


def envelope(value: Any, name: str | None = None) -> Envelope:
    type_name, body, _ = SERIALIZER.dump(value)
    return Envelope(Kind.TELL, new_id(), type_name if name is None else name, body, {"x": 1})


def letter(inside: Envelope | Foreign | None) -> Letter:
    stored = cast("StoredMessage", None)  # nothing is asked of it
    return Letter(stored, DeadRecord(body=b""), inside, unreadable="" if inside else "cut short")


def test_a_message_of_a_known_type_is_shown_and_read_in_the_form_of_its_class():
    given = envelope(Put(NOON))
    text = shown(letter(given))
    assert text == '{\n  "at": "2026-12-01T12:00:00Z",\n  "data": "AA=="\n}'
    assert edited(given, text) == given
    changed = edited(given, text.replace("12:00", "13:00"))
    assert SERIALIZER.load(changed.type, changed.body) == Put(NOON.replace(hour=13))
    assert (changed.id, changed.headers) == (given.id, given.headers)


def test_under_an_alias_it_is_told_by_the_name_of_now():
    given = envelope(Put(NOON), "test-editing.old")
    assert edited(given, shown(letter(given))).type == "test-editing.put"


def test_what_does_not_fit_its_type_is_shown_as_it_is_so_that_it_can_be_mended():
    given = envelope({"at": "noon"}, "test-editing.put")
    assert shown(letter(given)) == '{\n  "at": "noon"\n}'
    with pytest.raises(ConfigError, match=r"^JSON: it is not a test-editing\.put"):
        edited(given, '{"at": "noon"}')


def test_of_an_unknown_type_only_what_json_has_a_form_for_is_shown():
    given = envelope({"a": [1, None, "é"], "b": {"c": 1.5}}, "test-editing.unknown")
    assert edited(given, shown(letter(given))) == given
    for value in ({"a": b"\x00"}, {"a": NOON}, {"a": float("inf")}, {"a": {1: 2}}):
        with pytest.raises(ConfigError, match=r"test-editing\.unknown' with --import"):
            shown(letter(envelope(value, "test-editing.unknown")))


def test_what_has_no_message_is_not_edited():
    broken = envelope(None)
    for inside in (Foreign(b"x"), None, Envelope(Kind.TELL, broken.id, "", b"\xc1", {})):
        with pytest.raises(ConfigError, match=r"^ID: it cannot be edited"):
            shown(letter(inside))
