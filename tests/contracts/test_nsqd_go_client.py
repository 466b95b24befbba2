"""go-nsq's own suite against the embedded nsqd, where Go and its module proxy are.

The module is fetched into a temporary folder and its fixed addresses (4150 and
4151) are replaced by the ports of this run.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "github.com/nsqio/go-nsq@v1.1.0"


async def go(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "go",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "GOMODCACHE": str(folder.parent / "modules"),
            "GOFLAGS": "-modcacherw -mod=mod",
            "GOTOOLCHAIN": "local",
        },
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def fetch(folder: Path) -> Path:
    """The module's sources in a folder of our own; skips where they cannot be had."""
    if shutil.which("go") is None:
        pytest.skip("no Go here")
    folder.mkdir()
    code, output = await go(folder, "mod", "download", "-json", MODULE)
    if code != 0:
        pytest.skip(f"go-nsq cannot be fetched: {output[-300:]}")
    source = folder / "go-nsq"
    shutil.copytree(json.loads(output)["Dir"], source)
    return source


def redirect(source: Path, port: int, http_port: int) -> None:
    for path in source.glob("*_test.go"):
        text = path.read_text()
        text = text.replace("127.0.0.1:4150", f"127.0.0.1:{port}").replace("4151", str(http_port))
        path.write_text(text)


def certificate(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The suite's certificate is old: its key is shorter than OpenSSL likes today.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    return context


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.blocking_ok
async def test_go_nsqs_own_suite_passes(tmp_path):
    source = await fetch(tmp_path / "go")
    options = NsqdOptions(tls=certificate(source / "test"))
    async with nsqd_server("embedded", options=options) as server:
        redirect(source, server.port, server.http_port)
        _, output = await go(source, "test", "-v", "-timeout", "120s", "./...")
    found = re.findall(r"^--- (PASS|FAIL): (\w+)", output, re.MULTILINE)
    results = {name: verdict for verdict, name in found}
    assert len(results) > 20, output[-3000:]
    failed = {name for name, verdict in results.items() if verdict == "FAIL"}
    assert failed == set(), output[-6000:]
