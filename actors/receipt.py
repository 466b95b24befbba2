"""What `tell` gives back: a receipt that may be awaited, or left alone.

`Receipt` says what every one of them can do. For a local actor the message is in its
inbox when `tell` returns, so that one value, `ACCEPTED`, serves all local tells. A
transport has a class of its own, which is done when the message was confirmed, and fails
as the transport says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, final, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["ACCEPTED", "LocalReceipt", "Receipt"]


@runtime_checkable
class Receipt(Protocol):
    """The promise that a message was taken. `await` it to be sure, on a loop.

    For a local actor it is done at once. For an address it is done when the broker has
    stored the message, for an actor on another node when that has taken it; else it
    raises why not.
    """

    def __await__(self) -> Generator[Any, None, None]: ...


@final
class LocalReceipt:
    """The receipt of a local tell: the message is in the inbox already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield  # so that it is a generator

    def __repr__(self) -> str:
        return "<LocalReceipt accepted>"


#: The receipt of every local tell.
ACCEPTED: Final = LocalReceipt()
