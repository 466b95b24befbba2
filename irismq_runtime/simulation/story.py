"""What happened in a run that failed, as a person reads it. Pure: a trace in, lines out.

Of the trace the story takes what was done to machines, the lives of processes, and of all
messages only the one that the failure is about. Ids are shown by their first digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors import Exit
from irismq_runtime.observe.records import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actors import Event
    from irismq_runtime.simulation.faults import Fault
    from irismq_runtime.simulation.witness import Happened

__all__ = ["faults_text", "story"]

#: Lines of a story; of a longer one the beginning is left out.
_LINES: Final = 60
#: Characters of a line.
_WIDTH: Final = 150
#: Characters of an id.
_ID: Final = 8
#: Events of processes and actors that are told whatever the failure is about.
_ALWAYS: Final = frozenset(
    {
        "actor.crashed",
        "actor.stuck",
        "consumer.stuck",
        "node.draining",
        "node.started",
        "node.stopped",
        "settlement.buried",
        "supervisor.shutdown",
    }
)


def faults_text(mattering: Sequence[Fault], drawn: int, *, is_minimal: bool) -> str:
    """Say which faults matter, in half a sentence.

    Args:
        mattering: The part of the plan that still fails.
        drawn: How many faults the run had.
        is_minimal: Whether none of them can be left out.

    Returns:
        "2 of 14 faults matter: kill b at 31.2 s, until 33.9 s; ...".
    """
    if not drawn:
        return "no fault was drawn"
    if not mattering:
        return f"none of {drawn} faults matters: it fails without them"
    verb = "matters" if len(mattering) == 1 else "matter"
    most = "" if is_minimal else "at most "
    noun = "fault" if drawn == 1 else "faults"
    told = "; ".join(each.told() for each in mattering)
    return f"{most}{len(mattering)} of {drawn} {noun} {verb}: {told}"


def story(trace: Iterable[Happened], *, about: str = "") -> list[str]:
    """Tell a run.

    Args:
        trace: What happened, in order.
        about: The id of the message that the failure is about; empty: none.

    Returns:
        A line for each thing that is told: when, where, what.
    """
    lines = []
    for at, life, what in trace:
        if isinstance(what, str):
            lines.append(f"{at:10.3f} s  {'':<12}  -- {what}")
        elif what.name in _ALWAYS or (about and what.fields.get("id") == about):
            lines.append(f"{at:10.3f} s  {life!s:<12}  {_line(what)}")
    left_out = len(lines) - _LINES
    if left_out > 0:
        lines[:left_out] = [f"({left_out} lines before)"]
    return [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..." for line in lines]


def _line(event: Event) -> str:
    said = ", ".join(f"{name} {_shown(name, value)}" for name, value in event.fields.items())
    return f"{event.name}: {said}"


def _shown(name: str, value: Any) -> str:
    if name == "id" and isinstance(value, str):
        return value[:_ID]
    return str(value) if isinstance(value, Exit) else " ".join(str(plain(value)).split())
