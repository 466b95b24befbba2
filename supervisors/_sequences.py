"""One child after another: starts in order, stops in reverse, never two at a time.

A `Plan` is carried on here step by step: `advance` is called after every event and
does what can be done now. The first start, a restart of several children and the
orderly end are plans; a killed or a dynamic supervisor ends its children all at
once and has none. Below: what `_restarts` and `_requests` share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisors._children import ALIVE, Cause, Child, Fate, Phase
from supervisors._events import (
    Answer,
    Booted,
    DeleteChild,
    End,
    Finish,
    Note,
    Refuse,
    RestartChild,
    Retry,
    Start,
    StartChild,
    Stop,
    StopAll,
    TerminateChild,
    Verdict,
)
from supervisors._state import Mode, Plan, State, Turn

if TYPE_CHECKING:
    from actors import Exit
    from supervisors._events import Action

__all__ = [
    "advance",
    "close",
    "close_at_once",
    "make_way",
    "refuse_request",
    "running",
    "settle",
    "start",
    "stopped",
    "waits",
]

EXPECTED = ("normal", "shutdown")


def waits(state: State) -> bool:
    """Whether news must wait: one sequence of several children is under way.

    OTP handles a death during a sequence after it; under `one_for_one` children do
    not concern each other and nothing waits.
    """
    return (
        state.plan is not None
        and state.policy.strategy != "one_for_one"
        and state.mode is not Mode.CLOSING
    )


def advance(turn: Turn) -> None:
    """Take the current plan as far as it goes now."""
    plan = turn.state.plan
    if plan is None:
        if turn.state.mode is Mode.CLOSING and not turn.state.children.count(*ALIVE):
            _finish(turn)
        return
    while plan.stopped < len(plan.stops):
        if not _stop_next(
            turn, plan.stops[plan.stopped], restarting=bool(plan.starts or plan.retry)
        ):
            turn.state = turn.state._replace(plan=plan)
            return
        plan = plan._replace(stopped=plan.stopped + 1)
    while True:
        if plan.started and _is_starting(turn, plan.starts[plan.started - 1]):
            turn.state = turn.state._replace(plan=plan)
            return
        if plan.started == len(plan.starts):
            _complete(turn, plan)
            return
        child = turn.get(plan.starts[plan.started])
        plan = plan._replace(started=plan.started + 1)
        if child is not None and not child.alive:
            cause = Cause.BOOT if turn.state.mode is Mode.BOOTING else Cause.RESTART
            start(turn, child, cause)


def _stop_next(turn: Turn, name: str, *, restarting: bool) -> bool:
    """Stop this child; True when it has ended and the next one may be stopped."""
    child = turn.get(name)
    if child is None:
        return True
    if child.phase is Phase.STOPPING:
        return False
    if child.alive:
        turn.put(_stopping(child, Fate.QUEUE if restarting else Fate.SETTLE))
        turn.do(Stop(name, child.generation, child.spec.stop_within))
        return False
    if not restarting or child.spec.restart == "temporary":
        settle(turn, child, child.last_exit)
    elif child.phase is Phase.DEAD:
        turn.put(child._replace(phase=Phase.QUEUED))
    return True


def _stopping(child: Child, fate: Fate) -> Child:
    if child.spec.restart == "temporary":
        fate = Fate.SETTLE
    return child._replace(phase=Phase.STOPPING, fate=fate)


def _is_starting(turn: Turn, name: str) -> bool:
    child = turn.get(name)
    return child is not None and child.phase is Phase.STARTING


def _complete(turn: Turn, plan: Plan) -> None:
    turn.state = turn.state._replace(plan=None)
    if turn.state.mode is Mode.CLOSING:
        _finish(turn)
        return
    if turn.state.mode is Mode.BOOTING:
        turn.state = turn.state._replace(mode=Mode.UP)
        turn.do(Booted())
    child = turn.get(plan.retry) if plan.retry else None
    if child is not None and child.phase is Phase.RESTARTING:
        turn.do(Retry(child.name, child.generation, child.failures - 1))


def start(turn: Turn, child: Child, cause: Cause, *tokens: int) -> None:
    """Start the next incarnation of `child`; `tokens` are answered when it runs."""
    child = child._replace(
        phase=Phase.STARTING,
        generation=child.generation + 1,
        cause=cause,
        restarts=child.restarts + (cause is Cause.RESTART),
        starters=child.starters + tokens,
    )
    turn.put(child)
    turn.do(Start(child.name, child.generation, child.spec))


def running(turn: Turn, child: Child) -> Child:
    """The start of `child` has finished: note it, answer who waits."""
    if child.began is not None:
        window = turn.state.window.resume(child.name, child.began, turn.now)
        turn.state = turn.state._replace(window=window)
    for token in child.starters:
        turn.do(Answer(token, child.name))
    child = child._replace(phase=Phase.RUNNING, since=turn.now, began=None, starters=())
    turn.put(child)
    turn.do(Note("progress", "start", child.cause, child.name, child.spec))
    return child


def settle(turn: Turn, child: Child, exit_: Exit | None, refusal: str = "terminated") -> None:
    """No actor is to follow: close the slot, keep the child listed or forget it."""
    turn.do(End(child.name, exit_))
    for token in child.starters:
        turn.do(Refuse(token, child.name, refusal, exit_))
    for token in child.stoppers:
        turn.do(Answer(token, child.name))
    if child.spec.restart == "temporary" or turn.state.policy.dynamic:
        turn.remove(child.name)
        return
    turn.put(
        child._replace(
            phase=Phase.DOWN, last_exit=exit_, began=None, failures=0, starters=(), stoppers=()
        )
    )


def stopped(turn: Turn, child: Child, exit_: Exit) -> None:
    """A child that was told to stop has ended."""
    asked_to_kill = exit_.reason == "killed" and child.spec.shutdown == "kill"
    if exit_.reason not in EXPECTED and not asked_to_kill:
        turn.do(Note("shutdown_error", "shutdown", exit_.reason, child.name, child.spec, exit_))
    if child.fate is Fate.QUEUE and turn.state.mode is not Mode.CLOSING:
        turn.put(child._replace(phase=Phase.QUEUED, last_exit=exit_))
    else:
        settle(turn, child, exit_)


def close(turn: Turn, verdict: Verdict) -> None:
    """Begin the orderly end: all children in reverse order (dynamic: all at once)."""
    if turn.state.mode in {Mode.CLOSING, Mode.CLOSED}:
        return
    if turn.state.policy.dynamic:
        close_at_once(turn, verdict, kill=False)
        return
    names = tuple(child.name for child in reversed(turn.state.children.ordered()))
    _refuse_deferred(turn)
    turn.state = turn.state._replace(mode=Mode.CLOSING, verdict=verdict, plan=Plan(stops=names))
    advance(turn)


def close_at_once(turn: Turn, verdict: Verdict, *, kill: bool) -> None:
    """Begin the end of all children at the same time."""
    _refuse_deferred(turn)
    kept = turn.state.verdict or verdict
    turn.state = turn.state._replace(mode=Mode.CLOSING, verdict=kept, plan=None)
    stops: list[Stop] = []
    for child in turn.state.children.ordered():
        if not child.alive:
            settle(turn, child, child.last_exit)
        elif kill or child.phase is not Phase.STOPPING:
            turn.put(_stopping(child, Fate.SETTLE))
            how = "kill" if kill else child.spec.stop_within
            stops.append(Stop(child.name, child.generation, how))
    if stops:
        turn.do(StopAll(tuple(stops)))
    advance(turn)


def _refuse_deferred(turn: Turn) -> None:
    for event in turn.state.deferred:
        if isinstance(event, StartChild | TerminateChild | RestartChild | DeleteChild):
            turn.do(refuse_request(event, "shutting_down"))
    turn.state = turn.state._replace(deferred=())


def refuse_request(
    event: StartChild | TerminateChild | RestartChild | DeleteChild, reason: str
) -> Action:
    """The refusal of a request, whatever it asked for."""
    name = event.spec.name if isinstance(event, StartChild) else event.name
    return Refuse(event.token, name, reason)


def _finish(turn: Turn) -> None:
    turn.state = turn.state._replace(mode=Mode.CLOSED, plan=None)
    turn.do(Finish(turn.state.verdict or Verdict("asked")))


def make_way(turn: Turn, plan: Plan) -> None:
    """Begin with `plan`."""
    turn.state = turn.state._replace(plan=plan)
    advance(turn)
