"""An Iris relay for a test: ours in this process, or the real one as a child process.

Ours comes in two kinds: "embedded" serves its own clients alone, "nats" routes
over a cluster of three NATS servers that the test has for itself.

The real one is what IRISMQ_IRIS names, or `iris` on PATH. It scans every subnet
of its host, so it is started in a private network namespace only: where
IRISMQ_NETNS=1 is set by who made the namespace, or where there is no default
route at all. Without all that the test is skipped with the reason.

A real node takes some ten seconds to boot, so the tests of one process share one,
unless they ask for their `own` because they kill it. In a namespace where a relay
serves port 55555 already, that one is shared, but by one process alone: of several
workers the first takes it, the others boot their own. Tests use fixed addresses, as
the examples do, and two workers at one relay would answer each other's asks.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions
from tests.support.nats_cluster import nats_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["EmbeddedServer", "IrisRelay", "Kind", "RealServer", "find_iris", "iris_relay"]

Kind = Literal["embedded", "nats", "real"]

_BOOTED = b"successfully booted"
_BOOT_SECONDS = 25.0
_STANDARD_PORT = 55555


class IrisRelay(Protocol):
    """One relay under test. It listens when the context is entered."""

    kind: Kind
    host: str
    port: int

    async def kill(self) -> None:
        """Cut all connections without a word and stop listening."""
        ...

    async def restart(self) -> None:
        """Serve again on the same port, remembering nothing; kills it first if it runs."""
        ...


class EmbeddedServer:
    """Ours. `relay` is the server itself, for statistics and faults."""

    def __init__(self, kind: Kind = "embedded", **options: Any) -> None:
        self.kind = kind
        self.relay = EmbeddedRelay(**options)
        self.host = self.relay.host

    @property
    def port(self) -> int:
        return self.relay.port

    async def kill(self) -> None:
        self.relay.crash()

    async def restart(self) -> None:
        self.relay.crash()
        await self.relay.start()


class RealServer:
    """A real Iris node of its own network, on a port of its own."""

    kind: Kind = "real"

    def __init__(self, binary: str, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._log: threading.Thread | None = None

    def boot(self) -> None:
        """Start it and wait until it serves. Blocks; call it in a thread."""
        process = subprocess.Popen(
            [self._binary, "-dev", "-port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._process = process
        assert process.stdout is not None
        for line in process.stdout:
            if _BOOTED in line:
                break
        else:
            raise RuntimeError(f"iris ended with {process.wait()} before it was up")
        # Who writes a log that nobody reads stands still at last.
        self._log = threading.Thread(target=deque, args=(process.stdout, 0), daemon=True)
        self._log.start()

    def end(self) -> None:
        """Kill the process and reap it. Blocks for a moment."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if self._log is not None:
                self._log.join()
            assert process.stdout is not None
            process.stdout.close()

    async def kill(self) -> None:
        if self._process is None:
            raise RuntimeError("this relay is shared: ask for your own with own=True")
        await asyncio.to_thread(self.end)

    async def restart(self) -> None:
        await asyncio.to_thread(self.end)
        await asyncio.wait_for(asyncio.to_thread(self.boot), _BOOT_SECONDS)


class _Shared:
    """The one real relay that tests of this process share."""

    server: RealServer | None = None


def find_iris() -> str:
    """The real relay's binary; skips the test, with the reason, where there is none."""
    binary = os.environ.get("IRISMQ_IRIS") or shutil.which("iris")
    if not binary or not Path(binary).exists():
        pytest.skip("no real relay: IRISMQ_IRIS names none and there is no iris on PATH")
    if os.environ.get("IRISMQ_NETNS") != "1" and _has_default_route():
        pytest.skip(
            "a real relay scans the networks of its host: run this in a network namespace of its "
            "own (unshare -n), and set IRISMQ_NETNS=1 if that has a default route"
        )
    return binary


def _has_default_route() -> bool:
    """True when a packet of this process could leave the machine."""
    try:
        routes = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    return any(fields[1] == "00000000" for fields in map(str.split, routes))


def _served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_first_worker(worker: str | None) -> bool:
    """True in a run without workers, and in the first of several."""
    return worker in {None, "gw0"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _share(binary: str) -> RealServer:
    if _Shared.server is None:
        if _is_first_worker(os.environ.get("PYTEST_XDIST_WORKER")) and _served(_STANDARD_PORT):
            _Shared.server = RealServer(binary, _STANDARD_PORT)
        else:
            _Shared.server = RealServer(binary, _free_port())
            atexit.register(_Shared.server.end)
            _Shared.server.boot()
    return _Shared.server


@asynccontextmanager
async def _served_by_us(server: EmbeddedServer) -> AsyncIterator[EmbeddedServer]:
    await server.relay.start()
    try:
        yield server
    finally:
        await server.relay.stop()


@asynccontextmanager
async def iris_relay(kind: Kind, *, own: bool = False, **options: Any) -> AsyncIterator[Any]:
    """A running relay of the given kind; it is gone when the context ends.

    `options` are those of `EmbeddedRelay`; a test that gives any is one of the
    embedded relay alone. `own` asks for a real relay that may be killed.
    """
    if kind == "embedded":
        async with _served_by_us(EmbeddedServer(**options)) as server:
            yield server
        return
    if kind == "nats":
        async with nats_cluster() as cluster:
            back_end = NatsBackEnd(cluster.urls, net="contract", options=NatsOptions(linger=0.01))
            ours = EmbeddedServer("nats", back_end=back_end, **options)
            async with _served_by_us(ours) as server:
                yield server
        return
    binary = find_iris()
    if not own:
        yield await asyncio.wait_for(asyncio.to_thread(_share, binary), _BOOT_SECONDS)
        return
    real = RealServer(binary, _free_port())
    try:
        await real.restart()
        yield real
    finally:
        await asyncio.to_thread(real.end)


def unique(stem: str) -> str:
    """A name that no other test of a shared relay uses."""
    return f"{stem}.{os.getpid()}.{time.monotonic_ns()}"
