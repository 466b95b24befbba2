"""From bytes that arrive to an actor, and from its outcome to a settlement or answer."""

from __future__ import annotations

from irismq_runtime.dispatch.answers import Answer
from irismq_runtime.dispatch.counters import Counters
from irismq_runtime.dispatch.foreign import ForeignRule, foreign_rule
from irismq_runtime.dispatch.gate import Gate
from irismq_runtime.dispatch.incoming import Incoming
from irismq_runtime.dispatch.live import LiveDispatch
from irismq_runtime.dispatch.members import MemberDispatch
from irismq_runtime.dispatch.settlement import Limits
from irismq_runtime.dispatch.stored import StoredDispatch

__all__ = [
    "Answer",
    "Counters",
    "ForeignRule",
    "Gate",
    "Incoming",
    "Limits",
    "LiveDispatch",
    "MemberDispatch",
    "StoredDispatch",
    "foreign_rule",
]
