"""Entities: one durable actor for each key of an address, alive while it is needed."""

from __future__ import annotations

from irismq_runtime.entities.entity import Entity, Singleton
from irismq_runtime.entities.ownership import Ownership

__all__ = ["Entity", "Ownership", "Singleton"]
