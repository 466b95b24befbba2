"""What asyncpg and a server say, as the errors of the port: pure.

A *fault* is the store's: it is away, full, read only, or others were in the way. A *bad
value* is of the one who gave it. Anything else is our bug, and is raised as it is.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from irismq_runtime.errors import StoreUnavailable

__all__ = ["BAD_VALUE", "FAULTS", "fault_of", "reason_of"]

#: What is raised for a value that cannot be kept, by the driver or the server.
BAD_VALUE: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    OverflowError,
    ValueError,
)
#: What the driver raises for a connection that is of no use any more. The last one is its word for
#: one that broke in the middle of a statement and is used again.
_BROKEN: Final = (asyncpg.InterfaceError, OSError, EOFError, asyncpg.InternalClientError)
#: What may be a fault of the store; `fault_of` tells which. A `TimeoutError` is an `OSError`.
FAULTS: Final = (asyncpg.PostgresError, *_BROKEN)

_FULL: Final = {"53100", "53200"}
_READ_ONLY: Final = {"25006"}
_CONFLICT: Final = {"40001", "40P01", "55P03"}
#: Connection exceptions, no room for another connection, the operator's intervention
#: (a shutdown, a start that has not ended, a statement cancelled), a failing system.
_AWAY: Final = ("08", "53", "57", "58", "XX", "28", "3D")


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line, without what was sent."""
    text = str(error).partition("\n")[0]
    return text or type(error).__name__


def fault_of(store: str, error: Exception, *, committing: bool) -> StoreUnavailable | None:
    """The fault that `error` is; None: it is none of the store's.

    Args:
        store: Its URL, without a password.
        error: What was caught.
        committing: Whether the commit was on its way to the server. Then only what the
            server itself says of the commit is known.
    """
    code = getattr(error, "sqlstate", None) or ""
    reason = reason_of(error)
    if code in _FULL:
        return StoreUnavailable(store, "full", reason)
    if code in _READ_ONLY:
        return StoreUnavailable(store, "read only", reason)
    if code in _CONFLICT:
        return StoreUnavailable(store, "conflict", reason)
    lost = isinstance(error, _BROKEN) and not isinstance(error, asyncpg.DataError)
    if lost or code.startswith(_AWAY):
        return StoreUnavailable(store, "away", reason, "unknown" if committing else "not sent")
    return None
