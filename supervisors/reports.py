"""One structured report for each thing that happened in a tree.

The words are OTP's: supervisor, context, reason, offender. A report goes to the
observers as the event `supervisor.<event>` (field `report`) and to the logger
`supervisors`, as one line and, whole, as the attribute `report` of the record.
Message bodies and arguments of actors are never in it.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from actors.texts import class_name, exc_info_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import Events, Exit
    from supervisors._events import Note
    from supervisors.spec import ChildSpec, Shutdown

__all__ = ["Offender", "Report", "exit_dict"]

logger = logging.getLogger("supervisors")

#: The line of each event: constant, so that what groups log lines by it groups rightly.
TEMPLATES: Final[Mapping[str, str]] = {
    "progress": "%s: child %r (%s) started",
    "child_terminated": "%s: child %r (%s) ended: %s",
    "start_error": "%s: child %r (%s) did not start: %s",
    "shutdown": "%s: child %r (%s) was restarted too often, giving up: %s",
    "shutdown_error": "%s: child %r (%s) did not stop as asked: %s",
}


@dataclass(frozen=True, slots=True)
class Offender:
    """The child that a report is about. `ref` is the name of its slot, if it has one."""

    name: str
    actor_class: str
    ref: str | None
    kind: Literal["supervisor", "worker"]
    restart: str
    shutdown: Shutdown
    significant: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What happened, to whom, in whose tree. `time` is monotonic seconds.

    `event` is `progress`, `child_terminated`, `start_error`, `shutdown` (the limit of
    restarts is passed) or `shutdown_error`; `context` and `reason` are OTP's words.
    `restarts` counts the starts of the child after its first; `exit` is how it ended.
    """

    event: str
    supervisor: str
    context: str
    reason: str
    offender: Offender
    restarts: int
    time: float
    exit: Exit | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values that JSON can carry."""
        plain = asdict(self.offender)
        return {
            "event": self.event,
            "supervisor": self.supervisor,
            "context": self.context,
            "reason": self.reason,
            "offender": plain,
            "restarts": self.restarts,
            "time": self.time,
            "exit": exit_dict(self.exit),
        }

    def __str__(self) -> str:
        return TEMPLATES[self.event] % self.arguments

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the template of the event takes."""
        who = (self.supervisor, self.offender.name, self.offender.actor_class)
        return who if self.event == "progress" else (*who, self._cause())

    def _cause(self) -> str:
        return self.reason if self.exit is None else str(self.exit)


def exit_dict(exit_: Exit | None) -> dict[str, Any] | None:
    """An `Exit` as plain values: the error by its type and a shortened text."""
    if exit_ is None:
        return None
    error = exit_.error
    return {
        "reason": exit_.reason,
        "error": None if error is None else class_name(error),
        "text": None if error is None else _shortened(error),
        "message_type": exit_.message_type,
        "time": exit_.time,
        "wall": exit_.wall,
        "restarts": exit_.restarts,
    }


def _shortened(error: BaseException) -> str:
    text = text_of(error)
    return text if len(text) <= 500 else text[:497] + "..."


def offender_of(spec: ChildSpec, ref: str | None) -> Offender:
    """What a report says of a child."""
    return Offender(
        name=spec.name,
        actor_class=spec.actor_class.__qualname__,
        ref=ref,
        kind=spec.kind,
        restart=spec.restart,
        shutdown=spec.stop_within,
        significant=spec.significant,
    )


def is_heard(events: Events) -> bool:
    """Whether anybody would see a report of progress."""
    return events.active or logger.isEnabledFor(logging.DEBUG)


def publish(report: Report, events: Events) -> None:
    """Give the report to the observers and to the log."""
    if events.active:
        events.emit(f"supervisor.{report.event}", report=report)
    level = logging.DEBUG if report.event == "progress" else logging.ERROR
    if logger.isEnabledFor(level):
        error = report.exit.error if report.exit is not None else None
        # The trace belongs to the first report of a death; the give-up repeats it.
        told = error is not None and report.event in {"child_terminated", "start_error"}
        trace = exc_info_of(error) if told and error is not None else None
        extra = {"report": report}
        logger.log(level, TEMPLATES[report.event], *report.arguments, exc_info=trace, extra=extra)


def report_of(note: Note, *, supervisor: str, ref: str | None, restarts: int, now: float) -> Report:
    """The report that a decision asked for."""
    return Report(
        event=note.event,
        supervisor=supervisor,
        context=str(note.context),
        reason=str(note.reason),
        offender=offender_of(note.spec, ref),
        restarts=restarts,
        time=now,
        exit=note.exit,
    )
