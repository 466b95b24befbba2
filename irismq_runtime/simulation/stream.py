"""A TCP connection as the systems of two hosts hold it: two ends, a lane in each direction.

An end outlives the process that opened it: what a killed process had written is sent
all the same, then comes the FIN; if it left something unread, a RST. What arrives at an
end that is closed is answered with RST, which is how the other side of a half-open
connection learns of it: when it next sends something, and not before.

Bytes of one lane arrive in order, in pieces that are not those of the writes, at the pace
of the path. While the path is blocked nothing arrives; it is sent again once the path is
open, and given up after `GIVE_UP` seconds. A lane takes what it has room for: a reader
that does not read fills the buffers of both systems, and then the writer waits.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from irismq_runtime.simulation.conditions import draw

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from irismq_runtime.simulation.context import SimulationContext
    from irismq_runtime.simulation.paths import Path

__all__ = ["GIVE_UP", "Place", "StreamEnd", "connect_ends"]

#: A host's address and a port.
Place: TypeAlias = tuple[str, int]
#: Seconds without an acknowledgement after which a system ends a connection (Linux's 15 tries).
GIVE_UP: Final = 924.6
#: Seconds between two tries to send again: the first, which doubles, and the longest.
_AGAIN: Final = (0.2, 120.0)

_Kind: TypeAlias = Literal["data", "fin", "reset"]


def _reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


class _Lane:
    """What one end sends to the other.

    Attributes:
        source: The end that sends.
        target: The end that it is for.
        held: Bytes that were sent and not read by the other's process.
    """

    source: StreamEnd
    target: StreamEnd

    def __init__(self, context: SimulationContext, path: Path, capacity: int) -> None:
        self.held = 0
        self._context = context
        self._events = context.events
        self._split = context.conditions.split
        self._path = path
        self._capacity = capacity
        self._bandwidth = path.bandwidth()
        self._wants_room = False
        #: On the way, in order.
        self._wire: deque[tuple[_Kind, bytes]] = deque()
        self._wire_free = 0.0
        self._last_arrival = 0.0
        #: Segments whose time came while the path was blocked.
        self._overdue = 0
        self._blocked_since = 0.0
        self._again = _AGAIN[0]

    @property
    def now(self) -> float:
        """The simulation's time."""
        return self._events.now

    def send(self, data: bytes | memoryview, at: float) -> int:
        """Take what there is room for at `at`, and return how many bytes that is."""
        size, room = len(data), self._capacity - self.held
        if size > room:
            self._wants_room = True
            size = max(0, room)
            data = data[:size]
        if size:
            self.held += size
            self.post("data", bytes(data), at)
        return size

    def read(self, size: int) -> None:
        """The other's process has read so many bytes: there is room again."""
        self.held -= size
        if self._wants_room and self.held <= self._capacity // 2:
            self._wants_room = False
            self._events.at(self._events.now + self._path.back.delay(), self.source.notify)

    def post(self, kind: _Kind, data: bytes, at: float) -> None:
        """Put it on its way; sometimes in two pieces, cut anywhere."""
        chance = self._path.chance
        if len(data) > 1 and chance.random() < self._split:
            cut = chance.randrange(1, len(data))
            self._post_segment("data", data[:cut], at)
            data = data[cut:]
        self._post_segment(kind, data, at)

    def _post_segment(self, kind: _Kind, data: bytes, at: float) -> None:
        self._wire_free = max(self._wire_free, at) + len(data) / self._bandwidth
        self._last_arrival = max(self._last_arrival, self._wire_free + self._path.delay())
        self._wire.append((kind, data))
        self._events.at(self._last_arrival, self._arrive)

    def _arrive(self) -> None:
        """The time of the next segment has come."""
        if not self._wire:
            return  # what was on its way is lost
        self._context.steps += 1
        if self._overdue or self._path.blocked:
            self._overdue += 1
            if self._overdue == 1:
                self._path.overdue += 1
                self._blocked_since = self._events.now
                self._again = _AGAIN[0]
                self._try_later()
            return
        self.target.receive(*self._wire.popleft())

    def _try_later(self) -> None:
        wait = self._again * (1 + 0.1 * self._path.chance.random())
        self._again = min(2 * self._again, _AGAIN[1])
        self._events.at(self._events.now + wait, self._try_again)

    def _try_again(self) -> None:
        if not self._overdue:
            return
        if not self._path.blocked:
            overdue = self._overdue
            self._catch_up()
            for _ in range(min(overdue, len(self._wire))):
                self.target.receive(*self._wire.popleft())
        elif self._events.now - self._blocked_since > GIVE_UP:
            self.source.fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
        else:
            self._try_later()

    def lose(self) -> bytes:
        """What is on the way does not arrive: return the bytes of it."""
        lost = b"".join(data for kind, data in self._wire if kind == "data")
        self._wire.clear()
        self._catch_up()
        return lost

    def _catch_up(self) -> None:
        """Nothing waits to be sent again any more."""
        if self._overdue:
            self._overdue = 0
            self._path.overdue -= 1


class StreamEnd:
    """One end of a connection: what has come and is not read, and the lane to the other.

    Attributes:
        number: Its number in the simulation, for the digest.
        here: Whose end it is: address and port.
        there: Who is at the other end.
        finished: Whether the other side said that it sends no more.
        error: Why the connection is broken; None while it is not.
        closed: Whether its process has closed it, or is gone.
        on_event: Called when there is something to read, or room to write, or an error.
    """

    def __init__(self, number: int, here: Place, there: Place, out: _Lane, coming: _Lane) -> None:
        self.number = number
        self.here = here
        self.there = there
        self.finished = False
        self.error: OSError | None = None
        self.closed = False
        self.on_event: Callable[[], object] | None = None
        self._out = out
        self._coming = coming
        out.source = coming.target = self
        self._received: deque[bytes] = deque()
        self._said_fin = False

    # -- for the process ------------------------------------------------------------

    def send(self, data: bytes | memoryview, at: float) -> int:
        """Take what there is room for at `at`, and return how many bytes that is.

        When it is not all of them, `on_event` tells that there is room again.
        """
        return self._out.send(data, at)

    def finish(self, at: float) -> None:
        """Say that nothing more is sent."""
        if not self._said_fin and self.error is None:
            self._said_fin = True
            self._out.post("fin", b"", at)

    def read(self, most: int) -> bytes:
        """Take up to `most` bytes of what has come; empty: there is nothing."""
        received = self._received
        if not received:
            return b""
        data = received.popleft() if len(received) == 1 else b"".join(received)
        received.clear()
        if len(data) > most:
            received.append(data[most:])
            data = data[:most]
        self._coming.read(len(data))
        return data

    @property
    def readable(self) -> bool:
        """Whether there is something for the reader: bytes, the end, an error."""
        return bool(self._received) or self.finished or self.error is not None

    def close(self, at: float) -> None:
        """The process is done with it. What it had written is sent."""
        if self.closed:
            return
        self.closed = True
        self.on_event = None
        if not self._received:
            self.finish(at)
        elif self.error is None:
            self._out.post("reset", b"", at)
        self._received.clear()

    @property
    def other(self) -> StreamEnd:
        """The other end."""
        return self._out.target

    # -- for the network --------------------------------------------------------------

    def receive(self, kind: _Kind, data: bytes) -> None:
        """A segment has arrived."""
        if self.closed:
            if kind == "data":
                self._out.post("reset", b"", self._out.now)
        elif kind == "reset":
            self.fail(_reset())
        elif self.error is None:
            if kind == "data":
                self._received.append(data)
            else:
                self.finished = True
            self.notify()

    def fail(self, error: OSError) -> None:
        """The connection is broken, as this end sees it; what it had sent is lost."""
        if self.error is None:
            self.error = error
            self._out.lose()
            self.notify()

    def cut(self, chance: random.Random) -> None:
        """Break the connection, as a firewall or a dying switch does: both ends see a reset.

        What was on its way is lost but for its first part, which is cut anywhere.
        """
        for end in (self, self.other):
            end.receive_part(chance)
        for end in (self, self.other):
            end.fail(_reset())

    def receive_part(self, chance: random.Random) -> None:
        """Have a part of what is on its way to this end, cut anywhere, and lose the rest."""
        coming = self._coming.lose()
        part = coming[: chance.randrange(len(coming) + 1)]
        if part and not self.closed:
            self._received.append(part)

    def lose(self) -> None:
        """The machine is off: nothing is sent, and nothing is known of it afterwards."""
        self.closed = True
        self.on_event = None
        self._out.lose()
        self._received.clear()

    def notify(self) -> None:
        """Tell the process that something has changed."""
        if self.on_event is not None:
            self.on_event()


def connect_ends(
    context: SimulationContext, path: Path, here: Place, there: Place, number: int
) -> tuple[StreamEnd, StreamEnd]:
    """Return the ends of a new connection: that of who dials along `path`, and the other.

    Args:
        context: Of the simulation.
        path: From the one who dials to the one who listens.
        here: The address and port of the one who dials.
        there: Of the one who listens.
        number: A number that no other connection has; the next one is taken, too.
    """
    capacity = int(draw(path.chance, context.conditions.buffers))
    out, back = _Lane(context, path, capacity), _Lane(context, path.back, capacity)
    dialler = StreamEnd(number, here, there, out, back)
    return dialler, StreamEnd(number + 1, there, here, back, out)
