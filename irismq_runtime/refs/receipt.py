"""The receipts of what leaves the process: of a durable tell, and of a tell to a peer.

`tell` returns one at once. Awaiting it may be left out: the message goes its way, and
nothing warns. That of a durable tell is done when the broker has confirmed. Made on the
loop it costs one small object; it can be awaited on the loop and waited for from a
thread. Both are an `actors.Receipt`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

from actors.errors import BlockingCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from actors import Future
    from irismq_runtime.ports import Confirmation
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["PeerReceipt", "TellReceipt", "copy_to"]


class TellReceipt:
    """What becomes of a durable tell: awaitable, and may be left alone.

    Awaiting it gives None when the broker has stored the message, and raises
    `DeliveryError` when that was not confirmed in time, or `Overloaded`.

    Attributes:
        id: The envelope id (16 bytes) under which the message travels.
    """

    __slots__ = ("_future", "_outbound", "id")

    def __init__(
        self,
        id: bytes,  # noqa: A002  # the field's name on the wire
        future: Confirmation | concurrent.futures.Future[None],
        outbound: Outbound,
    ) -> None:
        self.id = id
        self._future = future
        self._outbound = outbound

    def __repr__(self) -> str:
        return f"<TellReceipt {self.id.hex()} {self._state()}>"

    def _state(self) -> str:
        if not self._future.done():
            return "pending"
        failed = self._future.cancelled() or self._future.exception() is not None
        return "failed" if failed else "confirmed"

    def done(self) -> bool:
        """True once it is known what became of the tell."""
        return self._future.done()

    def when_known(self, callback: Callable[[BaseException | None], object]) -> None:
        """Call `callback` with the error, or None, once it is known what became of the tell.

        On the loop.
        """

        def known(future: Any) -> None:
            callback(None if future.cancelled() else future.exception())

        self._future.add_done_callback(known)

    def __await__(self) -> Generator[Any, None, None]:
        future = self._future
        if isinstance(future, concurrent.futures.Future):
            return asyncio.wrap_future(future).__await__()
        if isinstance(future, asyncio.Future) and not future.done():
            # The waiter may be cancelled; the message is on its way all the same.
            return asyncio.shield(future).__await__()
        return future.__await__()

    def wait(self, timeout: float | None = None) -> None:
        """Wait in a thread until it is known what became of the tell.

        Args:
            timeout: Seconds to wait at most; None is for ever.

        Raises:
            TimeoutError: It was not known in time.
            DeliveryError, Overloaded: As awaiting it.
            BlockingCall: On a thread that runs a loop, or that the node's loop belongs to.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise BlockingCall("wait() would block the loop of this thread; await the receipt")
        future = self._future
        if threading.get_ident() == self._outbound.thread and not future.done():
            raise BlockingCall(
                "wait() would wait for ever: the loop of the node belongs to this thread and "
                "stands still; write `loop.run_until_complete(receipt)`, or await the receipt"
            )
        if not isinstance(future, concurrent.futures.Future):
            future = asyncio.run_coroutine_threadsafe(_awaited(self), self._outbound.loop)
        future.result(timeout)

    def result(self, *, timeout: float | None = None) -> Future[Any]:
        """Wait for what comes of the message, where its actor keeps that. Any thread.

        Its class says so by `keeps_results`, and both nodes have the same store. It may be asked
        for again, also by `Node.result(receipt.id)` in another process.

        Args:
            timeout: Seconds until it has to be there; None is the node's `ask_timeout`.

        Returns:
            A future of what the handler returned. It raises what it raised, at the last attempt,
            as an ask does (`RemoteError`, `Refused`); `DeliveryError` when the tell failed;
            `ResultTimeout` when nothing is known by then, and `ResultExpired` when it is not
            kept any more.

        Raises:
            ConfigError: This node has no store.
            NodeStopped: The node has stopped.
        """
        return self._outbound.result(self.id, timeout, self)


class PeerReceipt:
    """What becomes of a tell to an actor on another node: awaitable, and may be left alone.

    Awaiting it gives None when the inbox there has taken the message.
    """

    __slots__ = ("_taken",)

    def __init__(self, taken: Awaitable[None]) -> None:
        self._taken = taken

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._taken.__await__()

    def __repr__(self) -> str:
        return "<PeerReceipt>"


async def _awaited(receipt: TellReceipt) -> None:
    await receipt


def copy_to(done: concurrent.futures.Future[None]) -> Callable[[Confirmation], None]:
    """Return a callback of a confirmation that tells its end to who waits in a thread."""

    def copy(confirmation: Confirmation) -> None:
        if confirmation.cancelled():
            done.cancel()
        elif (error := confirmation.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(None)

    return copy
