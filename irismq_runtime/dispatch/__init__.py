"""From bytes that arrive to an actor, and from its outcome to a settlement or answer."""

from __future__ import annotations

from irismq_runtime.dispatch.answers import AskDelivery
from irismq_runtime.dispatch.best_effort import LiveDispatch
from irismq_runtime.dispatch.consumer_pause import ConsumerPause
from irismq_runtime.dispatch.context import DispatchContext, DispatchCounters
from irismq_runtime.dispatch.delivery import DurableDelivery
from irismq_runtime.dispatch.members import MemberDispatch
from irismq_runtime.dispatch.retry_policy import RetryPolicy
from irismq_runtime.dispatch.settlement import AttemptLimits
from irismq_runtime.dispatch.stored import StoredDispatch
from irismq_runtime.messaging.foreign import ForeignRule, foreign_rule

__all__ = [
    "AskDelivery",
    "AttemptLimits",
    "ConsumerPause",
    "DispatchContext",
    "DispatchCounters",
    "DurableDelivery",
    "ForeignRule",
    "LiveDispatch",
    "MemberDispatch",
    "RetryPolicy",
    "StoredDispatch",
    "foreign_rule",
]
