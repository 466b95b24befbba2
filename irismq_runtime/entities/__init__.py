"""Entities: one durable actor for each key of an address, alive while it is needed."""

from __future__ import annotations

from irismq_runtime.entities.entity import Entity, Singleton

__all__ = ["Entity", "Singleton"]
