"""The header of an envelope that is a row of a store: which store, epoch and number.

    "o": "<id of the store, 32 hex digits>.<epoch>.<number>"

A receiver that shares the store takes the row as the right to handle the message. For
every other one it means nothing. The number is known with the commit. So a row is encoded with
the header at its end and zeros in the place of the number, and needs no reading when it
leaves. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from irismq_runtime.wire.headers import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irismq_runtime.wire import Envelope

__all__ = ["RowOrigin", "number_of", "numbered"]

#: Digits of a number, with zeros before it.
_DIGITS: Final = 19
_FORM: Final = re.compile(r"([0-9a-f]{32})\.([0-9]{1,15})\.([0-9]{1,19})", re.ASCII)


class RowOrigin(NamedTuple):
    """Where a row is.

    Attributes:
        store: The id of the store, in hex.
        epoch: Its epoch when the message left.
        number: The number of the row, see `ports.state_store.row_number`; 0: none.
    """

    store: str
    epoch: int
    number: int = 0

    def text(self, number: int) -> str:
        """The header of the row `number`."""
        return f"{self.store}.{self.epoch}.{number}"

    def blank(self) -> str:
        """The header of a row whose number is not known yet."""
        return f"{self.store}.{self.epoch}.{0:0{_DIGITS}}"

    @classmethod
    def of_untrusted(cls, headers: Mapping[str, Any]) -> RowOrigin | None:
        """What the headers say; None: nothing, or nothing that we have written."""
        found = _FORM.fullmatch(headers.get(ORIGIN, ""))
        return found and cls(found[1], int(found[2]), int(found[3]))


def numbered(data: bytes, blank: bytes, number: int) -> bytes | None:
    """An envelope that ends with `blank` (`RowOrigin.blank`) with its number; None: it does not."""
    if not data.endswith(blank):
        return None
    return b"%b%0*d" % (data[:-_DIGITS], _DIGITS, number)


def number_of(envelope: Envelope | None, own: RowOrigin) -> int:
    """The number that a message says its row has in this store and epoch; 0: none."""
    origin = None if envelope is None else RowOrigin.of_untrusted(envelope.headers)
    if origin is None or (origin.store, origin.epoch) != (own.store, own.epoch):
        return 0
    return origin.number
