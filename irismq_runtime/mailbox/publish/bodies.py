"""What is published: bytes, not empty, and no larger than the broker takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from irismq_runtime.errors import MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OF_BROKER", "all_fit", "as_bytes"]

#: Whose limit it is.
OF_BROKER: Final = "the broker (nsqd's max-msg-size)"


def as_bytes(body: object) -> bytes:
    """Return a body as bytes. Raises `TypeError`."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise TypeError(f"a body is bytes, bytearray or memoryview, not {type(body).__name__}")


def all_fit(bodies: Iterable[object], limit: int) -> list[bytes]:
    """Return all bodies as bytes; `limit` in bytes.

    Raises `MessageTooLarge`, `ValueError` (empty) or `TypeError`; each names the index.
    """
    taken = list(bodies)
    for index, body in enumerate(taken):
        if type(body) is not bytes:
            try:
                taken[index] = as_bytes(body)
            except TypeError as error:
                raise TypeError(f"{error} (at index {index})") from None
    whole = cast("list[bytes]", taken)
    sizes = list(map(len, whole))
    if sizes and max(sizes) > limit:
        index = next(index for index, size in enumerate(sizes) if size > limit)
        raise MessageTooLarge(sizes[index], limit, limit_of=OF_BROKER, index=index)
    if 0 in sizes:
        raise ValueError(f"an empty message at index {sizes.index(0)}: NSQ has none")
    return whole
