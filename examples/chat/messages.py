"""What is said in the chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from actors import Request, message

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
class Who(Request[str]):
    """Ask everybody for their name."""


@message("chat.history")
@dataclass(frozen=True, slots=True)
class History(Request[AsyncIterator[Said]]):
    """Ask the archive for a stream of what was said."""
