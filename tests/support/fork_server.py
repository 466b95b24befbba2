"""Processes of `irismq` that begin in a moment: forked from one that has imported it.

A fresh interpreter needs most of a second of processor time to import the command line,
and the suite starts hundreds. So each worker of the suite has a process, the server,
that has imported all of it, has no thread and runs no loop; it forks for each command.
What it forks is a process like any other: own descriptors, folder, environment and
signals, and it ends as an interpreter ends. Variables that are read when an interpreter
starts or imports are those of the server: there is one for each set of them. What a
command imports by itself is not seen here, as all is imported: that a name which a module
uses is imported in it is for ruff and mypy. In fresh interpreters start the help
(tests/cli/test_commands.py), `irismq demo` with the nodes that it runs (tests/demo), and
all commands where the system is not Linux.

This file is both halves: run as a program it is the server. They speak over one socket:
a request is JSON with the descriptors of the child's stdin, stdout, stderr and of a pipe,
on which the server answers a line with the pid and, when it has ended, one with how.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CAN_FORK", "ForkedProcess", "start"]

ROOT = Path(__file__).parents[2]
#: The module that a child runs as `python -m` would.
MODULE = "irismq_runtime.cli"
#: A command that reads arguments, connects to nothing and fails.
REHEARSED = ("ask", "no.one", "no.such", "{")
#: Elsewhere a process that has imported much is not safely forked.
CAN_FORK = sys.platform == "linux"
#: Variables that are read when an interpreter starts, or rich or typer is imported.
_READ_EARLY = re.compile(
    r"PYTHON(?!PATH)|COLUMNS$|LINES$|TERM|TTY_|LC_|LANG|MSGPACK_|\w*(COLOR|TYPER|GITHUB)"
)


class ForkedProcess:
    """A child of the server; the part of `asyncio.subprocess.Process` that tests use."""

    def __init__(self, pid: int, stdout: _Pipe, stderr: _Pipe, ending: _Pipe) -> None:
        self.pid = pid
        self.stdout = stdout.reader
        self.stderr = stderr.reader
        self.returncode: int | None = None
        self._ending = asyncio.ensure_future(self._end(stdout, stderr, ending))

    async def _end(self, stdout: _Pipe, stderr: _Pipe, ending: _Pipe) -> int:
        line = await ending.reader.readline()
        for pipe in (stdout, stderr, ending):
            pipe.close()
        self.returncode = os.waitstatus_to_exitcode(int(line))
        return self.returncode

    async def wait(self) -> int:
        """Wait for its end and return the exit code (negative: by a signal)."""
        return await asyncio.shield(self._ending)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read both streams to their ends, and wait for that of the process."""
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            # The server may have reaped it, and what it says of that not be read yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end, with SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Pipe:
    """What comes out of a pipe, until whoever writes into it has ended."""

    def __init__(self, end: int) -> None:
        self.reader = asyncio.StreamReader()
        self._file = os.fdopen(end, "rb", 0)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.reader), self._file
        )

    def close(self) -> None:
        """Take what is there, and no more."""
        if not self._transport.is_closing():
            while rest := self._file.read(65536):
                self.reader.feed_data(rest)
            self._transport.close()
        if not self.reader.at_eof():
            self.reader.feed_eof()


class _Client:
    """A server of this process, started when it is first needed; it ends with us.

    `early`: those of `_READ_EARLY`, as names and values.
    """

    def __init__(self, early: frozenset[tuple[str, str]]) -> None:
        others = {name: text for name, text in os.environ.items() if not _READ_EARLY.match(name)}
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                env={**others, **dict(early)},
                stdin=subprocess.DEVNULL,
            )
        ours.setblocking(True)
        self._socket = ours
        atexit.register(self.close)

    def fork(self, request: bytes, descriptors: Sequence[int]) -> None:
        socket.send_fds(self._socket, [len(request).to_bytes(4)], list(descriptors))
        self._socket.sendall(request)

    def close(self) -> None:
        self._socket.close()
        self._server.wait()


_client = functools.cache(_Client)


async def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stdout: int | None = None,
    stderr: int | None = None,
    name: str = "",
) -> ForkedProcess:
    """Start `irismq` with these arguments and this environment.

    `stdout`, `stderr`: descriptors to write to; there is nothing to read here then. `name`:
    by what it was called, as a script that is installed; otherwise as a module.
    """
    request = {"arguments": list(arguments), "cwd": str(cwd), "environment": dict(environment)}
    early = frozenset(item for item in environment.items() if _READ_EARLY.match(item[0]))
    ends = [os.pipe() for _ in range(3)]
    nothing = os.open(os.devnull, os.O_RDONLY)
    piped = [end for _, end in ends]
    given = [nothing, *piped]
    for number, own in ((1, stdout), (2, stderr)):
        if own is not None:
            given[number] = own
    try:
        _client(early).fork(json.dumps({**request, "name": name}).encode(), given)
    finally:
        for end in (nothing, *piped):
            os.close(end)
    out, err, ending = pipes = [_Pipe(end) for end, _ in ends]
    for pipe in pipes:
        await pipe.connect()
    return ForkedProcess(int(await ending.reader.readline()), out, err, ending)


# The server. It returns from `_serve` in each child, and there alone.


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return one in the child of it, None at the end of the client."""
    waking, woken = os.pipe()
    for end in (waking, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    endings: dict[int, int] = {}
    events = selectors.DefaultSelector()
    events.register(control, selectors.EVENT_READ)
    events.register(waking, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is not control:
                os.read(waking, 4096)
                _reap(endings)
                continue
            size, descriptors, *_ = socket.recv_fds(control, 4, 4)
            if not size:
                return None
            request: dict[str, Any] = json.loads(_exactly(control, int.from_bytes(size)))
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                events.close()
                for end in (waking, woken, *endings.values(), control.detach()):
                    os.close(end)
                _become(request, descriptors)
                return request
            *standard, ending = descriptors
            for end in standard:
                os.close(end)
            endings[pid] = ending
            os.write(ending, b"%d\n" % pid)


def _reap(endings: dict[int, int]) -> None:
    """Say of each child that has ended how."""
    for pid in list(endings):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            ending = endings.pop(pid)
            os.write(ending, b"%d\n" % status)
            os.close(ending)


def _exactly(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += control.recv(size - len(data))
    return data


def _become(request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Make this child what a fresh interpreter would be before it runs the module."""
    for number, given in enumerate(descriptors[:3]):
        os.dup2(given, number)
    for given in descriptors:
        os.close(given)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        new = open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115  # it is the stream
        new.reconfigure(line_buffering=name == "stderr" or "PYTHONUNBUFFERED" in os.environ)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    os.chdir(request["cwd"])
    environment = request["environment"]
    os.environ.clear()
    os.environ.update(environment)
    paths = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    # Only what is run as a module has its folder on the path.
    sys.path[:] = [*paths, *sys.path] if request["name"] else [request["cwd"], *paths, *sys.path]
    program = request["name"] or str(ROOT / "irismq_runtime" / "cli" / "__main__.py")
    sys.argv[:] = [program, *request["arguments"]]


def _import_all() -> None:
    """Import what commands import, so that no child has to."""
    from irismq_runtime.cli.main import Commands

    targets = [target.partition(":")[0] for target, _ in Commands.table.values()]
    for name in (*targets, "irismq_runtime.embedded.nsqd", "irismq_runtime.embedded.relay"):
        importlib.import_module(name)
    importlib.import_module("uvloop")
    for name in _imported_late():
        importlib.import_module(name)


def _imported_late() -> list[str]:
    """What libraries import when a command reads its arguments: typer, most of pydantic.

    A child finds it out, because what runs a command leaves more behind than modules.
    """
    names, found = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = set(sys.modules)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for standard in (1, 2):
            os.dup2(nowhere, standard)
        sys.argv[1:] = REHEARSED
        with contextlib.suppress(SystemExit):
            runpy.run_module(MODULE, run_name="__main__")
        os.write(found, "\n".join(sorted(set(sys.modules) - before)).encode())
        os._exit(0)
    os.close(found)
    with os.fdopen(names, encoding="utf-8") as listed:
        late = listed.read().split()
    os.waitpid(pid, 0)
    return late


def _main() -> str:
    """Serve; in a child return the name that it was called by."""
    sys.path[:] = sys.path[1:]  # this folder; a child has its own instead
    sys.path.insert(0, str(ROOT))
    _import_all()
    sys.path.pop(0)
    # What is here stays: no child has to look through it for garbage, which would copy its pages.
    gc.collect()
    gc.freeze()
    # A client that is gone ends us; Ctrl-C at the suite is the client's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        os._exit(0)
    # A shell that runs the suite in the background lets both be ignored, here as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    return str(request["name"])


if __name__ == "__main__":
    if _main():
        from irismq_runtime.cli.main import main

        main()
    else:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
