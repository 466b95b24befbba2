"""Text as it can be sent. Imports nothing."""

from __future__ import annotations

__all__ = ["sendable"]


def sendable(text: str) -> str:
    """Return `text` with lone surrogates escaped: they have no UTF-8, so no wire takes them."""
    return text.encode("utf-8", "backslashreplace").decode()
