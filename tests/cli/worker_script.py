"""A worker process as small as one can be: it speaks to its parent, and does what its name says.

Started as `python worker_script.py KIND`, without an installed package.
"""

import os
import signal
import socket
import sys

kind = sys.argv[1]
number = os.environ["IRISMQ_WORKER"].split(":")[0]
if kind == "broken":
    sys.exit(3)
if kind == "broken-later" and os.path.exists(sys.argv[2]):  # noqa: PTH110  # it starts soon
    sys.exit(3)
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = bytearray(64 << 20) if kind == "grown" and number == "1" else b""
parent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
if kind != "never-ready":
    parent.sendto(b"STATUS=ready\nREADY=1", os.environ["NOTIFY_SOCKET"])
while True:
    signal.pause()
