"""A client of nsqd in plain sockets. It knows nothing of irismq.

One connection publishes, or consumes one channel, one message at a time.
Blocking, for one thread. Written from NSQ's TCP protocol V2: commands are lines,
a body has its 4-byte length before it; the answers are frames of a size, a type
(0 answer, 1 error, 2 message) and data.
"""

from __future__ import annotations

import os
import socket
import struct


class Nsqd:
    """A connection to the nsqd at `host`:`port`; raises `OSError` when it is silent."""

    def __init__(self, host: str, port: int, patience: float = 20.0) -> None:
        self._socket = socket.create_connection((host, port), patience)
        self._stream = self._socket.makefile("rb")
        self._socket.sendall(b"  V2")

    def publish(self, topic: str, body: bytes) -> None:
        """Store `body`; returns when nsqd has confirmed."""
        self._command(f"PUB {topic}", struct.pack(">I", len(body)) + body)
        self._frame(0)

    def subscribe(self, topic: str, channel: str) -> None:
        """Consume `channel`, with one message in hand at most."""
        self._command(f"SUB {topic} {channel}")
        self._frame(0)
        self._command("RDY 1")

    def forget(self, topic: str, producer: Nsqd) -> None:
        """Take what an earlier conversation left in the channel, up to a mark of our own."""
        mark = os.urandom(16)
        producer.publish(topic, mark)
        while self.take() != mark:
            pass

    def take(self) -> bytes:
        """Wait for a message, FINish it and return its body."""
        data = self._frame(2)  # 8 bytes of time, 2 of attempts, 16 of id, the body
        self._socket.sendall(b"FIN " + data[10:26] + b"\n")
        return data[26:]

    def close(self) -> None:
        """End it; nothing is in hand between two calls."""
        self._stream.close()
        self._socket.close()

    def _command(self, line: str, body: bytes = b"") -> None:
        self._socket.sendall(line.encode() + b"\n" + body)

    def _frame(self, wanted: int) -> bytes:
        while True:
            size, kind = struct.unpack(">II", self._stream.read(8))
            data = self._stream.read(size - 4)
            if (kind, data) == (0, b"_heartbeat_"):
                self._command("NOP")
            elif kind == wanted:
                return data
            else:
                raise ConnectionError(f"nsqd says {data.decode()}")
