"""An nsqd for a test: ours in this process, or the real one as a child process.

The real one is what IRISMQ_NSQD names, or `nsqd` on PATH; without it the test
is skipped with that reason. Both listen on 127.0.0.1 on ports the system chose,
are ready when the context is entered, and keep their ports over a restart.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import pytest

from irismq_runtime.embedded.nsqd import EmbeddedNsqd, NsqdOptions
from irismq_runtime.simulation.loop import SimulatedLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from actors import Clock

__all__ = ["EmbeddedServer", "NsqdServer", "RealServer", "find_nsqd", "nsqd_server"]

Kind = Literal["embedded", "real"]

_LISTENING = re.compile(rb" (TCP|HTTPS?): listening on 127\.0\.0\.1:(\d+)")
_FLAGS = {
    "msg_timeout": "msg-timeout",
    "max_msg_timeout": "max-msg-timeout",
    "max_msg_size": "max-msg-size",
    "max_body_size": "max-body-size",
    "max_req_timeout": "max-req-timeout",
    "max_heartbeat_interval": "max-heartbeat-interval",
    "max_rdy_count": "max-rdy-count",
    "max_channel_consumers": "max-channel-consumers",
    "max_deflate_level": "max-deflate-level",
    "mem_queue_size": "mem-queue-size",
    "output_buffer_timeout": "output-buffer-timeout",
}


class NsqdServer(Protocol):
    """One broker under test."""

    kind: Kind
    host: str
    port: int
    http_port: int

    async def stop(self) -> None:
        """End it in order; the ports stay reserved for `start` in name only."""
        ...

    async def start(self) -> None:
        """Start it again on the same ports, with the same data."""
        ...

    async def kill(self) -> None:
        """End it without any order: SIGKILL, or every connection aborted."""
        ...

    async def restart(self) -> None:
        """`stop` and `start`."""
        ...


def find_nsqd() -> str | None:
    """The real nsqd to test against, or None."""
    return os.environ.get("IRISMQ_NSQD") or shutil.which("nsqd")


class EmbeddedServer:
    """Ours, on the test's own loop."""

    kind: Kind = "embedded"
    host = "127.0.0.1"

    def __init__(self, options: NsqdOptions, data: Path | None, clock: Clock | None = None) -> None:
        self.nsqd = EmbeddedNsqd(data=data, options=options, clock=clock)
        self._options = options
        self._data = data
        self._clock = clock
        self.port = 0
        self.http_port: int | None = 0

    async def start(self) -> None:
        if isinstance(asyncio.get_running_loop(), SimulatedLoop):
            self.http_port = None  # it needs a real socket
        self.nsqd = EmbeddedNsqd(
            data=self._data,
            options=self._options,
            clock=self._clock,
            port=self.port,
            http_port=self.http_port,
        )
        await self.nsqd.start()
        self.port, self.http_port = self.nsqd.port, self.nsqd.http_port

    async def stop(self) -> None:
        await self.nsqd.stop()

    async def kill(self) -> None:
        await self.nsqd.crash()

    async def restart(self) -> None:
        await self.stop()
        await self.start()


class RealServer:
    """The real nsqd, as a child process with its data in a folder of its own."""

    kind: Kind = "real"
    host = "127.0.0.1"

    def __init__(self, binary: str, options: NsqdOptions, data: Path, flags: Sequence[str]) -> None:
        self._binary = binary
        self._data = data
        self._flags = [*_flags(options), *flags]
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self.port = self.http_port = self.https_port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._binary,
            f"-tcp-address={self.host}:{self.port}",
            f"-http-address={self.host}:{self.http_port}",
            f"-data-path={self._data}",
            "-broadcast-address=127.0.0.1",
            f"-https-address={self.host}:0",  # with a certificate it listens there as well
            *self._flags,
            stderr=asyncio.subprocess.PIPE,
        )
        lines = self._process.stderr
        assert lines is not None
        said: list[bytes] = []
        found: dict[bytes, int] = {}
        expected = 2 + any(flag.startswith("-tls-cert") for flag in self._flags)
        while len(found) < expected:
            line = await asyncio.wait_for(lines.readline(), 60)
            if not line:
                raise RuntimeError(f"nsqd did not start: {b''.join(said).decode()}")
            said.append(line)
            if match := _LISTENING.search(line):
                found[match[1]] = int(match[2])
        self.port, self.http_port = found[b"TCP"], found[b"HTTP"]
        self.https_port = found.get(b"HTTPS", 0)
        self._log = asyncio.create_task(_drain(lines))

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(number)
        await asyncio.wait_for(process.wait(), 60)
        if self._log is not None:
            await self._log


async def _drain(lines: asyncio.StreamReader) -> None:
    while await lines.readline():
        continue


def _flags(options: NsqdOptions) -> list[str]:
    default = NsqdOptions()
    flags = []
    for field in fields(NsqdOptions):
        value = getattr(options, field.name)
        if field.name in _FLAGS and value != getattr(default, field.name):
            shown = f"{round(value * 1000)}ms" if isinstance(value, float) else str(value)
            flags.append(f"-{_FLAGS[field.name]}={shown}")
    return flags


@asynccontextmanager
async def nsqd_server(
    kind: Kind,
    *,
    options: NsqdOptions | None = None,
    data: Path | None = None,
    flags: Sequence[str] = (),
    clock: Clock | None = None,
) -> AsyncIterator[NsqdServer]:
    """A running broker of this kind, ended when the context is left.

    `data` makes the embedded one durable (the real one always keeps its data in
    a folder); `flags` go to the real one only, `clock` to the embedded one only.
    """
    settings = options or NsqdOptions()
    if kind == "embedded":
        embedded = EmbeddedServer(settings, data, clock)
        await embedded.start()
        try:
            yield embedded
        finally:
            await embedded.stop()
        return
    binary = find_nsqd()
    if binary is None:
        pytest.skip("no real nsqd: neither IRISMQ_NSQD nor PATH names one")
    with tempfile.TemporaryDirectory(prefix="nsqd-") as folder:
        real = RealServer(binary, settings, data or Path(folder), flags)
        await real.start()
        try:
            yield real
        finally:
            await real.kill()
