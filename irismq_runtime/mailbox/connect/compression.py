"""The codings of an upgraded stream: raw deflate and framed snappy. Pure.

Each written piece is flushed to a byte boundary, so that nothing waits in the
coder until the next heartbeat is written. Decoding gives bounded pieces: a peer
that sends a bomb is paid for piece by piece, not all at once.
"""

from __future__ import annotations

import importlib
import zlib
from typing import TYPE_CHECKING, Any, Protocol

from irismq_runtime.protocols.nsq import NsqProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Coding", "Deflate", "Snappy", "coding"]

PIECE = 1024 * 1024


class Coding(Protocol):
    """Both directions of one connection."""

    def encode(self, data: bytes) -> bytes:
        """The bytes to write for `data`, complete as they stand."""
        ...

    def decode_untrusted(self, data: bytes) -> Iterator[bytes]:
        """What `data` brings, in pieces. Raises `NsqProtocolError`."""
        ...


class Deflate:
    """Raw deflate (no zlib header), as Go's compress/flate writes it."""

    __slots__ = ("_in", "_out")

    def __init__(self, level: int) -> None:
        self._out = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._in = zlib.decompressobj(-zlib.MAX_WBITS)

    def encode(self, data: bytes) -> bytes:
        """Compress and flush."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def decode_untrusted(self, data: bytes) -> Iterator[bytes]:
        """Decompress, at most `PIECE` bytes at a time."""
        rest = data
        while rest:
            try:
                piece = self._in.decompress(rest, PIECE)
            except zlib.error as error:
                raise NsqProtocolError(f"broken deflate stream: {error}", code="") from error
            rest = self._in.unconsumed_tail
            if piece:
                yield piece
            if self._in.eof:
                return


class Snappy:
    """Snappy's framing format, by the package python-snappy (an extra)."""

    __slots__ = ("_in", "_out")

    def __init__(self) -> None:
        snappy: Any = importlib.import_module("snappy")
        self._out: Any = snappy.StreamCompressor()
        self._in: Any = snappy.StreamDecompressor()

    def encode(self, data: bytes) -> bytes:
        """Compress; every chunk of the framing stands alone."""
        return bytes(self._out.add_chunk(data))

    def decode_untrusted(self, data: bytes) -> Iterator[bytes]:
        """Decompress; the framing bounds each chunk to 64 KiB."""
        try:
            piece = bytes(self._in.decompress(data))
        except Exception as error:  # python-snappy raises plain exceptions of several kinds
            raise NsqProtocolError(f"broken snappy stream: {error}", code="") from error
        if piece:
            yield piece


def coding(name: str, level: int) -> Coding:
    """The coding that nsqd granted."""
    return Snappy() if name == "snappy" else Deflate(level)
