"""Durable actors: state, outbox and answer in one commit."""

from __future__ import annotations

from irismq_runtime.durability.actor import Durable
from irismq_runtime.durability.engine import ENGINES, DurableEngine
from irismq_runtime.durability.errors import (
    NotInUnit,
    ReceiptNotDone,
    StateTooLarge,
    StateUnreadable,
)
from irismq_runtime.durability.unit import outside

__all__ = [
    "ENGINES",
    "Durable",
    "DurableEngine",
    "NotInUnit",
    "ReceiptNotDone",
    "StateTooLarge",
    "StateUnreadable",
    "outside",
]
