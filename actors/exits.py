"""How an actor ended: `Exit`, and the `Terminated` message that carries it.

A death is reported with its cause, its time, the type of the current message
and the number of restarts before it, wherever it is reported. The words for
reasons are OTP's where OTP has one. This file knows no actor and no loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from actors.texts import line_of

if TYPE_CHECKING:
    from pykka import ActorRef

__all__ = ["Exit", "ExitReason", "Terminated"]

ExitReason: TypeAlias = Literal["normal", "shutdown", "killed", "crash", "start_failed", "noproc"]


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one incarnation, or of the slot itself.

    `reason` is "normal" (the actor stopped itself, or was asked to by its
    ref), "shutdown" (its supervisor or the system ended it), "killed" (it did
    not end in the time given, and was cancelled or abandoned), "crash" (an
    exception left a handler), "start_failed" (it left the constructor or
    `on_start`) or "noproc" (there never was such an actor). `time` is on the
    system's monotonic clock, `wall` is seconds since the epoch. `charged`: a crash that
    the message in hand answers for (`InboxItem.charged`), and not the actor: a supervisor
    restarts it, and counts that not against it.
    """

    reason: ExitReason
    error: BaseException | None = None
    message_type: str | None = None
    time: float = 0.0
    wall: float = 0.0
    restarts: int = 0
    charged: bool = False

    @property
    def abnormal(self) -> bool:
        """True unless the reason is one that OTP does not report as an error."""
        return self.reason not in ("normal", "shutdown")

    @property
    def cause(self) -> str:
        """The error's class and what it says, as text that can be sent; "" without an error."""
        return "" if self.error is None else line_of(self.error)

    def __str__(self) -> str:
        parts: list[str] = [self.reason]
        if self.error is not None:
            parts.append(f"({self.cause})")
        if self.message_type is not None:
            parts.append(f"while handling {self.message_type}")
        if self.restarts:
            parts.append(f"after {self.restarts} restart{'s' if self.restarts > 1 else ''}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Terminated:
    """The message that a watcher gets when the watched actor has ended.

    A restart is not an end. `ref` is what was given to `watch`; `exit` is the
    cause.
    """

    ref: ActorRef[Any]
    exit: Exit
