"""What is wrong with a tree, in OTP's words.

`SpecError` is the caller's fault and raised before anything starts: `reason` is
OTP's tag, `value` what was given, and the text says what to give instead.
Requests to a running supervisor are refused with `actors.Refused`, whose `code`
is the tag (`not_found`, `already_started`, ...): the supervisor lives on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import ActorError
from actors.texts import repr_of

if TYPE_CHECKING:
    from actors import Exit

__all__ = ["ChildStartFailed", "RestartLimitReached", "SpecError"]


class SpecError(ValueError):
    """A child or supervisor specification that cannot be started. Fatal, the caller's fault.

    Attributes:
        reason: OTP's tag, for example `duplicate_child_name` or `bad_combination`.
        value: what was given.
        child: the name of the child concerned, if one is.
    """

    def __init__(self, reason: str, value: object, hint: str, *, child: str | None = None) -> None:
        where = f"child {child!r}: " if child is not None else ""
        super().__init__(f"{where}{reason} {_short(value)}: {hint}")
        self.reason = reason
        self.value = value
        self.child = child


class ChildStartFailed(ActorError):
    """A supervisor did not start because a child did not, or was restarted too often.

    The children before it have been stopped again. `__cause__` is the child's error.

    Attributes:
        supervisor: the name of the supervisor.
        child: the name of the child.
        reason: `start_failed`, `intensity` or `auto_shutdown`.
        exit: how the child ended, where that is known.
    """

    def __init__(self, supervisor: str, child: str, reason: str, cause: Exit | None) -> None:
        words = {
            "start_failed": "did not start",
            "intensity": "was restarted too often during the first start",
            "auto_shutdown": "ended during the first start",
        }
        super().__init__(
            f"{supervisor}: child {child!r} {words.get(reason, reason)}: {cause or 'ended'}"
        )
        self.supervisor = supervisor
        self.child = child
        self.reason = reason
        self.exit = cause


class RestartLimitReached(ActorError):
    """A supervisor has given up: its children were restarted too often.

    It is the `error` of the supervisor's `Exit`, whose reason is `shutdown` as in OTP.
    `__cause__` is the error of the child's last death.

    Attributes:
        supervisor: the name of the supervisor.
        child: the name of the child that passed the limit.
        exit: how that child ended.
    """

    def __init__(self, supervisor: str, child: str, limit: str, cause: Exit | None) -> None:
        super().__init__(f"{supervisor} gave up, more than {limit}: child {child!r}: {cause}")
        self.supervisor = supervisor
        self.child = child
        self.exit = cause


def _short(value: object) -> str:
    text = repr_of(value)
    return text if len(text) <= 120 else text[:117] + "..."
