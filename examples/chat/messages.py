"""What is said in the chat."""

from __future__ import annotations

from dataclasses import dataclass

from actors import message

__all__ = ["History", "Notice", "Said", "Who"]


@message("chat.said")
@dataclass(frozen=True, slots=True)
class Said:
    """Somebody said something; an event on the topic chat.said."""

    who: str
    text: str


@message("chat.notice")
@dataclass(frozen=True, slots=True)
class Notice:
    """Told to everybody who is here."""

    text: str


@message("chat.who")
@dataclass(frozen=True, slots=True)
class Who:
    """Ask everybody for their name."""


@message("chat.history")
@dataclass(frozen=True, slots=True)
class History:
    """Ask the archive for a stream of what was said."""
