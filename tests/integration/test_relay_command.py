"""`irismq relay`: it serves programs, says one line when it cannot, and ends in order."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket

import pytest

from irismq_runtime import pyiris
from irismq_runtime.cli import codes
from tests.integration.processes import irismq, running


async def port_of(process) -> int:
    """Where a relay says that it listens."""
    await process.says("iris on 127.0.0.1:")
    found = re.search(r"iris on 127\.0\.0\.1:(\d+)", "".join(process.said))
    assert found is not None
    return int(found.group(1))


async def echo(body: bytes) -> bytes:
    return body


async def test_a_relay_serves_programs_until_it_is_told_to_stop():
    async with running("relay", "--port", "0") as process:
        port = await port_of(process)
        assert "for this machine alone" in process.said[0]
        async with pyiris.register("echo", echo, port=port), pyiris.connect(port=port) as client:
            assert await client.request("echo", b"x", timeout=10.0) == b"x"
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK


async def test_systemd_is_told_of_a_relay(tmp_path):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        where = str(tmp_path / "notify")
        async with running("relay", "--port", "0", NOTIFY_SOCKET=where) as process:
            told = [await loop.sock_recv(systemd, 1000) for _ in range(3)]
            assert told == [b"STATUS=connecting", b"READY=1", b"STATUS=ready"]
            process.signal(signal.SIGTERM)
            assert await loop.sock_recv(systemd, 1000) == b"STOPPING=1"
            assert await process.ends() == codes.OK


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--net", "shop"), "--net: it is for NATS, and no server is named; give --nats"),
        (("--nats", "http://a:1"), "nats: a server's URL begins with neither nats:"),
        (("--nats", "nats://a", "--creds", "/no/such"), "creds: /no/such cannot be used (No such"),
    ],
)
async def test_flags_without_meaning_are_one_line_and_code_2(flags, said):
    code, out, err = await irismq("relay", "--port", "0", *flags)
    assert (code, out) == (codes.USAGE, "")
    (line,) = err.splitlines()
    assert line.startswith(f"irismq: {said}")


async def test_a_port_that_is_taken_is_one_line_and_code_3():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = await irismq("relay", IRISMQ_RELAY_PORT=port)
    assert code == codes.UNREACHABLE
    (line,) = err.splitlines()
    assert line.startswith("irismq: cannot listen: ")
    assert port in line


async def test_a_missing_extra_is_one_line_that_names_it(tmp_path):
    (tmp_path / "nats.py").write_text('raise ImportError("not installed")\n')
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    flags = ("--port", "0", "--nats", "nats://127.0.0.1:1")
    code, out, err = await irismq("relay", *flags, PYTHONPATH=path)
    assert (code, out) == (codes.USAGE, "")
    (line,) = err.splitlines()
    assert line.startswith("irismq: nats: ")
    assert line.endswith("pip install 'irismq-runtime[nats]'")


@pytest.mark.parametrize(
    "command",
    [
        ("relay", "--port", "0", "--nats"),
        ("run", "tests.integration.service:Inventory", "--embedded", "--iris"),
        ("run", "tests.integration.service:Inventory", "--embedded", "--log-json", "--iris"),
    ],
    ids=["relay", "run", "run with JSON"],
)
async def test_a_signal_ends_the_wait_for_nats_in_order(command):
    """Something takes the connection and says nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        async with running(*command, url, "--connect-timeout", "60") as process:
            connection, _ = await loop.sock_accept(silent)
            with connection:
                process.signal(signal.SIGTERM)
                assert await process.ends() == codes.OK
