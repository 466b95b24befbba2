"""One dead letter as it is shown: parsed from bytes that anybody may have published.

`letter_untrusted` takes whatever lies in `<address>.dead` and never fails: a record,
a message that was stored without one, or something else. A DEAD envelope whose record
does not fit is *malformed*: it is shown with the reason and can be dropped; it has no
message that could be replayed. Every text here is of limited length, and
a number that is not a time is shown as it is. Pure.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import DecodeError
from irismq_runtime.wire import (
    ID_SIZE,
    DeadRecord,
    Envelope,
    Foreign,
    Kind,
    Serializer,
    decode_dead_untrusted,
)

if TYPE_CHECKING:
    from irismq_runtime.ports import StoredMessage

__all__ = ["Filter", "Letter", "letter_untrusted"]

#: Characters of one text in a list, and of one that is shown in full.
MOST_LISTED: Final = 500
MOST_SHOWN: Final = 100_000
#: The latest time that has a date, in unix seconds: the end of the year 9999.
_LAST: Final = 253_402_300_799.0

_SERIALIZER: Final = Serializer()


@dataclass(slots=True)
class Letter:
    """One dead letter, held under a lease.

    `inside`: the message that was given up, as far as it can be read. `malformed`: why
    there is no record; "" for a letter. `unreadable`: why there is nothing `inside`.
    """

    stored: StoredMessage
    record: DeadRecord
    inside: Envelope | Foreign | None = None
    malformed: str = ""
    unreadable: str = ""

    @property
    def id(self) -> str:
        """The envelope id, or the broker's for a message that had none."""
        return self.record.id.hex() or f"nsqd-{self.stored.id}"

    @property
    def type(self) -> str:
        """The type name of the message inside; "" when it has none or is unreadable."""
        return self.inside.type if isinstance(self.inside, Envelope) else ""

    @property
    def reason(self) -> str:
        """Why it was given up; of a malformed one, what is the matter with it."""
        return f"(not a letter: {self.malformed})" if self.malformed else self.record.reason

    @property
    def is_event(self) -> bool:
        """Whether one channel of a durable topic gave it up, others may have handled it."""
        inside = self.inside
        by_kind = isinstance(inside, Envelope) and inside.kind is Kind.EVENT
        return bool(self.record.channel) or by_kind

    @property
    def when(self) -> float:
        """Its time for sorting: 0 for one that has no date."""
        time = self.record.time
        return time if 0.0 <= time <= _LAST else 0.0

    def row(self) -> dict[str, Any]:
        """What a list shows of it; the message is not in it."""
        row = {
            "id": self.id,
            "time": _date(self.record.time),
            "attempts": self.record.attempts,
            "type": self.type,
            "reason": _cut(self.reason, MOST_LISTED),
        }
        if self.record.channel:
            row["channel"] = _cut(self.record.channel, MOST_LISTED)
        if self.malformed:
            row["malformed"] = True
        return row

    def full(self) -> dict[str, Any]:
        """All of it: error, traceback, and the message as far as it can be read."""
        record = self.record
        texts = ("address", "node", "error", "traceback")
        return {
            **self.row(),
            "reason": _cut(self.reason, MOST_SHOWN),
            **{name: _cut(getattr(record, name), MOST_SHOWN) for name in texts},
            "message": self._message(),
        }

    def _message(self) -> Any:
        inside, size = self.inside, len(self.record.body)
        if isinstance(inside, Foreign):
            return inside.data
        reason = self.unreadable
        if inside is not None:
            try:
                return _SERIALIZER.load("", inside.body, inside.headers.get("c"))
            except DecodeError as error:
                reason = error.reason
        return f"(unreadable: {reason}; {size} bytes)"


def letter_untrusted(stored: StoredMessage, *, max_size: int) -> Letter:
    """Return what was stored in a topic of dead letters, whatever it is. Raises nothing.

    `max_size`: bytes of the largest message that the broker takes.
    """
    try:
        record = decode_dead_untrusted(stored.body, max_size=max_size)
    except DecodeError as error:
        record = DeadRecord(body=stored.body)
        return Letter(stored, record, malformed=error.reason, unreadable=error.reason)
    if record.id and len(record.id) != ID_SIZE:
        record = DeadRecord(**{**_fields(record), "id": b""})
    try:
        return Letter(stored, record, record.message())
    except DecodeError as error:
        return Letter(stored, record, unreadable=error.reason)


def _fields(record: DeadRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _date(time: float) -> str:
    """A time as ISO 8601, or the number itself where it has no date."""
    if not 0.0 <= time <= _LAST:  # NaN too
        return f"({time!r} s)"
    return dt.datetime.fromtimestamp(time, dt.UTC).isoformat(timespec="seconds")


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text):,} characters)"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; empty means all."""

    ids: tuple[str, ...] = ()
    reason: str = ""
    type: str = ""

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` has one of the ids, the reason and the type."""
        if self.ids and not any(letter.id.startswith(part) for part in self.ids):
            return False
        if self.reason and self.reason.lower() not in letter.reason.lower():
            return False
        return not self.type or letter.type == self.type
