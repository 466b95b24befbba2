"""The network between hosts with names: who is where, who listens, who dials.

A dial takes a round trip; where nothing listens it is refused,
where nothing comes through it is tried again after 1, 2, 4 ... seconds and given up after
`DIAL_GIVE_UP`, as Linux does. A listener's system completes the dial, whatever its
process does: what a paused process has not accepted waits.

A host is known by its name and by an address (10.0.0.n). "localhost" and 127.0.0.1 are
whoever dials them, and what listens there is not reached from elsewhere.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from irismq_runtime.simulation.paths import Block, Path
from irismq_runtime.simulation.stream import connect_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from irismq_runtime.simulation.context import SimulationContext
    from irismq_runtime.simulation.stream import StreamEnd

    Settle: TypeAlias = Callable[[StreamEnd | OSError], object]

__all__ = ["Access", "SimulatedNetwork"]

#: Seconds after which a dial that nobody answers ends (Linux's 6 retries).
DIAL_GIVE_UP: Final = 127.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # names of all addresses, to compare with
#: The first port that is given to who asks for any.
_FREE_PORTS: Final = 40_000


class ListeningPort:
    """A port that takes dials. `accept` is called with each end that was opened to it."""

    def __init__(self, port: int, accept: Callable[[StreamEnd], object], *, local: bool) -> None:
        self.port = port
        self.local = local
        self.accept = accept
        self.open = False


class Access:
    """One host on the network: its names, its ports, its connections.

    Attributes:
        name: By which others dial it.
        address: The same, as an IP address.
        up: Whether its machine is on.
    """

    def __init__(self, network: SimulatedNetwork, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.up = True
        self._network = network
        self._listeners: dict[int, ListeningPort] = {}
        #: The ends here that are not closed, in the order in which they were opened.
        self._ends: dict[StreamEnd, None] = {}
        self._next_port = _FREE_PORTS

    def resolve(self, name: str) -> Access:
        """Return the host of that name or address. Raises `socket.gaierror`."""
        return self if name in _LOOPBACK else self._network.find(name)

    def address_of(self, name: str) -> str:
        """Return the IP address that this host dials for a name. Raises `socket.gaierror`."""
        return "127.0.0.1" if name in _LOOPBACK else self._network.find(name).address

    def listen(self, host: str, port: int, accept: Callable[[StreamEnd], object]) -> ListeningPort:
        """Bind a port; 0: a free one. Dials are taken once it is `open`. Raises `OSError`."""
        if host not in _ANY and self.resolve(host) is not self:
            problem = os.strerror(errno.EADDRNOTAVAIL)
            raise OSError(errno.EADDRNOTAVAIL, f"{host}:{port}: {problem}")
        if not port:
            port = self.free_port()
        if port in self._listeners:
            problem = os.strerror(errno.EADDRINUSE)
            raise OSError(errno.EADDRINUSE, f"{host}:{port}: {problem}")
        listener = self._listeners[port] = ListeningPort(port, accept, local=host in _LOOPBACK)
        return listener

    def unlisten(self, listener: ListeningPort) -> None:
        """Give a port up."""
        if self._listeners.get(listener.port) is listener:
            del self._listeners[listener.port]

    def listener(self, port: int, source: Access) -> ListeningPort | None:
        """Return who takes a dial from `source` at this port."""
        found = self._listeners.get(port)
        if found is None or not found.open or (found.local and source is not self):
            return None
        return found

    def free_port(self) -> int:
        """Return a port that nobody has."""
        while self._next_port in self._listeners:
            self._next_port += 1
        self._next_port += 1
        return self._next_port - 1

    def dial(self, target: Access, port: int, at: float, settle: Settle) -> None:
        """Connect; `settle` is called with the end here, or with the error."""
        self._network.dial(self, target, port, at, settle)

    def hold(self, end: StreamEnd) -> None:
        """Know an end of this host."""
        self._ends[end] = None

    def release(self, end: StreamEnd) -> None:
        """The end is closed."""
        self._ends.pop(end, None)

    def close_all(self, at: float) -> None:
        """The process is gone: its system closes what it had open."""
        self._listeners.clear()
        for end in self._take_ends():
            end.close(at)

    def lose_all(self) -> None:
        """The machine is off: nobody is told anything."""
        self._listeners.clear()
        for end in self._take_ends():
            end.lose()

    def _take_ends(self) -> Iterator[StreamEnd]:
        ends, self._ends = self._ends, {}
        yield from ends

    def ends(self) -> tuple[StreamEnd, ...]:
        """Return the ends here that are open, the oldest first."""
        return tuple(self._ends)


class SimulatedNetwork:
    """All hosts and all paths of a simulation."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._chance = context.chance.stream("network")
        self._hosts: dict[str, Access] = {}
        self._addresses: dict[str, Access] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._ends = 0

    # -- who there is ------------------------------------------------------------------

    def join(self, name: str) -> Access:
        """Put a host of this name on the network. Raises `ValueError` for one that is there."""
        if name in self._hosts or name in _LOOPBACK or not name:
            raise ValueError(f"{name!r} is not a new name; give each host its own")
        address = f"10.0.{len(self._hosts) // 250}.{len(self._hosts) % 250 + 1}"
        access = Access(self, name, address)
        self._hosts[name] = self._addresses[address] = access
        return access

    def find(self, name: str) -> Access:
        """Return the host of that name or address. Raises `socket.gaierror`."""
        found = self._hosts.get(name) or self._addresses.get(name)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    def path(self, source: str, target: str) -> Path:
        """Return the path from one host to another, or to itself. Raises `socket.gaierror`."""
        key = (self.find(source).name, self.find(target).name)
        found = self._paths.get(key)
        if found is None:
            there, back = self._hosts[key[0]], self._hosts[key[1]]
            found = self._paths[key] = Path(self._context, there, back, self._chance)
            found.back = found
            if there is not back:
                found.back = self._paths[key[1], key[0]] = Path(
                    self._context, back, there, self._chance
                )
                found.back.back = found
        return found

    # -- what is done to it ---------------------------------------------------------------

    def overdue(self) -> Iterator[tuple[str, str]]:
        """Yield from where to where something waits to be sent again, after it was blocked."""
        yield from (key for key, path in self._paths.items() if path.overdue)

    def block(self, source: Iterable[str], target: Iterable[str]) -> Block:
        """Let nothing through from any of `source` to any of `target`, in this direction."""
        targets = tuple(target)
        return Block(self.path(a, b) for a in source for b in targets if a != b)

    def partition(self, *groups: Iterable[str]) -> Block:
        """Let nothing through between hosts of different groups, in both directions."""
        sides = [tuple(group) for group in groups]
        return Block(
            self.path(a, b)
            for one in sides
            for other in sides
            if one is not other
            for a in one
            for b in other
        )

    def slow(self, one: str, other: str, factor: float) -> None:
        """Multiply the delays between two hosts, in both directions; 1 is as before."""
        path = self.path(one, other)
        path.slowness = path.back.slowness = factor

    def cut(self, one: str, other: str) -> int:
        """Break all connections between two hosts, in the middle of whatever they carry.

        Returns:
            How many there were.
        """
        there = self.find(other)
        found = [end for end in self.find(one).ends() if end.there[0] == there.address]
        for end in found:
            end.cut(self._chance)
        return len(found)

    # -- dials --------------------------------------------------------------------------

    def dial(self, source: Access, target: Access, port: int, at: float, settle: Settle) -> None:
        """See `Access.dial`."""
        arrives = at + self.path(source.name, target.name).delay()
        self._context.events.at(arrives, self._knock, (source, target, port), at, 1.0, settle)

    def _knock(
        self, dial: tuple[Access, Access, int], began: float, wait: float, settle: Settle
    ) -> None:
        """The SYN arrives, or would."""
        self._context.steps += 1
        source, target, port = dial
        events, path = self._context.events, self.path(source.name, target.name)
        if path.blocked or path.back.blocked:
            if events.now - began + wait > DIAL_GIVE_UP:
                settle(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            else:
                again = events.now + wait
                events.at(again, self._knock, dial, began, 2 * wait, settle)
            return
        listener = target.listener(port, source)
        answer: StreamEnd | OSError
        if listener is None:
            answer = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        else:
            answer = self._connect(source, target, listener)
        events.at(events.now + path.back.delay(), settle, answer)

    def _connect(self, source: Access, target: Access, listener: ListeningPort) -> StreamEnd:
        local = source is target
        here = ("127.0.0.1" if local else source.address, source.free_port())
        there = ("127.0.0.1" if local else target.address, listener.port)
        path = self.path(source.name, target.name)
        dialler, accepted = connect_ends(self._context, path, here, there, self._ends)
        self._ends += 2
        source.hold(dialler)
        target.hold(accepted)
        listener.accept(accepted)
        return dialler
