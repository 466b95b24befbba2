"""The span of something that is sent: around its packing, and to its end.

Used only when tracing is on; a `sending` of None (not sampled) needs no case of its own.
What cannot be packed or is refused at the call ends its span there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.observe.tracing import Sending

__all__ = ["packing", "spanning"]


@contextmanager
def packing(sending: Sending | None) -> Iterator[None]:
    """End the span if this raises; otherwise it is ended later, by what comes of it."""
    try:
        yield
    except BaseException as error:
        if sending is not None:  # who stops reading a stream has not failed
            sending.end(None if isinstance(error, GeneratorExit) else error)
        raise


@contextmanager
def spanning(sending: Sending | None) -> Iterator[None]:
    """End the span with this, for what nobody confirms."""
    with packing(sending):
        yield
    if sending is not None:
        sending.end()
