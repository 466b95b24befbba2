"""The walls of a simulation: what reaches out of it is answered from within, or refused.

While a run is on, and on its thread alone, the clocks of `time`, the chance of `random`,
`secrets`, `uuid` and `os.urandom`, the name of the host and the number of the process are
those of the simulated host whose code asks. What has no simulated form (sleeping, sockets,
threads, other processes) raises `NotSimulated` with what to do instead; so do the methods
of a loop that would hand it a real descriptor. All is as before when the run is over,
whatever ended it.

A module that is first imported in a run is imported as outside of it: it is loaded once in
a process, and what it draws then must not be missing from the next run.

What is written in C, and is not called by a name that can be given to something else, is
not seen: `datetime.now()` tells the time of the machine, and a library that opens sockets
in C opens them.
"""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NoReturn

from irismq_runtime.simulation.errors import NotSimulated
from irismq_runtime.wire.ids import reseed_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from irismq_runtime.simulation.context import SimulationContext

__all__ = ["EPOCH", "RefusedCalls", "isolated"]

#: The wall clock at the beginning of every simulation: 2026-01-01T00:00:00Z.
EPOCH: Final = 1_767_225_600.0

_ASYNC_IO: Final = "use asyncio's streams and protocols, which the simulation carries"
_NO_PROCESS: Final = "start another host of the simulation, or leave it to tests on a machine"
_ON_RUN: Final = "give what is to run to Simulation.run"
_NO_FILE: Final = (
    "keep tables in the store of the node (`self.sql()` of a durable actor), or in memory"
)
_NO_SIGNALS: Final = "end a process with SimulatedHost.kill"

_LOOP_METHODS: Final = {
    **dict.fromkeys(
        [
            "add_reader",
            "add_writer",
            "remove_reader",
            "remove_writer",
            "sock_accept",
            "sock_connect",
            "sock_recv",
            "sock_recv_into",
            "sock_recvfrom",
            "sock_recvfrom_into",
            "sock_sendall",
            "sock_sendfile",
            "sock_sendto",
            "sendfile",
            "connect_accepted_socket",
            "create_datagram_endpoint",
            "create_unix_connection",
            "create_unix_server",
        ],
        _ASYNC_IO,
    ),
    **dict.fromkeys(
        ["subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe"],
        _NO_PROCESS,
    ),
    **dict.fromkeys(["run_forever", "run_until_complete", "stop", "close"], _ON_RUN),
    **dict.fromkeys(["add_signal_handler", "remove_signal_handler"], _NO_SIGNALS),
}


class RefusedCalls:
    """The methods of a loop that no simulation can have. Mixed into `SimulatedLoop`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, remedy in _LOOP_METHODS.items():
            if name not in cls.__dict__:
                setattr(cls, name, _refusal(f"loop.{name}", remedy))


def _refusal(what: str, remedy: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotSimulated(what, remedy)

    return refuse


@contextmanager
def isolated(context: SimulationContext) -> Iterator[None]:
    """Have the walls up for as long as it is entered."""
    replaced: list[tuple[Any, str, Any]] = []
    state = random.getstate()
    thread = get_ident()
    try:
        for owner, name, inside in _replacements(context):
            original = getattr(owner, name)
            replaced.append((owner, name, original))
            setattr(owner, name, _on_thread(thread, inside, original))
        random.seed(context.chance.stream("random").getrandbits(128))
        reseed_ids()
        yield
    finally:
        for owner, name, original in reversed(replaced):
            setattr(owner, name, original)
        random.setstate(state)
        reseed_ids()


def _on_thread(
    thread: int, inside: Callable[..., Any], original: Callable[..., Any]
) -> Callable[..., Any]:
    """Call `inside` on the simulation's thread, and on others what was there before."""

    def call(*args: Any, **options: Any) -> Any:
        return (inside if get_ident() == thread else original)(*args, **options)

    return call


def _replacements(context: SimulationContext) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    yield from _clocks(context)
    entropy = _Entropy(context.chance.stream("os.urandom"))
    yield SourceFileLoader, "exec_module", entropy.exec_module
    yield os, "urandom", entropy.urandom
    yield (
        random,
        "_urandom",
        entropy.urandom,
    )  # the name under which SystemRandom, and so secrets, has it
    yield socket, "gethostname", lambda: context.running.name if context.running else "simulation"
    yield os, "getpid", lambda: context.running.number if context.running else 1
    sleep = "use asyncio.sleep, or a delay of the actor: it takes no real time here"
    yield time, "sleep", _refusal("time.sleep", sleep)
    yield socket.socket, "__init__", _refusal("a real socket", _ASYNC_IO)
    thread = (
        "use loop.run_in_executor or asyncio.to_thread, which are steps of the simulation, and "
        "let a plain Actor stand in for a ThreadActor"
    )
    yield sqlite3, "connect", _in_memory_alone(sqlite3.connect)
    yield threading.Thread, "start", _refusal("a real thread", thread)
    yield subprocess.Popen, "__init__", _refusal("a process of the machine", _NO_PROCESS)
    if hasattr(os, "fork"):
        yield os, "fork", _refusal("os.fork", _NO_PROCESS)


def _in_memory_alone(connect: Callable[..., Any]) -> Callable[..., Any]:
    refuse = _refusal("a database on the real disk", _NO_FILE)

    def connect_in_memory(database: Any, *args: Any, **options: Any) -> Any:
        return (connect if database in {"", ":memory:"} else refuse)(database, *args, **options)

    return connect_in_memory


class _Entropy:
    """What the machine has of chance: from the seed, but for modules that are being loaded."""

    def __init__(self, chance: random.Random) -> None:
        self._seeded = chance.randbytes
        self._machine = os.urandom
        self._load = SourceFileLoader.exec_module
        self._loading = 0

    def urandom(self, size: int) -> bytes:
        return (self._machine if self._loading else self._seeded)(size)

    def exec_module(self, loader: SourceFileLoader, module: ModuleType) -> None:
        drawn = random.getstate()
        self._loading += 1
        try:
            self._load(loader, module)
        finally:
            self._loading -= 1
            random.setstate(drawn)


def _clocks(context: SimulationContext) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    def monotonic() -> float:
        running = context.running
        return context.events.now if running is None else running.time()

    def wall() -> float:
        running = context.running
        return EPOCH + context.events.now if running is None else running.clock.time()

    for name in ("monotonic", "perf_counter"):
        yield time, name, monotonic
        yield time, f"{name}_ns", lambda: int(monotonic() * 1e9)
    yield time, "time", wall
    yield time, "time_ns", lambda: int(wall() * 1e9)
