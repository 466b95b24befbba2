"""A buffer for the pieces of a byte stream, until enough of them are there.

A decoder says how many bytes it needs before it can go on; until they are
there, pieces are only listed, never joined, so that a large record that comes
in small pieces costs one copy in all, however it was cut. The caller checks
the size of a record against its cap before it asks for that many bytes.
"""

from __future__ import annotations

__all__ = ["ByteBuffer"]


class ByteBuffer:
    """Bytes of a stream that are not yet a whole record.

    One turn is: `push` what came; when it returns a buffer, take the whole
    records out of it and `keep` the rest with the count needed to go on.
    """

    __slots__ = ("_need", "_parts", "_size")

    def __init__(self, need: int = 1) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._need = need

    def __len__(self) -> int:
        """How many bytes wait here."""
        return self._size

    def push(self, data: bytes) -> bytes | None:
        """Add `data`; everything that waits as one buffer, or None if too short.

        A returned buffer is no longer held here. `data` that is already `bytes`
        and suffices alone is returned as it is, without a copy.
        """
        size = self._size + len(data)
        if size < self._need:
            if data:
                self._parts.append(bytes(data))
                self._size = size
            return None
        if not self._parts:
            return data if type(data) is bytes else bytes(data)
        self._parts.append(data)
        whole = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return whole

    def keep(self, rest: bytes, need: int) -> None:
        """Hold `rest` until at least `need` bytes are there, `rest` included."""
        self._parts = [rest] if rest else []
        self._size = len(rest)
        self._need = need

    def take(self) -> bytes:
        """Everything that waits, whole record or not; nothing is held after."""
        rest = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return rest
