"""An answer that comes after the handler has returned: `self.reply_later()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.delivery import Outcome, Parcel

if TYPE_CHECKING:
    from actors._in_hand import InHand

__all__ = ["Reply"]


class Reply:
    """The promise of one answer. Call it once, on the loop; later calls do nothing.

    It ends by itself when the deadline of who asked has passed.
    """

    __slots__ = ("_parcel", "_slot")

    def __init__(self, slot: InHand, parcel: Parcel | None) -> None:
        self._slot = slot
        self._parcel = parcel

    def __call__(self, value: Any = None, *, error: BaseException | None = None) -> bool:
        """Answer with `value`, or with `error`. False when nobody waits for it any more."""
        parcel, self._parcel = self._parcel, None
        if parcel is None:
            return False
        if not self._slot.keep_promise(parcel):
            parcel.late()
            return False
        if error is None:
            parcel.reply(value)
        else:
            parcel.fail(Outcome("refused", error=error))
        return True
