"""Durable actors: state, outbox and answer in one commit."""

from __future__ import annotations

from irismq_runtime.durability.actor import Durable
from irismq_runtime.durability.addressing import shards_in, shards_state
from irismq_runtime.durability.dispatch import StatefulDispatch
from irismq_runtime.durability.engine import ENGINES, DurableEngine
from irismq_runtime.durability.errors import (
    NotInUnit,
    ReceiptNotDone,
    StateTooLarge,
    StateUnreadable,
)
from irismq_runtime.durability.reminding import Reminder
from irismq_runtime.durability.unit import outside

__all__ = [
    "ENGINES",
    "Durable",
    "DurableEngine",
    "NotInUnit",
    "ReceiptNotDone",
    "Reminder",
    "StateTooLarge",
    "StateUnreadable",
    "StatefulDispatch",
    "outside",
    "shards_in",
    "shards_state",
]
