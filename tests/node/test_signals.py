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

from irismq_runtime.loop import counts_again
from irismq_runtime.node.process.run import EXIT_FORCED
from tests.support.until import until

PROGRAM = """
import asyncio, sys, traceback
from irismq_runtime.node.process.signals import Signals

try:
    with Signals(asyncio.new_event_loop(), print, 130):
        while True:
            sys.stderr.write("x" * 4096)
except BaseException:
    traceback.print_exc(file=sys.stdout)  # nobody reads the other one
"""


def waiting_in(pipe: int) -> int:
    """Bytes that nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of Linux hold 64 KiB")
async def test_a_second_signal_in_the_middle_of_a_write_that_nobody_reads():
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=writer
    )
    os.close(writer)
    try:
        await until(lambda: waiting_in(reader) == 64 * 1024)
        process.send_signal(signal.SIGTERM)

        def ended_by_another() -> bool:
            # Python takes two that come at the same moment for one, so send on.
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            return process.returncode is not None

        await until(ended_by_another, at_leisure=True)
        output, _ = await process.communicate()
        assert (process.returncode, output.decode()) == (EXIT_FORCED, "")
    finally:
        os.close(reader)
        if process.returncode is None:
            process.kill()
            await process.wait()


PAIR = """
import asyncio, os, signal, sys
from irismq_runtime.node.process.signals import Signals

now = 0.0
loop = asyncio.new_event_loop()
told = []
with Signals(loop, told.append, 130, clock=lambda: now):
    for now in map(float, sys.argv[2:]):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
loop.run_until_complete(asyncio.sleep(0))
print(*told)
for _ in range(2):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))  # the other half of a pair, late
print("lives")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("times", "code", "said"),
    [
        (("0",), 0, "{name}\nlives\n"),
        (("0", "0.005"), 0, "{name}\nlives\n"),
        (("0", "0.005", "0.4", "0.99"), 0, "{name}\nlives\n"),
        (("0", "1.0"), EXIT_FORCED, ""),
        (("0", "0.005", "1.5"), EXIT_FORCED, ""),
    ],
)
async def test_a_second_signal_counts_when_a_person_can_have_meant_it(name, times, code, said):
    """148."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PAIR, name, *times, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (code, said.format(name=name))


@pytest.mark.parametrize(
    ("first", "now", "counts"), [(5.0, 5.0, False), (5.0, 5.99, False), (5.0, 6.0, True)]
)
def test_whether_a_signal_counts_is_a_decision_of_two_times(first, now, counts):
    assert counts_again(first, now) is counts


RUNS = """
import asyncio, os, signal
from irismq_runtime import run

async def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        os.kill(os.getpid(), signal.SIGINT)  # what a wrapper passes on
        await asyncio.sleep(0)
        print("drained")

try:
    run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


async def test_a_doubled_interrupt_does_not_cut_what_run_ends_in_order():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNS, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode() == "drained\ninterrupted\n"
