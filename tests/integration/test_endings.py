"""How `irismq run` ends: cases 122 and 124, systemd, PID 1. Embedded servers, real processes.

That a signal is obeyed "in under a second" is said here by what the process was
doing: each of these would go on for ten minutes, and the limit of the test is shorter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.cli import codes
from tests.cli.fakes import black_hole
from tests.integration.processes import IRISMQ, ROOT, Process, irismq, running
from tests.support.until import until

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

SIGNALS = [signal.SIGTERM, signal.SIGINT]

pytestmark = pytest.mark.timeout(90)  # processes start, on a machine that may be slow


def run(tree: str, *more: str, **environment: str) -> AbstractAsyncContextManager[Process]:
    module = f"tests.integration.endings:{tree}"
    return running("run", module, "--embedded", "--drain", "0.3", *more, **environment)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_while_idle(number):
    async with run("stops_forever", "--drain", "0.0") as process:
        await process.says(" runs")
        process.signal(number)
        assert await process.ends() == codes.OK


@pytest.mark.parametrize(
    ("tree", "does"),
    [
        ("awaits", "awaits"),  # cut after the drain
        ("thread_blocks", "thread blocks"),  # left behind
    ],
)
async def test_a_signal_during_a_handler_of_ten_minutes(tree, does):
    async with run(tree) as process:
        await process.says(does)
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK


async def test_a_look_up_that_hangs_does_not_hold_the_process_up():
    async with run("leaves_thread") as process:
        await process.says("left a thread")
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK
        assert any("ending without what still runs (" in line for line in process.said)


async def test_a_second_signal_while_the_loop_is_blocked():
    async with run("blocks") as process:
        await process.says("blocks")
        assert await process.ends_by_another(signal.SIGTERM) == codes.FORCED


async def test_a_second_signal_during_the_shutdown():
    async with run("stops_forever", "--drain", "600") as process:
        await process.says(" runs")
        process.signal(signal.SIGTERM)
        await process.says("stopping")
        assert await process.ends_by_another(signal.SIGINT) == codes.FORCED


async def test_a_signal_while_connecting_to_a_black_hole():
    with black_hole() as where:
        tree = "tests.integration.endings:awaits"
        addresses = ("--nsqd", where, "--iris", where, "--connect-timeout", "600")
        async with running("run", tree, *addresses) as process:
            await process.says("there is nothing: the connection is not answered; waiting for it")
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK


async def test_a_signal_while_the_tree_is_imported():
    async with running("run", "tests.integration.endless_import", "--embedded") as process:
        await process.says("importing")
        process.signal(signal.SIGINT)
        assert await process.ends() == codes.OK


async def test_a_worker_process_that_is_killed_may_end_the_node():
    async with run("owns_process") as process:
        await process.says(" runs")
        (line,) = [line for line in process.said if line.startswith("works for me: ")]
        os.kill(int(line.split()[-1]), signal.SIGKILL)
        assert await process.ends() == codes.GAVE_UP
        assert any("the worker ended with -9" in line for line in process.said)


async def test_a_module_that_cannot_be_imported_is_an_error_of_usage(tmp_path):
    (tmp_path / "broken_tree.py").write_text("\n1 / 0\n")
    code, _, said = await irismq("run", "broken_tree", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert code == codes.USAGE
    assert "ZeroDivisionError: division by zero" in said
    assert "broken_tree.py, line 2" in said
    assert len(said.splitlines()) == 1


async def test_an_error_of_our_own_has_its_own_code():
    program = (
        "import irismq_runtime.cli.main as main, irismq_runtime.cli.runner as runner\n"
        "runner.make_node = None\n"
        "main.main()"
    )
    tree = ("run", "tests.integration.endings:awaits", "--embedded")
    code, _, said = await irismq(*tree, program=(sys.executable, "-c", program))
    assert code == codes.BUG
    assert "TypeError: 'NoneType' object is not callable" in said
    assert said.splitlines()[-1].startswith("irismq: this is an error of irismq itself")


async def test_systemd_hears_of_the_life_of_a_process(tmp_path):
    path = tmp_path / "notify"
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.setblocking(False)
        systemd.bind(str(path))
        loop = asyncio.get_running_loop()
        loop.add_reader(systemd, lambda: heard.append(systemd.recv(4096).decode()))
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        try:
            async with run("stops_forever", "--drain", "0.0", **environment) as process:
                await until(lambda: heard.count("WATCHDOG=1") >= 3)
                assert heard[0] == "STATUS=connecting"
                assert heard.index("READY=1") < heard.index("WATCHDOG=1")
                assert "STOPPING=1" not in heard
                process.signal(signal.SIGTERM)
                assert await process.ends() == codes.OK
                await until(lambda: "STATUS=ending: SIGTERM" in heard)
                assert "STOPPING=1" in heard
        finally:
            loop.remove_reader(systemd)


async def _can_be_pid_1() -> bool:
    if shutil.which("unshare") is None:
        return False
    code, _, _ = await irismq("true", program=_AS_PID_1)
    return code == 0


_AS_PID_1 = ("unshare", "-Urpf", "--kill-child")


@pytest.mark.parametrize("moment", ["importing", "awaits"])
async def test_pid_1_of_a_container_obeys_signals(moment):
    """A signal that PID 1 has no handler for is dropped by the kernel."""
    if not await _can_be_pid_1():
        pytest.skip("no PID namespaces for this user")
    tree = {"awaits": "endings:awaits", "importing": "endless_import"}
    run = ("run", f"tests.integration.{tree[moment]}", "--embedded", "--drain", "0.3")
    async with running(*run, program=(*_AS_PID_1, *IRISMQ)) as process:
        await process.says(moment)
        pid = process.process.pid
        (inside,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(inside), signal.SIGTERM)
        assert await process.ends() == codes.OK
