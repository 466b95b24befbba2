"""A dead letter is shown whatever was published in its topic; nothing raises (136)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.dead_letters.letter import Filter, Letter, letter_untrusted
from irismq_runtime.json_text import json_text
from irismq_runtime.wire import DeadRecord, Envelope, Kind, encode_dead, encode_envelope

ID = bytes(range(16))
TELL = encode_envelope(Envelope(Kind.TELL, ID, "shop.put", b"\x80", {}))


@dataclass
class Stored:
    body: bytes
    id: str = "0123456789abcdef"
    attempts: int = 1
    timestamp: float = 1_700_000_000.25
    lease_lost: bool = False


def letter(body: bytes) -> Letter:
    return letter_untrusted(Stored(body), max_size=2**20)  # type: ignore[arg-type]  # as far as it is read


def record(fields: Any) -> bytes:
    """A DEAD envelope around whatever somebody takes for a record."""
    packed = fields if isinstance(fields, bytes) else msgspec.msgpack.encode(fields)
    return encode_envelope(Envelope(Kind.DEAD, ID, "", packed, {}))


def shown(one: Letter) -> dict[str, Any]:
    """Everything that is shown of it, through a strict parser."""
    full = one.full()
    msgspec.json.decode(json_text(full))
    msgspec.json.decode(json_text(one.row()))
    assert Filter(("zz",), "x", "y").takes(one) is False
    assert isinstance(one.when, float)
    assert 0.0 <= one.when < 1e12
    return full


_FIELDS = list(DeadRecord.__struct_fields__)
#: Longer than what is shown of anything; all fields together fit into an envelope.
_LONG = "x" * 80_000
_VALUES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.text() | st.binary() | st.lists(st.integers(0, 3)) | st.just(_LONG)
)  # fmt: skip


@given(st.binary())
def test_any_bytes_are_a_letter(body: bytes) -> None:
    shown(letter(body))


@given(st.binary())
def test_any_bytes_for_a_record_are_a_letter(body: bytes) -> None:
    shown(letter(record(body)))


@given(st.dictionaries(st.sampled_from(_FIELDS), _VALUES))
def test_any_values_in_the_fields_of_a_record_are_a_letter(fields: dict[str, Any]) -> None:
    shown(letter(record(fields)))


@pytest.mark.parametrize("time", [float("nan"), 1e300, float("inf"), -1e18, -1.0, 253_402_300_800])
def test_a_time_without_a_date_is_shown_as_the_number_that_it_is(time: float) -> None:
    one = letter(encode_dead(DeadRecord(body=TELL, id=ID, time=time), max_size=2**20))
    assert not one.malformed
    assert shown(one)["time"] == f"({float(time)!r} s)"


@pytest.mark.parametrize(
    "fields",
    [
        {"body": 7},
        {"body": b"", "attempts": "five"},
        {"reason": "no body"},
        [1, 2],
        b"\xc1",
        b"\x81\xa6reason\xa3\xed\xa0\x80",  # a lone surrogate
        b"\x81\xa4deep" + b"\x91" * 5000 + b"\xc0",
    ],
    ids=["type", "text-for-count", "no-body", "a-list", "no-msgpack", "surrogate", "nested"],
)
def test_what_is_no_record_is_shown_as_malformed_with_the_reason(fields: Any) -> None:
    one = letter(record(fields))
    assert one.malformed
    assert shown(one)["malformed"] is True
    assert "malformed" in one.row()["reason"]
    assert one.id == "nsqd-0123456789abcdef"


def test_an_id_of_another_length_is_no_id() -> None:
    one = letter(record({"body": TELL, "id": b"x" * 70_000}))
    assert one.id == "nsqd-0123456789abcdef"
    assert one.type == "shop.put"


def test_long_texts_are_cut_and_it_is_said() -> None:
    one = letter(record({"body": TELL, "reason": "y" * 300_000}))
    assert one.row()["reason"].endswith("… (300,000 characters)")
    assert len(json.dumps(one.row())) < 2000


def test_an_event_is_known_by_its_envelope_or_by_its_channel() -> None:
    event = encode_envelope(Envelope(Kind.EVENT, ID, "shop.sold", b"\x80", {}))
    assert letter(record({"body": event})).is_event
    assert letter(record({"body": b"foreign", "channel": "audit"})).is_event
    assert not letter(record({"body": TELL})).is_event
