"""Where remarks cannot be written: they are dropped, and exit codes say what the service did."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.cli import codes
from tests.integration.processes import ROOT, start

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full"),  # noqa: PTH110  # no Path at import
]
#: Says on standard output that it runs, crashes once, and gives up when it is told.
SERVICE = """
import sys
from actors import Actor
from supervisors import Supervisor, child

class Worker(Actor):
    def on_start(self):
        print("up", flush=True)
        if any("fails" in argument for argument in sys.argv):
            raise ValueError("remarked upon")

tree = fails = Supervisor.of(child(Worker))
"""


async def run(folder: Path, stderr: int, *arguments: str) -> Any:
    (folder / "remarked.py").write_text(SERVICE)
    return await start(*arguments, cwd=folder, stderr=stderr, PYTHONPATH=str(ROOT))


@pytest.fixture
def full():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


async def test_a_node_with_a_full_disk_below_its_remarks_runs_and_drains(tmp_path, full):
    """184: it ended at once with 1, and no word."""
    process = await run(tmp_path, full, "-v", "run", "remarked:tree", "--embedded")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == codes.OK


async def test_a_node_whose_remarks_nobody_reads_any_more_drains(tmp_path):
    """The disk may as well fill, or the reader go, while it runs."""
    reader, writer = os.pipe()
    process = await run(tmp_path, writer, "-v", "run", "remarked:tree", "--embedded")
    os.close(writer)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    os.close(reader)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == codes.OK


async def test_a_code_says_what_happened_though_the_text_cannot_be_written(tmp_path, full):
    for arguments, code in (
        (("run", "remarked:fails", "--embedded"), codes.FAILED),
        (("run", "remarked:nothing", "--embedded"), codes.USAGE),
        (("tree", "--iris", "127.0.0.1:1", "--nsqd", "127.0.0.1:1"), codes.UNREACHABLE),
        (("no-such-command",), 2),
    ):
        process = await run(tmp_path, full, *arguments)
        await process.communicate()
        assert process.returncode == code, arguments


async def test_output_that_is_the_purpose_and_cannot_be_written_is_an_error(tmp_path, full):
    process = await start("--version", stdout=full)
    _, said = await process.communicate()
    assert process.returncode == codes.FAILED
    assert b"cannot be written" in said
