"""The public Go binding of Iris, with its own tests, against our relay: alone, and over NATS.

Its source is not ours to carry, so it is had at the time of the test: from the
folder that IRISMQ_IRIS_GO names (a checkout of github.com/project-iris/iris-go,
built with the packages of iris that it imports), or from the Go module proxy
where that serves it. The binding's tests speak to port 55555 and nothing else,
so that port must be free. Some of them sleep for 25 ms and look whether things
have happened, so those that fail are run again, by themselves.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.config import NatsOverlay
from irismq_runtime.embedded.relay import EmbeddedRelay, Faults
from irismq_runtime.node import OwnRelay
from tests.support.nats_cluster import nats_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODULE = "github.com/project-iris/iris-go"
PORT = 55555
TESTS = 18
#: Runs at most of one test.
TRIES = 6


def find_go() -> str:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go here: the binding's tests cannot be built")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"port {PORT}, the only one that the binding's tests know, is taken")
    return go


async def run(*command: str, cwd: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false"},
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


async def source_of_binding(go: str, folder: Path) -> Path:
    named = os.environ.get("IRISMQ_IRIS_GO")
    if named:
        return Path(named)
    code, output = await run(go, "mod", "download", f"{MODULE}@latest", cwd=folder)
    if code:
        reason = output.strip().splitlines()[-1] if output.strip() else f"exit {code}"
        pytest.skip(
            f"the module proxy does not serve {MODULE} ({reason}); set IRISMQ_IRIS_GO to a checkout"
        )
    _, where = await run(go, "list", "-m", "-f", "{{.Dir}}", f"{MODULE}@latest", cwd=folder)
    copy = folder / "iris-go"
    await asyncio.to_thread(shutil.copytree, where.strip(), copy)
    return copy


@asynccontextmanager
async def relay(kind: str) -> AsyncIterator[None]:
    """A relay on the one port that the binding's tests know."""
    if kind != "over_nats":
        faults = Faults.like_real() if kind == "like_real" else Faults()
        async with EmbeddedRelay(port=PORT, faults=faults):
            yield
        return
    async with nats_cluster() as cluster:
        own = OwnRelay(NatsOverlay(servers=tuple(cluster.urls)), port=PORT)
        await own.start()
        try:
            yield
        finally:
            await own.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["letter", "like_real", "over_nats"])
async def test_the_go_bindings_own_tests_pass(tmp_path, kind):
    go = find_go()
    source = await source_of_binding(go, tmp_path)
    binary = tmp_path / "binding.test"
    code, output = await run(go, "test", "-vet=off", "-c", "-o", str(binary), ".", cwd=source)
    if code:
        pytest.skip(f"the binding does not build here: {output.strip()[-300:]}")
    _, listed = await run(str(binary), "-test.list", ".", cwd=tmp_path)
    left = set(re.findall(r"^Test\w+", listed, re.MULTILINE))
    assert len(left) == TESTS, listed
    async with relay(kind):
        for _ in range(TRIES):
            these = f"^({'|'.join(sorted(left))})$"
            flags = ("-test.v", "-test.timeout=60s", "-test.run", these)
            _, output = await run(str(binary), *flags, cwd=tmp_path)
            left -= set(re.findall(r"^--- PASS: (\w+)", output, re.MULTILINE))
            if not left:
                break
    assert left == set(), output[-4000:]
