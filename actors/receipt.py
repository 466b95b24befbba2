"""What `tell` gives back: a receipt that may be awaited, or left alone.

For a local actor the message is in its inbox when `tell` returns, so the
receipt is done. A tell that leaves the process gives a receipt that is done
when the broker has confirmed, and fails as the transport says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

__all__ = ["ACCEPTED", "Receipt"]


class Receipt:
    """The promise that a message was taken. `await` it to be sure, on a loop.

    For a local actor it is done at once. For one on another node it is done when
    that has taken the message, or fails with why not.
    """

    __slots__ = ("_confirmed",)

    def __init__(self, confirmed: Awaitable[None] | None = None) -> None:
        self._confirmed = confirmed

    def __await__(self) -> Generator[Any, None, None]:
        if self._confirmed is not None:
            yield from self._confirmed.__await__()

    def __repr__(self) -> str:
        return "<Receipt accepted>" if self._confirmed is None else "<Receipt of a transport>"


#: The receipt of every local tell: the message is in the inbox.
ACCEPTED: Final = Receipt()
