"""What a protocol of asyncio gets for a simulated connection: the process's side of an end.

It behaves as the transport of asyncio's selector loop: `connection_made` in a turn of its
own, reading from the turn after it, at most `_AT_ONCE` bytes at a time, a write buffer
of its own beyond what the system takes, with high and low water; after `close` what waits
is still written, after `abort` it is not; a broken connection is noticed by reading or by
writing, and ends in `connection_lost` with the error.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.simulation.calls import LoopCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from irismq_runtime.simulation.digest import RunDigest
    from irismq_runtime.simulation.loop import SimulatedLoop
    from irismq_runtime.simulation.stream import StreamEnd

__all__ = ["SimulatedTransport"]

#: Bytes read in one turn (asyncio's `max_size`).
_AT_ONCE: Final = 256 * 1024
_HIGH: Final = 64 * 1024


class SimulatedTransport(asyncio.Transport):
    """A stream to a peer. Loop thread only.

    Args:
        loop: Of the process whose it is.
        end: What the system holds of it.
        protocol: Who gets the bytes.
        on_made: Called after `connection_made`.
        on_lost: Called after `connection_lost`.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        end: StreamEnd,
        protocol: asyncio.BaseProtocol,
        *,
        digest: RunDigest,
        on_made: Callable[[], object] | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> None:
        super().__init__({"peername": end.there, "sockname": end.here})
        self._loop = loop
        self._end = end
        self._digest = digest
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._high, self._low = _HIGH, _HIGH // 4
        self._paused_writing = False
        self._reading = True
        self._said_eof = False
        self._closing = False
        self._lost = False
        self._queued = False
        self._reader = LoopCall(self._work, (), loop, copy_context())
        self.set_protocol(protocol)
        loop.transports[self] = None
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._begin)
        if on_made is not None:
            loop.call_soon(on_made)

    # -- what asyncio promises of a transport ----------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to `protocol` from now on."""
        self._protocol: Any = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who gets the bytes."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """Return whether it is closed, or will be when all is written."""
        return self._closing

    def is_reading(self) -> bool:
        """Return whether what comes is handed over."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leave what comes with the system."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand over what comes, and what has come."""
        if not self._reading and not self._closing:
            self._reading = True
            if self._end.readable:
                self._queue()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the bytes above which writing pauses, and at which it goes on."""
        if high is None:
            high = _HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._may_pause()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return low and high."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the system has not taken yet."""
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        """Write, now or when there is room."""
        if self._said_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        if not self._buffer:
            if self._end.error is not None:
                self._break(self._end.error)
                return
            data = bytes(data)
            sent = self._end.send(data, self._loop.at)
            if sent == len(data):
                return
            data = data[sent:]
        self._buffer += data
        self._may_pause()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[int]]) -> None:
        """Write all of them."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Return True: TCP can end one direction."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more comes, when all is written."""
        if not self._said_eof and not self._closing:
            self._said_eof = True
            if not self._buffer:
                self._end.finish(self._loop.at)

    def close(self) -> None:
        """Read no more; close when all is written."""
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._finish(None)

    def abort(self) -> None:
        """Close at once; what waits here is not written."""
        self._closing = True
        self._buffer.clear()
        self._finish(None)

    def abandon(self) -> None:
        """Its process is gone: nobody is to be told that it was not closed."""
        self._closing = self._lost = True

    # -- what the system says ----------------------------------------------------------

    def _begin(self) -> None:
        if not self._lost:
            self._end.on_event = self._queue
            if self._end.readable:
                self._queue()

    def _queue(self) -> None:
        """Something has changed at the end: look at it in the next turn."""
        if not self._queued:
            self._queued = True
            self._loop.readable(self._reader)

    def _work(self) -> None:
        self._queued = False
        if self._reading and not self._closing:
            self._read()
        if self._buffer:
            self._write_on()

    def _read(self) -> None:
        data = self._end.read(_AT_ONCE)
        if data:
            self._digest.data(data, self._end.number)
            self._call(self._protocol.data_received, data)
            if self._end.readable and self._reading and not self._closing:
                self._queue()
        elif self._end.error is not None:
            self._break(self._end.error)
        elif self._end.finished:
            self._reading = False
            if not self._call(self._protocol.eof_received):
                self.close()

    def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call the protocol; what it raises is fatal to the connection, as in asyncio."""
        try:
            return call(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            message = f"Fatal error: protocol.{call.__name__}() call failed."
            self._loop.call_exception_handler(
                {"message": message, "exception": error, "transport": self}
            )
            self._break(error)
            return True

    def _write_on(self) -> None:
        if self._end.error is not None:
            self._break(self._end.error)
            return
        with memoryview(self._buffer) as waiting:  # copied is only what is taken
            sent = self._end.send(waiting, self._loop.at)
        del self._buffer[:sent]
        if self._paused_writing and len(self._buffer) <= self._low:
            self._paused_writing = False
            self._protocol.resume_writing()
        if not self._buffer:
            if self._said_eof:
                self._end.finish(self._loop.at)
            if self._closing:
                self._finish(None)

    def _may_pause(self) -> None:
        if not self._paused_writing and len(self._buffer) > self._high:
            self._paused_writing = True
            self._protocol.pause_writing()

    # -- the end ------------------------------------------------------------------------

    def _break(self, error: BaseException) -> None:
        self._closing = True
        self._buffer.clear()
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        if not self._lost:
            self._lost = True
            self._end.on_event = None
            self._loop.call_soon(self._ended, error)

    def _ended(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._loop.transports.pop(self, None)
            self._end.close(self._loop.at)
            if self._on_lost is not None:
                self._on_lost()
