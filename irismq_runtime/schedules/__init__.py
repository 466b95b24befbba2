"""Schedules: a message for an address at each time of a calendar, kept in a store."""

from __future__ import annotations

from irismq_runtime.schedules.schedules import ASK_TIMEOUT, Scheduled, Schedules, schedules_in

__all__ = ["ASK_TIMEOUT", "Scheduled", "Schedules", "schedules_in"]
