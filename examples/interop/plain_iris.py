"""A client of an Iris relay in plain sockets. It knows nothing of irismq.

One connection is a member of `cluster`, or with "" a client alone. Blocking, for
one thread. Written from the relay protocol v1.0-draft2: a packet is an opcode
byte and its fields; integers are base-128 varints, texts and bytes have their
length before them.
"""

from __future__ import annotations

import secrets
import select
import socket
from collections import deque
from typing import Any

INIT, DENY, CLOSE, BROADCAST, REQUEST, REPLY, SUBSCRIBE, UNSUBSCRIBE, PUBLISH = range(9)
TUNNEL_INIT, TUNNEL_CONFIRM, TUNNEL_ALLOW, TUNNEL_TRANSFER, TUNNEL_CLOSE = range(9, 14)

#: What the relay sends: v varint, s text, b bytes, ? bool. After a bool that is
#: true (a timeout) comes nothing more.
FIELDS = {
    INIT: "ss", DENY: "ss", CLOSE: "s", BROADCAST: "b", REQUEST: "vbv", REPLY: "v??b",
    PUBLISH: "sb", TUNNEL_INIT: "vv", TUNNEL_CONFIRM: "v?v", TUNNEL_ALLOW: "vv",
    TUNNEL_TRANSFER: "vvb", TUNNEL_CLOSE: "vs",
}  # fmt: skip


class FaultError(Exception):
    """The member answered with a fault, or nobody answered in time."""


class Relay:
    """A connection to the relay at `host`:`port`; raises `OSError` when it is silent."""

    def __init__(self, host: str, port: int, cluster: str = "", patience: float = 20.0) -> None:
        self._socket = socket.create_connection((host, port), patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        self._kept: deque[tuple[int, list[Any]]] = deque()
        self._last_id = 0
        #: An event of this connection's own, by which it knows that it is subscribed.
        self._mark = secrets.token_bytes(16)
        self.send(INIT, "iris-client-magic", "v1.0-draft2", cluster)
        opcode, fields = self._read()
        if opcode != INIT:
            raise FaultError(f"the relay refused: {fields[1]}")

    def send(self, opcode: int, *fields: str | bytes | int | bool) -> None:
        """Send one packet."""
        self._socket.sendall(bytes([opcode]) + b"".join(map(_encoded, fields)))

    def subscribe(self, topic: str) -> None:
        """Subscribe, and wait until events arrive: Iris loses those of the first moment.

        There is no answer to it, so an event of one's own is published until it comes back.
        """
        self.send(SUBSCRIBE, topic)
        while True:
            self.send(PUBLISH, topic, self._mark)
            if select.select([self._socket], [], [], 0.05)[0]:
                return

    def new_id(self) -> int:
        """Return an id for a request or a tunnel of this connection."""
        self._last_id += 1
        return self._last_id

    def next(self, *opcodes: int) -> list[Any]:
        """Return the fields of the next packet of these kinds; others wait their turn."""
        for index, (opcode, fields) in enumerate(self._kept):
            if opcode in opcodes:
                del self._kept[index]
                return fields
        while True:
            opcode, fields = self._read()
            if opcode == PUBLISH and fields[1] == self._mark:
                continue
            if opcode in opcodes:
                return fields
            self._kept.append((opcode, fields))

    def request(self, cluster: str, body: bytes, timeout: float = 5.0) -> bytes:
        """Ask one member; raises `FaultError`."""
        own = self.new_id()
        self.send(REQUEST, own, cluster, body, int(timeout * 1000))
        while True:
            of, late, *rest = self.next(REPLY)
            if of != own:
                continue  # of a request that was given up
            if late:
                raise FaultError(f"{cluster} did not answer in time")
            good, answer = rest
            if not good:
                raise FaultError(answer.decode())
            return bytes(answer)

    def reply(self, request_id: int, answer: bytes) -> None:
        """Answer a request that `next(REQUEST)` gave."""
        self.send(REPLY, request_id, True, answer)

    def fail(self, request_id: int, fault: str) -> None:
        """Answer it with a fault."""
        self.send(REPLY, request_id, False, fault)

    def close(self) -> None:
        """Leave in order: what was sent before arrives."""
        self.send(CLOSE)
        self.next(CLOSE)
        self._stream.close()
        self._socket.close()

    def _read(self) -> tuple[int, list[Any]]:
        opcode = self._exactly(1)[0]
        fields: list[Any] = []
        for position, kind in enumerate(FIELDS[opcode]):
            if kind == "v":
                fields.append(self._varint())
            elif kind == "?":
                fields.append(self._exactly(1) == b"\x01")
                if fields[-1] and position == 1:
                    break
            else:
                data = self._exactly(self._varint())
                fields.append(data.decode() if kind == "s" else data)
        return opcode, fields

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._exactly(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ConnectionError("the relay has closed the connection")
        return data


def _encoded(field: str | bytes | int | bool) -> bytes:
    if isinstance(field, bool):
        return bytes([field])
    if isinstance(field, int):
        low, rest = field & 127, field >> 7
        return bytes([low | 128]) + _encoded(rest) if rest else bytes([low])
    data = field.encode() if isinstance(field, str) else field
    return _encoded(len(data)) + data
