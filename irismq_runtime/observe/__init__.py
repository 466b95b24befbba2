"""Looking at a running node: events, logs, metrics, health.

`StatusServer` loads when it is first used: few programs serve that page, and what
serves it is a twentieth of the time that a node takes to be imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from irismq_runtime.observe.events import EVENTS, STEPS, Record, on_event, record_of
from irismq_runtime.observe.health import Check, Health
from irismq_runtime.observe.json_lines import JsonLines
from irismq_runtime.observe.logs import RateLimitedLog, shorten
from irismq_runtime.observe.meter import Meter, Second
from irismq_runtime.observe.metrics import Sample, prometheus_text, require_metrics

if TYPE_CHECKING:
    from irismq_runtime.observe.status_server import StatusServer

__all__ = [
    "EVENTS",
    "STEPS",
    "Check",
    "Health",
    "JsonLines",
    "Meter",
    "RateLimitedLog",
    "Record",
    "Sample",
    "Second",
    "StatusServer",
    "on_event",
    "prometheus_text",
    "record_of",
    "require_metrics",
    "shorten",
]


def __getattr__(name: str) -> Any:
    if name != "StatusServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    status_server = importlib.import_module("irismq_runtime.observe.status_server")
    value = globals()[name] = status_server.StatusServer
    return value
