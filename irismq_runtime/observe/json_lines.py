"""Log records as JSON, one a line: for machines that collect logs.

    {"time": "2026-03-01T12:00:00.123Z", "level": "WARNING", "logger": "irismq.mailbox",
     "message": "...", "actor": "Stock (urn:actor:...)", "kind": "lost", "count": 12,
     "exception": "Traceback ..."}

`actor` is there when the line was written by an actor's code. Everything that the
caller gave as `extra` is in it as plain values; of an object of a user, its
type. Tracebacks are text, without the values of variables. The line passes `safe_text`:
nothing that a terminal obeys is in it, and no login of a URL.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

from actors import current_ref
from actors.texts import trace_of
from irismq_runtime.json_text import json_text
from irismq_runtime.observe.records import plain
from irismq_runtime.safe_text import visible_json, without_logins

__all__ = ["JsonLines"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST_TRACEBACK: Final = 16_000


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON. For any thread.

    For `logging.Handler.setFormatter`. What a caller gives as `extra` may be any object.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format one record.

        Args:
            record: What was logged.

        Returns:
            The JSON of one object, without a line end.
        """
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": f"{when:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        actor = current_ref()
        if actor is not None:
            line["actor"] = str(actor)
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = plain(value)
        if record.exc_info:
            error = record.exc_info[1]
            trace = "" if error is None else trace_of(error).rstrip("\n")
            line["exception"] = trace[-_LONGEST_TRACEBACK:]
        return visible_json(without_logins(json_text(line)))
