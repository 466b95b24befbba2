"""One snapshot as plain text, for `irismq top --once` and for pipes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.cli.top.layout import layout, line
from irismq_runtime.cli.top.rows import View, headline, problem_rows, rows

if TYPE_CHECKING:
    from irismq_runtime.observer import Snapshot

__all__ = ["plain"]


def plain(snapshot: Snapshot, view: View, width: int) -> str:
    """The snapshot in lines of at most `width`: the system, what is wrong, trees, services."""
    parts = [headline(snapshot), ""]
    wrong = problem_rows(snapshot, len(snapshot.problems))
    parts += [f"wrong: {row.cells[0]} (for {row.cells[1]})" for row in wrong]
    parts += [] if wrong else ["nothing is wrong"]
    for page in ("trees", "services"):
        shown = view.turned("services") if page == "services" else view.turned("trees")
        columns = layout(shown.page, width)
        parts += ["", line(shown.columns, columns)]
        parts += [line(row.cells, columns) for row in rows(snapshot, shown)]
    parts += [
        f"nsqd {broker.endpoint}: {broker.error}" for broker in snapshot.brokers if broker.error
    ]
    return "\n".join(parts)
