"""pynsq's own suite against the embedded nsqd: what passes on nsqd 1.3.0 passes here.

The sdist in the package registry is without tests, so the suite comes from the
folder that IRISMQ_PYNSQ names (a checkout of v0.9.1), or is cloned from its
home; where neither can be had it is skipped. It starts `nsqd` from PATH: that is
a launcher of ours, on ports of this run.

Each test that fails is listed with its reason. Run on nsqd 1.3.0 the suite
fails the tests of OLD alone; the others differ by design.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.support.nsqd_launcher import nsqd_on_path

HOME = "https://github.com/nsqio/pynsq"
VERSION = "v0.9.1"
#: These fail on the real nsqd as well: they want an older Tornado or Python.
OLD = {
    "test_backoff_hard",
    "test_backoff_many_conns",
    "test_backoff_conns_disconnect",
    "ReaderIntegrationTest::test_conn_messages",
    "ReaderIntegrationTest::test_conn_subscribe",
    "ReaderIntegrationTest::test_reader_coro",
    "ReaderIntegrationTest::test_reader_messages",
    "DeflateReaderIntegrationTest::test_reader_messages",
}
BY_DESIGN = {
    # Snappy is answered with no.
    "ReaderIntegrationTest::test_conn_identify_options",
    "ReaderIntegrationTest::test_conn_socket_upgrade",
    # There is one node, so it registers with no nsqlookupd.
    "LookupdReaderIntegrationTest::test_reader_messages",
}


async def output_of(*command: str, **options: object) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        **options,  # type: ignore[arg-type]  # cwd and env, passed through
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def sources(folder: Path) -> Path:
    """The suite in a folder of our own; skips where it cannot be had."""
    if given := os.environ.get("IRISMQ_PYNSQ"):
        return Path(shutil.copytree(given, folder))
    if shutil.which("git") is None:
        pytest.skip("pynsq's suite is not here: IRISMQ_PYNSQ names no folder, and git is missing")
    clone = ("git", "clone", "--quiet", "--depth", "1", "--branch", VERSION, HOME, str(folder))
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    code, output = await output_of(*clone, env=quiet)
    if code != 0:
        pytest.skip(f"pynsq's suite cannot be had (IRISMQ_PYNSQ may name it): {output[-200:]}")
    return folder


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def redirect(tests: Path, port: int, http_port: int) -> None:
    """Its fixed ports become those of this run."""
    for path in tests.glob("test_*.py"):
        text = path.read_text().replace("4151", str(http_port))
        path.write_text(re.sub(r"\b4150\b", str(port), text))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.blocking_ok
async def test_pynsqs_own_suite_passes_as_on_the_real_one(tmp_path):
    source = await sources(tmp_path / "pynsq")
    port, http_port = free_ports(2)
    programs = tmp_path / "bin"
    programs.mkdir()
    nsqd_on_path(programs, port, http_port)
    # The suite imports the package `mock`, which is a part of Python by now.
    (programs / "mock.py").write_text("from unittest.mock import *\n")
    redirect(source / "tests", port, http_port)
    _, output = await output_of(
        *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir=.", "-rA", "--tb=short"),
        *("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"),
        cwd=source,
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{programs}{os.pathsep}{source}",
        },
    )
    found = re.findall(r"^(PASSED|FAILED|ERROR) tests/\w+\.py::([\w:]+)", output, re.MULTILINE)
    passed = {name for verdict, name in found if verdict == "PASSED"}
    failed = {name for verdict, name in found if verdict != "PASSED"}
    assert len(passed) >= 30, output[-3000:]
    assert failed <= OLD | BY_DESIGN, f"{failed - OLD - BY_DESIGN}\n{output[-6000:]}"
