"""The one error of the NSQ protocol, for both directions and both roles.

It says which NSQ code the fault has, whether the connection can go on, and
which records were decoded before it, so that none of them is lost with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NON_FATAL_CODES", "InvalidName", "NsqProtocolError"]

#: Every other code means that nsqd closes the connection after the error frame.
NON_FATAL_CODES = frozenset({"E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"})


class NsqProtocolError(Exception):
    """Bytes or arguments that are not the NSQ protocol V2.

    Fields: `code` (the code that nsqd answers with; empty when nsqd closes
    without an error frame), `reason` (one line), `hint` (what to do about it,
    or empty), `fatal` (whether the connection is of no more use) and `records`
    (what came whole before the fault, in order).
    """

    def __init__(
        self,
        reason: str,
        *,
        code: str = "E_INVALID",
        hint: str = "",
        records: Sequence[Any] = (),
    ) -> None:
        self.code = code
        self.reason = reason
        self.hint = hint
        self.fatal = code not in NON_FATAL_CODES
        self.records = list(records)
        text = f"{code} {reason}" if code else reason
        super().__init__(f"{text} ({hint})" if hint else text)


class InvalidName(NsqProtocolError, ValueError):
    """A topic or channel name that nsqd would refuse.

    Fields: `kind` ("topic" or "channel") and `name` (as it was given).
    """

    def __init__(self, kind: str, name: object, reason: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(
            f"{kind} name {name!r} is not valid: {reason}",
            code="E_BAD_TOPIC" if kind == "topic" else "E_BAD_CHANNEL",
        )
