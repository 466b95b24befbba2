"""One person at one terminal.

Every person is a member of one address, so that a notice reaches all of them with
one `tell_all` and a question with one `ask_all`. What is said they hear on a live
topic: who is not here hears nothing, which is what a chat is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Actor, receives
from irismq_runtime import live

from .messages import Notice, Said, Who

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PEOPLE", "SAID", "Person"]

PEOPLE = "chat.people"
SAID = "chat.said"


class Person(Actor[Said | Notice | Who]):
    """Shows what happens; `show` is called with one line at a time."""

    address = PEOPLE
    subscribes = (live(SAID),)

    def __init__(self, name: str, show: Callable[[str], None]) -> None:
        super().__init__()
        self._name = name
        self._show = show

    @receives(Said)
    def said(self, event: Said) -> None:
        """Somebody said something."""
        self._show(f"{event.who}: {event.text}")

    @receives(Notice)
    def notice(self, notice: Notice) -> None:
        """Something is to be known."""
        self._show(f"* {notice.text}")

    @receives(Who)
    def who(self, _: Who) -> str:
        """Answer with the name."""
        return self._name
