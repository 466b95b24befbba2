"""Receipts: what `publish` returns. Awaitable, cheap, settled exactly once.

A receipt makes an asyncio future only when somebody awaits it, because most
are never awaited and a future costs as much as the rest of a publish. Nobody is
warned about one that failed unawaited: the failure is an event and a count of
the publisher. Loop thread only; callbacks run at once, inside the settlement.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

__all__ = ["GroupReceipt", "PublishReceipt"]

_log = logging.getLogger("irismq.mailbox")


class PublishReceipt:
    """What `publish` returns: done when the broker has confirmed, or failed with the reason.

    May be awaited, asked or left alone, on the loop's thread. It has the reading half of
    an `asyncio.Future` (`done`, `result`, `exception`, `add_done_callback`). A cancelled
    await leaves the message on its way: what was published cannot be called back.
    """

    __slots__ = ("_callbacks", "_error", "_settled")

    def __init__(self) -> None:
        self._settled = False
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], None]] | None = None

    def done(self) -> bool:
        """Return whether it is confirmed or failed."""
        return self._settled

    def cancelled(self) -> bool:
        """Return False: what was published cannot be called back."""
        return False

    def exception(self) -> BaseException | None:
        """Return why it failed; None when it is confirmed.

        Raises:
            asyncio.InvalidStateError: It is not settled yet.
        """
        if not self._settled:
            raise asyncio.InvalidStateError("the broker has not confirmed yet")
        return self._error

    def result(self) -> None:
        """Return None when it is confirmed.

        Raises:
            DeliveryError: It was not sent, or nobody knows (`outcome` says which).
            MessageTooLarge: The broker refused it.
            asyncio.InvalidStateError: It is not settled yet.
        """
        error = self.exception()
        if error is not None:
            raise error

    def add_done_callback(self, callback: Callable[[PublishReceipt], None]) -> None:
        """Call `callback(receipt)` when it is settled, at once if it is already.

        Args:
            callback: Called on the loop's thread, inside the settlement. What it raises
                is logged.
        """
        if self._settled:
            _call(callback, self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def settle(self, error: BaseException | None = None) -> bool:
        """Settle it; False when it was settled before (nothing changes then)."""
        if self._settled:
            return False
        self._settled = True
        self._error = error
        callbacks, self._callbacks = self._callbacks, None
        if callbacks is not None:
            for callback in callbacks:
                _call(callback, self)
        return True

    def __await__(self) -> Generator[Any, None, None]:
        if not self._settled:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(_: PublishReceipt) -> None:
                if not future.done():
                    future.set_result(None)

            self.add_done_callback(wake)
            yield from future
        self.result()


class GroupReceipt(PublishReceipt):
    """One receipt for many messages: done with the last, failed with the first error."""

    __slots__ = ("_first_error", "_open")

    def __init__(self, count: int) -> None:
        super().__init__()
        self._open = count
        self._first_error: BaseException | None = None
        if count == 0:
            self.settle()

    @classmethod
    def of(cls, parts: Collection[PublishReceipt]) -> GroupReceipt:
        """Return the one receipt of `parts`."""
        group = cls(len(parts))
        for part in parts:
            part.add_done_callback(group.part_done)
        return group

    def part_done(self, part: PublishReceipt) -> None:
        """Callback of each part."""
        self._open -= 1
        if self._first_error is None:
            self._first_error = part.exception()
        if self._open == 0:
            self.settle(self._first_error)


def _call(callback: Callable[[Any], None], receipt: PublishReceipt) -> None:
    try:
        callback(receipt)
    except Exception:  # a stranger's code; the other receipts of the batch are settled all the same
        _log.exception("a callback of a receipt failed")
