"""Frames: what nsqd sends. The server encodes them, the client decodes them.

A frame is int32 size (of what follows), int32 type, data, big-endian. Type 0 is
a response, 1 an error (`CODE text`), 2 a message: int64 timestamp (ns), uint16
attempts, 16 bytes of id, body. The decoder reads thousands of messages out of
one buffer without a copy except of id and body. A size or type that cannot be
is refused when its 8 bytes are there, before anything waits for the rest.
"""

from __future__ import annotations

import struct
import sys
from typing import Final, NamedTuple

import msgspec
from nsq import protocol as pynsq

from irismq_runtime.protocols.buffer import ByteBuffer
from irismq_runtime.protocols.nsq.errors import NON_FATAL_CODES, NsqProtocolError

__all__ = [
    "CLOSE_WAIT",
    "DEFAULT_MAX_FRAME",
    "HEARTBEAT",
    "HEARTBEAT_FRAME",
    "MESSAGE_OVERHEAD",
    "OK",
    "OK_FRAME",
    "ErrorFrame",
    "Frame",
    "FrameDecoder",
    "Heartbeat",
    "Message",
    "Response",
    "encode_error",
    "encode_message",
    "encode_response",
]

#: nsqd's message limit is a setting (1 MiB unless changed), so this is only a
#: bound on what a peer can make us hold.
DEFAULT_MAX_FRAME: Final = 16 * 1024 * 1024
#: Bytes of a message frame besides the body.
MESSAGE_OVERHEAD: Final = 34
OK: Final = b"OK"
CLOSE_WAIT: Final = b"CLOSE_WAIT"

_BEAT = b"_heartbeat_"
_RESPONSE: int = pynsq.FRAME_TYPE_RESPONSE
_ERROR: int = pynsq.FRAME_TYPE_ERROR
_MESSAGE: int = pynsq.FRAME_TYPE_MESSAGE
_HEAD = struct.Struct(">ii")
_MESSAGE_HEAD = struct.Struct(">iiqH16s")


class Message(msgspec.Struct, frozen=True, gc=False):
    """One delivery: when nsqd took it (ns), which attempt, its id, its body."""

    timestamp: int
    attempts: int
    id: bytes
    body: bytes


class Response(NamedTuple):
    """The answer to the oldest unanswered command that is answered at all."""

    data: bytes


class ErrorFrame(NamedTuple):
    """An error that nsqd reports; after a fatal one it closes the connection."""

    code: str
    text: str

    @property
    def fatal(self) -> bool:
        """Whether the connection is closed after this frame."""
        return self.code not in NON_FATAL_CODES


class Heartbeat(NamedTuple):
    """A heartbeat, to be answered by any command, `NOP` at least."""


HEARTBEAT: Final = Heartbeat()

Frame = Message | Response | ErrorFrame | Heartbeat

_SPEAKERS = (
    (b"HTTP/", "an HTTP server answers: is this nsqd's HTTP port (4151) instead of TCP (4150)?"),
    (b"iris-relay", "an Iris relay answers: give the NSQ port (4150) here"),
    (b"INFO {", "a NATS server answers: give nsqd's TCP port (4150) here"),
    (b"SSH-", "an SSH server answers: give nsqd's TCP port (4150) here"),
    (b"-ERR", "a Redis server answers: give nsqd's TCP port (4150) here"),
    (b"\x15\x03", "the peer speaks TLS from the first byte; nsqd upgrades after IDENTIFY"),
)


class FrameDecoder:
    """The client's ear: `feed` it what the socket brought, get frames.

    After it has raised `NsqProtocolError` the stream has no more meaning; every
    further `feed` raises the same error, without the records of the first.
    """

    __slots__ = ("_buffer", "_fault", "_max_frame")

    def __init__(self, max_frame: int = DEFAULT_MAX_FRAME) -> None:
        self._buffer = ByteBuffer(_HEAD.size)
        self._max_frame = max_frame
        self._fault: NsqProtocolError | None = None

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def take_rest(self) -> bytes:
        """The bytes after the last whole frame, given up by the decoder.

        For the moment of an upgrade (TLS, deflate): they are in the new coding.
        """
        rest = self._buffer.take()
        self._buffer.keep(b"", _HEAD.size)
        return rest

    def feed(self, data: bytes, most: int = sys.maxsize) -> list[Frame]:
        """The frames that `data` completes, in order, and no more than `most`.

        What lies behind them waits for the next `feed` (of nothing, if need be)
        or for `take_rest`: in the moment of an upgrade read one frame at a time.
        Raises `NsqProtocolError`; its `records` are the frames before the fault.
        """
        if self._fault is not None:
            raise NsqProtocolError(self._fault.reason, code="", hint=self._fault.hint)
        buffer = self._buffer.push(data)
        if buffer is None:
            return []
        return self._decode_untrusted(buffer, most)

    def _decode_untrusted(self, buffer: bytes, most: int) -> list[Frame]:
        frames: list[Frame] = []
        append = frames.append
        head, message_head = _HEAD.unpack_from, _MESSAGE_HEAD.unpack_from
        max_frame = self._max_frame
        position, end = 0, len(buffer)
        need = _HEAD.size
        while end - position >= 8:
            if end - position >= 34:
                size, kind, timestamp, attempts, message_id = message_head(buffer, position)
            else:
                size, kind = head(buffer, position)
            following = position + 4 + size
            if kind == 2 and 30 <= size <= max_frame:
                if following > end:
                    need = 4 + size
                    break
                body = buffer[position + 34 : following]
                append(Message(timestamp, attempts, message_id, body))
            elif 4 <= size <= max_frame and 0 <= kind <= 1:
                if following > end:
                    need = 4 + size
                    break
                append(_record(kind, buffer[position + 8 : following]))
            else:
                raise self._broken(buffer[position:], size, kind, frames)
            position = following
            if most <= len(frames):
                break
        self._buffer.keep(buffer[position:] if position else buffer, need)
        return frames

    def _broken(self, rest: bytes, size: int, kind: int, frames: list[Frame]) -> NsqProtocolError:
        if not 4 <= size <= self._max_frame:
            reason = f"frame of {size} bytes, 4 to {self._max_frame} are possible"
        elif kind == _MESSAGE:
            reason = f"message frame of {size} bytes, at least 30 are needed"
        else:
            reason = f"frame type {kind}, 0 to 2 are known"
        start = rest[:64]
        hint = next((text for mark, text in _SPEAKERS if mark in start), "")
        self._fault = NsqProtocolError(
            f"not an NSQ stream: {reason}; it goes on with {start[:16]!r}",
            code="",
            hint=hint,
            records=frames,
        )
        return self._fault


def _record(kind: int, data: bytes) -> Frame:
    if kind == _RESPONSE:
        return HEARTBEAT if data == _BEAT else Response(data)
    code, _, text = data.decode("utf-8", "backslashreplace").partition(" ")
    return ErrorFrame(code, text)


def encode_response(data: bytes) -> bytes:
    """A response frame (server's side)."""
    return _HEAD.pack(len(data) + 4, _RESPONSE) + data


def encode_error(code: str, text: str = "") -> bytes:
    """An error frame (server's side)."""
    data = f"{code} {text}".rstrip().encode("utf-8", "backslashreplace")
    return _HEAD.pack(len(data) + 4, _ERROR) + data


def encode_message(timestamp: int, attempts: int, message_id: bytes, body: bytes) -> bytes:
    """A message frame (server's side). `attempts` stays at 65535 once there."""
    head = _MESSAGE_HEAD.pack(
        len(body) + 30, _MESSAGE, timestamp, min(attempts, 0xFFFF), message_id
    )
    return head + body


OK_FRAME: Final = encode_response(OK)
HEARTBEAT_FRAME: Final = encode_response(_BEAT)
