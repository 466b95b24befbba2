"""The few things a supervisor asks of its own slot that other actors do not.

To learn of the end of its incarnation, to end with a reason of its own, and to
take the message in hand out of the slot's hands, so that somebody answers later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.errors import Refused
    from actors.exits import ExitReason

__all__ = ["end_with", "refuse_waiting", "take_current", "when_over"]


def when_over(slot: Any, callback: Callable[[], None]) -> None:
    """Call `callback` when this incarnation is over: stopped, crashed, killed, not started."""
    slot.when_over(callback)


def end_with(slot: Any, reason: ExitReason, error: BaseException | None = None) -> None:
    """End this incarnation as the actor's own wish, with that reason and cause."""
    slot.exit_soon(reason, error)


def take_current(slot: Any) -> InboxItem | None:
    """The message in hand if somebody waits for its answer; it is ours to answer now."""
    item: InboxItem | None = slot.take_current()
    return item


def refuse_waiting(slot: Any, kind: type, error: Refused) -> None:
    """Answer what waits in the inbox of that kind with `error`, before its turn comes."""
    for item in tuple(slot.inbox):
        if isinstance(item, InboxItem) and isinstance(item.message, kind):
            item.fail(Outcome("refused", error=error))
