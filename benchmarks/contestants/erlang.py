"""Erlang/OTP, where `erl` is on PATH: `gen_server` in one node, and between two.

What it does is in contestant.erl, which is compiled into a temporary folder. Between two nodes
it has a name server of its own (`epmd`), which ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from contestants.remote_servers import free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = Path(__file__).with_name("contestant.erl")
MEMBER, ASKER = "member@127.0.0.1", "asker@127.0.0.1"
#: One that fails says why on its output, and leaves no file behind.
NO_DUMP = {"ERL_CRASH_DUMP_BYTES": "0"}
#: Seconds in which one run has to end.
PATIENCE = 300


@contextmanager
def compiled() -> Iterator[list[str]]:
    """The command that runs the module, up to the name of its function."""
    if shutil.which("erl") is None or shutil.which("erlc") is None:
        raise RuntimeError("erl and erlc are not on PATH")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["erlc", "-o", folder, str(SOURCE)], check=True)
        yield ["erl", "-noshell", "-pa", folder]


def said(command: list[str], variables: Mapping[str, str]) -> dict[str, float]:
    """The figures that `command` prints."""
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **variables},
    )
    for line in ended.stdout.splitlines():
        if line.startswith("FIGURES "):
            figures: dict[str, float] = json.loads(line.removeprefix("FIGURES "))
            return figures
    raise RuntimeError(f"erl: {(ended.stderr or ended.stdout)[-400:]}")


def local(scale: float) -> dict[str, float]:
    """The rows of local.py."""
    if os.environ.get("BENCHMARK_CLOCK") == "cpu":
        raise RuntimeError("its schedulers spin, so its processor time says nothing")
    with compiled() as erl:
        return said([*erl, "-run", "contestant", "local", str(float(scale))], NO_DUMP)


def remote(scale: float) -> dict[str, float]:
    """The rows of remote.py."""
    port = free_port()
    names = {"ERL_EPMD_PORT": str(port), **NO_DUMP}
    with compiled() as erl, running(["epmd", "-port", str(port)], port):
        named = [*erl, "-setcookie", "contestant", "-start_epmd", "false", "-name"]
        serve = [*named, MEMBER, "-run", "contestant", "serve"]
        with running(serve, variables=names) as member:
            if member.stdout is None or member.stdout.readline().strip() != b"ready":
                raise RuntimeError("the node of the server did not start")
            ask = [*named, ASKER, "-run", "contestant", "remote", str(float(scale)), MEMBER]
            return said(ask, names)
