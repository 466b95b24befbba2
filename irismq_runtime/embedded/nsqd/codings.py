"""The codings under the protocol: TLS and deflate, as bytes in and bytes out.

Each starts in the middle of a stream, after IDENTIFY, so what was read behind
the command is already in the new coding; working on bytes, that needs no care.
Order: TLS first, deflate inside it. Functions fed by the network raise only
`CodingError`. A deflated chunk is unpacked in steps, so that a few bytes cannot
make us hold gigabytes.
"""

from __future__ import annotations

import ssl
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CodingError", "DeflateCoding", "TlsCoding"]

_CHUNK = 256 * 1024


class CodingError(Exception):
    """The peer's bytes are not in the coding that was agreed."""


class TlsCoding:
    """The server's side of TLS over two memory buffers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: Whether the handshake is over.
        self.ready = False
        #: Whether the peer has said that no more is coming.
        self.ended = False

    def decode_untrusted(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes in `data`. Raises `CodingError`.

        There may be bytes for the peer after each step: see `outgoing`.
        """
        if data:
            self._incoming.write(data)
        try:
            if not self.ready:
                self._tls.do_handshake()
                self.ready = True
            while plain := self._tls.read(_CHUNK):
                yield plain
            self.ended = True
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
        except ssl.SSLError as error:
            raise CodingError(f"TLS: {error.reason or error}") from error

    def encode(self, plain: bytes) -> bytes:
        """The bytes to send for `plain`."""
        self._tls.write(plain)
        return self._outgoing.read()

    def outgoing(self) -> bytes:
        """What TLS itself has to say (handshake, alerts)."""
        return self._outgoing.read()

    def closing_bytes(self) -> bytes:
        """Say that no more is coming (close_notify)."""
        if self.ready:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                # It waits for the peer's own end, which nobody needs.
                return self._outgoing.read()
        return self._outgoing.read()

    def facts(self) -> dict[str, Any]:
        """The statistics' fields."""
        cipher = self._tls.cipher()
        version = (self._tls.version() or "").replace("TLSv", "TLS")
        return {
            "tls": self.ready,
            "tls_cipher_suite": cipher[0] if cipher else "",
            "tls_version": version,
        }

    def common_name(self) -> str:
        """The common name of the client's certificate, or nothing."""
        certificate = self._tls.getpeercert() if self.ready else None
        subject: Any = (certificate or {}).get("subject", ())
        return next((value for rdn in subject for key, value in rdn if key == "commonName"), "")


class DeflateCoding:
    """Raw deflate (no header), flushed after every write so that nothing waits."""

    def __init__(self, level: int) -> None:
        self._packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)

    def decode_untrusted(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes in `data`, a bounded piece at a time. Raises `CodingError`."""
        while data:
            try:
                plain = self._unpacker.decompress(data, _CHUNK)
            except zlib.error as error:
                raise CodingError(f"deflate: {error}") from error
            if plain:
                yield plain
            if self._unpacker.eof:
                return
            data = self._unpacker.unconsumed_tail

    def encode(self, plain: bytes) -> bytes:
        """The bytes to send for `plain`."""
        return self._packer.compress(plain) + self._packer.flush(zlib.Z_SYNC_FLUSH)
