"""Looking at a running node: events, logs, metrics, health."""

from __future__ import annotations

from irismq_runtime.observe.catalogue import EVENTS, STEPS
from irismq_runtime.observe.health import Check, Health
from irismq_runtime.observe.logs import RateLimitedLog, shorten

__all__ = ["EVENTS", "STEPS", "Check", "Health", "RateLimitedLog", "shorten"]
