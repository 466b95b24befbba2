"""Which connections of a relay write at the end of this turn, and which a moment later.

Whoever was given an answer, a request or a byte of a tunnel writes at the end of the turn.
A broadcast to many is a write for each of them, however small it is: where one follows the
other, as from a fleet that starts or comes back, those writes are most of what a relay does.
So after a broadcast to many the next one waits, for a few times as long as those writes took
and `_LONGEST` at most, and what comes meanwhile goes out with it. One that comes alone
waits for nothing, and neither does one to a few. The order of what one client gets
is kept: who has to write now writes all that it has.

It knows connections by `flush` alone. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from actors.clock import Clock, TimerHandle

__all__ = ["Turns", "Writer"]

#: A broadcast to so many connections is written at once.
_FEW: Final = 8
#: After a broadcast to more, the next one waits so many times as long as its writes took: they
#: are a quarter of what the relay does then, at most,
_SHARE: Final = 3
#: and seconds, at most.
_LONGEST: Final = 0.05
#: Bytes of broadcasts that are gathered, counted for each connection; more are written at once.
_MOST: Final = 1024 * 1024


class Writer(Protocol):
    """A connection with something to write."""

    def flush(self) -> None:
        """Write it, or carry out what else was put off to the end of the turn."""
        ...


class Turns:
    """The writes of one relay.

    Args:
        clock: for what is gathered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._touched: list[Writer] = []
        self._gathered: list[Writer] = []
        self._bytes = 0
        #: When a broadcast to many may be written next, on the clock.
        self._next = float("-inf")
        self._timer: TimerHandle | None = None

    def touch(self, connection: Writer) -> None:
        """`connection` has something to do at the end of this turn."""
        self._touched.append(connection)

    def gather(self, connection: Writer, size: int, *, first: bool) -> None:
        """`connection` has got a broadcast of `size` bytes, as the `first` that waits there."""
        self._bytes += size
        if first:
            self._gathered.append(connection)

    def end(self) -> None:
        """Write what this turn has produced."""
        while self._touched:
            touched, self._touched = self._touched, []
            for connection in touched:
                connection.flush()
        if self._gathered:
            self._end_gathered()

    def stop(self) -> None:
        """Write nothing more that was gathered: its connections are cut."""
        self._gathered.clear()
        self._bytes = 0
        self._cancel()

    def _end_gathered(self) -> None:
        if len(self._gathered) <= _FEW or self._bytes >= _MOST:
            self._write_gathered()
            return
        wait = self._next - self._clock.monotonic()
        if wait <= 0:
            self._write_gathered()
        elif self._timer is None:
            self._timer = self._clock.call_later(wait, self._write_gathered)

    def _write_gathered(self) -> None:
        self._cancel()
        gathered, self._gathered = self._gathered, []
        self._bytes = 0
        if len(gathered) <= _FEW:
            for connection in gathered:
                connection.flush()
        else:
            began = self._clock.monotonic()
            for connection in gathered:
                connection.flush()
            now = self._clock.monotonic()
            self._next = now + min(_SHARE * (now - began), _LONGEST)
        self.end()  # what a write has led to

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
