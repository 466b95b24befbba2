"""What a supervisor is told, and what it answers with: plain records.

Events go into `_decisions.decide`, actions come out of it, and the thin actor in
`supervisor.py` carries them out in the order given. `token` names a request that
somebody waits for; each token is answered exactly once, by `Answer` or `Refuse`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from actors import Exit
    from supervisors.spec import ChildSpec, Shutdown

__all__ = [
    "Action",
    "Answer",
    "Boot",
    "Booted",
    "Close",
    "DeleteChild",
    "Died",
    "End",
    "Event",
    "Finish",
    "Ignored",
    "Kill",
    "Note",
    "Refuse",
    "RestartChild",
    "Retry",
    "RetryDue",
    "Start",
    "StartChild",
    "StartFailed",
    "Started",
    "Stop",
    "StopAll",
    "Stopped",
    "TerminateChild",
    "Verdict",
]


# --- events ---------------------------------------------------------------------------


class Boot(NamedTuple):
    """Start the children in order."""


class Started(NamedTuple):
    """The start of that generation has finished."""

    name: str
    generation: int


class Ignored(NamedTuple):
    """The child had nothing to do and said "ignore" instead of starting."""

    name: str
    generation: int


class StartFailed(NamedTuple):
    """The start of that generation has failed."""

    name: str
    generation: int
    exit: Exit


class Died(NamedTuple):
    """A child ended on its own."""

    name: str
    generation: int
    exit: Exit


class Stopped(NamedTuple):
    """A child ended because it was told to."""

    name: str
    generation: int
    exit: Exit


class RetryDue(NamedTuple):
    """The time of a child's next try has come."""

    name: str
    generation: int


class StartChild(NamedTuple):
    """Request: add this child and start it."""

    token: int
    spec: ChildSpec


class TerminateChild(NamedTuple):
    """Request: stop this child, keep it listed."""

    token: int
    name: str


class RestartChild(NamedTuple):
    """Request: start a child that is listed without an actor."""

    token: int
    name: str


class DeleteChild(NamedTuple):
    """Request: take a child that is listed without an actor off the list."""

    token: int
    name: str


class Close(NamedTuple):
    """Stop all children, each as its `shutdown` says, and finish."""


class Kill(NamedTuple):
    """The supervisor itself is cut off: end all children at once and finish."""


Event: TypeAlias = (
    Boot
    | Started
    | Ignored
    | StartFailed
    | Died
    | Stopped
    | RetryDue
    | StartChild
    | TerminateChild
    | RestartChild
    | DeleteChild
    | Close
    | Kill
)


# --- actions --------------------------------------------------------------------------


class Start(NamedTuple):
    """Start the next incarnation of a child; make its slot if it has none."""

    name: str
    generation: int
    spec: ChildSpec


class Stop(NamedTuple):
    """Stop one child."""

    name: str
    generation: int
    shutdown: Shutdown


class StopAll(NamedTuple):
    """Stop many children at the same time, with one timer for each length of time."""

    stops: tuple[Stop, ...]


class End(NamedTuple):
    """Close the slot of a child for good: what waits in it becomes dead letters."""

    name: str
    exit: Exit | None


class Retry(NamedTuple):
    """Send `RetryDue` after the delay that the backoff gives for so many failures."""

    name: str
    generation: int
    failures: int


class Answer(NamedTuple):
    """The request has been carried out."""

    token: int
    name: str


class Refuse(NamedTuple):
    """The request is refused; `reason` is OTP's tag."""

    token: int
    name: str
    reason: str
    exit: Exit | None = None


class Note(NamedTuple):
    """Write a report: `event` is its name, `reason` OTP's word for why."""

    event: Literal["progress", "child_terminated", "start_error", "shutdown", "shutdown_error"]
    context: str
    reason: str
    child: str
    spec: ChildSpec
    exit: Exit | None = None


class Booted(NamedTuple):
    """All children have been started."""


class Verdict(NamedTuple):
    """Why a supervisor ends.

    `asked` (its own stop), `killed`, `start_failed`, `intensity` (the limit of
    restarts is passed) or `auto_shutdown`; the child that brought it about.
    """

    reason: Literal["asked", "killed", "start_failed", "intensity", "auto_shutdown"]
    child: str | None = None
    exit: Exit | None = None


class Finish(NamedTuple):
    """No child is left: the supervisor ends with this verdict."""

    verdict: Verdict


Action: TypeAlias = Start | Stop | StopAll | End | Retry | Answer | Refuse | Note | Booted | Finish
