"""An answer that comes after the handler has returned: `self.reply_later()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from actors._slot_view import SlotView

__all__ = ["Reply"]


class Reply:
    """The promise of one answer. Call it once, on the loop; later calls do nothing.

    It ends by itself when the deadline of who asked has passed.
    """

    __slots__ = ("_item", "_slot")

    def __init__(self, slot: SlotView, item: InboxItem | None) -> None:
        self._slot = slot
        self._item = item

    def __call__(self, value: Any = None, *, error: BaseException | None = None) -> bool:
        """Answer with `value`, or with `error`. False when nobody waits for it any more."""
        item, self._item = self._item, None
        if item is None:
            return False
        if not self._slot.keep_promise(item):
            item.late()
            return False
        if error is None:
            item.reply(value)
        else:
            item.fail(Outcome("refused", error=error))
        return True
