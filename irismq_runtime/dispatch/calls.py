"""Calls over the network: only what the actor's class marks `@exposed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.calls import method_call
from actors.errors import Unhandled
from actors.handlers import exposed_methods
from irismq_runtime.messaging import Call

if TYPE_CHECKING:
    from actors import ActorRef

__all__ = ["as_call"]


def as_call(message: object, ref: ActorRef[Any]) -> object:
    """Turn a `Call` into what the actor's runtime calls; others pass unchanged.

    Raises `Unhandled` when the method is not exposed.
    """
    if type(message) is not Call:
        return message
    allowed = exposed_methods(ref.actor_class)
    if message.name not in allowed:
        names = ", ".join(sorted(allowed)) or "none"
        raise Unhandled(
            f"{ref.actor_class.__name__} exposes no method {message.name!r} "
            f"(exposed: {names}); mark it with @exposed to have it called over the network",
            code="not exposed",
        )
    return method_call(message.name, message.args, message.kwargs)
