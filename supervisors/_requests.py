"""Requests to a running supervisor, with OTP's refusals.

`start_child`: `already_started`, `already_present`, `max_children`, `start_failed`.
`terminate_child`: `not_found`. `restart_child` and `delete_child`: `not_found`,
`running`, `restarting`. All: `shutting_down`, `not_started`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisors._children import Cause, Child, Fate, Phase
from supervisors._events import (
    Answer,
    DeleteChild,
    Refuse,
    RestartChild,
    StartChild,
    Stop,
    TerminateChild,
)
from supervisors._restarts import go_on_without
from supervisors._sequences import settle, start

if TYPE_CHECKING:
    from supervisors._state import Turn

__all__ = ["delete_child", "restart_child", "start_child", "terminate_child"]


def start_child(turn: Turn, event: StartChild) -> None:
    """Add a child behind the others and start it."""
    name = event.spec.name
    present = turn.get(name)
    policy = turn.state.policy
    if present is not None:
        reason = "already_present" if present.phase is Phase.DOWN else "already_started"
        turn.do(Refuse(event.token, name, reason))
    elif policy.max_children is not None and len(turn.state.children) >= policy.max_children:
        turn.do(Refuse(event.token, name, "max_children"))
    else:
        child = Child(event.spec, turn.state.children.next_seat)
        start(turn, child, Cause.ADD, event.token)


def terminate_child(turn: Turn, event: TerminateChild) -> None:
    """Stop a child; it stays listed unless it is temporary or the supervisor dynamic."""
    child = turn.get(event.name)
    if child is None:
        turn.do(Refuse(event.token, event.name, "not_found"))
        return
    if child.phase is Phase.DOWN:
        turn.do(Answer(event.token, event.name))
        return
    child = child._replace(stoppers=(*child.stoppers, event.token))
    if not child.alive:
        settle(turn, child, child.last_exit)
        go_on_without(turn, child)
        return
    if child.phase is not Phase.STOPPING:
        turn.do(Stop(child.name, child.generation, child.spec.stop_within))
    turn.put(child._replace(phase=Phase.STOPPING, fate=Fate.SETTLE))


def restart_child(turn: Turn, event: RestartChild) -> None:
    """Start a child that is listed without an actor."""
    child = _idle(turn, event)
    if child is not None:
        start(turn, child, Cause.REQUEST, event.token)


def delete_child(turn: Turn, event: DeleteChild) -> None:
    """Take a child without an actor off the list."""
    if _idle(turn, event) is not None:
        turn.remove(event.name)
        turn.do(Answer(event.token, event.name))


def _idle(turn: Turn, event: RestartChild | DeleteChild) -> Child | None:
    """The child, if it is listed without an actor; the request is refused otherwise."""
    child = turn.get(event.name)
    if child is not None and child.phase is Phase.DOWN:
        return child
    turn.do(Refuse(event.token, event.name, _why_not(child)))
    return None


def _why_not(child: Child | None) -> str:
    if child is None:
        return "not_found"
    return "running" if child.alive else "restarting"
