"""What a signal finds: the process may be anywhere, in a write to standard error, too."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import sys
import termios

import pytest

from irismq_runtime.node.running import EXIT_FORCED
from tests.integration.waiting import until

PROGRAM = """
import asyncio, sys
from irismq_runtime.node.signals import Signals

with Signals(asyncio.new_event_loop(), print, 130):
    while True:
        sys.stderr.write("x" * 4096)
"""


def waiting_in(pipe: int) -> int:
    """Bytes that nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of Linux hold 64 KiB")
async def test_case_124_a_second_signal_in_the_middle_of_a_write_that_nobody_reads():
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stderr=writer)
    os.close(writer)
    try:
        await until(lambda: waiting_in(reader) == 64 * 1024)
        process.send_signal(signal.SIGTERM)

        def ended_by_another() -> bool:
            # Python takes two that come at the same moment for one, so send on.
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            return process.returncode is not None

        await until(ended_by_another)
        assert process.returncode == EXIT_FORCED
    finally:
        os.close(reader)
        if process.returncode is None:
            process.kill()
            await process.wait()
