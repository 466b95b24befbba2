"""Looking at a running node: events, logs, metrics, health."""

from __future__ import annotations

from irismq_runtime.observe.events import EVENTS, STEPS, Record, on_event, record_of
from irismq_runtime.observe.health import Check, Health
from irismq_runtime.observe.json_lines import JsonLines
from irismq_runtime.observe.logs import RateLimitedLog, shorten
from irismq_runtime.observe.meter import Meter, Second
from irismq_runtime.observe.metrics import Sample, prometheus_text, require_metrics
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
