"""The mark of a row: encoded with room for its number, which comes with the commit."""

from __future__ import annotations

from typing import Any

from irismq_runtime.durability.origin import RowOrigin, number_of, numbered
from irismq_runtime.messaging import Packer
from irismq_runtime.ports.state_store import MAX_STAGED
from irismq_runtime.wire import Kind, Serializer
from irismq_runtime.wire.headers import ORIGIN, REPEATS

OWN = RowOrigin("ab" * 16, 7)
PACKER = Packer("n1", Serializer())


def told(last: tuple[str, Any] | None) -> bytes:
    return PACKER.unsigned(Kind.TELL, {"sku": "tea"}, {"s": "n1/urn:1"}, "json", last)[1]


def headers(data: bytes) -> dict[str, Any]:
    return PACKER.open_untrusted(data).headers  # type: ignore[union-attr]  # an envelope


def test_a_number_that_is_put_in_is_read_as_one_that_was_encoded():
    waiting = told((ORIGIN, OWN.blank()))
    for number in 1, 131_072, (1 << 47) * MAX_STAGED - 1:
        leaving = numbered(waiting, OWN.blank().encode(), number)
        assert leaving is not None
        envelope: Any = PACKER.open_untrusted(leaving)
        assert number_of(envelope, OWN) == number
        slowly = PACKER.leaving(waiting, "t", {ORIGIN: OWN.text(number)})
        assert headers(slowly) == {**envelope.headers, ORIGIN: OWN.text(number)}


def test_what_was_encoded_for_another_epoch_or_without_room_is_read_first():
    later = OWN._replace(epoch=8)
    for waiting in told(None), told((ORIGIN, OWN.blank())), told((REPEATS, 604_800)):
        assert numbered(waiting, later.blank().encode(), 5) is None
        leaving = PACKER.leaving(waiting, "t", {ORIGIN: later.text(5)}, without=REPEATS)
        assert headers(leaving)[ORIGIN] == later.text(5)
        assert REPEATS not in headers(leaving)


def test_a_row_that_becomes_relayed_loses_its_mark():
    leaving = PACKER.leaving(told((ORIGIN, OWN.blank())), "t", {REPEATS: 604_800}, without=ORIGIN)
    assert ORIGIN not in headers(leaving)
    assert headers(leaving)[REPEATS] == 604_800
