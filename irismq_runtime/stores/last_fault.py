"""What the last calls say of a store, for its health: nothing is asked for it.

A fault stands until a call shows that it is over: whatever is done, after the store was
away; something written, after it could not be written. What only one caller was in the
way of says nothing of the store.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.errors import StoreFault

__all__ = ["LastFault"]

_OF_ONE_CALLER: Final[frozenset[StoreFault]] = frozenset({"conflict", "ended", "late"})


class LastFault:
    """The last fault of a store that is not known to be over."""

    def __init__(self) -> None:
        self._fault: StoreUnavailable | None = None

    @contextmanager
    def noticing(self, *, writing: bool) -> Iterator[None]:
        """Remember what a call ends with; `writing`: whether it writes when it ends well."""
        try:
            yield
        except StoreUnavailable as fault:
            if fault.kind not in _OF_ONE_CALLER:
                self._fault = fault
            raise
        if self._fault is not None and (writing or self._fault.kind == "away"):
            self._fault = None

    def health(self) -> TransportHealth:
        """See `StateStore.health`."""
        return WELL if self._fault is None else TransportHealth(ok=False, reason=str(self._fault))
