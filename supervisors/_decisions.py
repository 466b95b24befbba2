"""`decide(state, event, now) -> (state, actions)`: all that a supervisor decides.

Pure: no clock, no chance, no input or output, no actor. Every event is taken in
every state; news of an older generation changes nothing. Events that come during
a sequence which concerns several children wait in `deferred` and are decided, in
order, when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from supervisors._children import Child, Phase
from supervisors._events import (
    Action,
    Answer,
    Boot,
    Close,
    DeleteChild,
    Died,
    Event,
    Ignored,
    Kill,
    Note,
    RestartChild,
    RetryDue,
    StartChild,
    Started,
    StartFailed,
    Stopped,
    TerminateChild,
    Verdict,
)
from supervisors._requests import delete_child, restart_child, start_child, terminate_child
from supervisors._restarts import death, retry, start_failed
from supervisors._sequences import (
    EXPECTED,
    advance,
    close,
    close_at_once,
    make_way,
    refuse_request,
    running,
    settle,
    stopped,
    waits,
)
from supervisors._state import Mode, Plan, State, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["decide"]

_News = Started | Ignored | StartFailed | Died | Stopped | RetryDue
_Request = TypeVar("_Request", StartChild, TerminateChild, RestartChild, DeleteChild)


def decide(state: State, event: Event, now: float) -> tuple[State, tuple[Action, ...]]:
    """What `event` at `now` (monotonic seconds) makes of `state`, and what is to be done.

    The actions are to be carried out in their order.
    """
    turn = Turn(state, now)
    _HANDLERS[type(event)](turn, event)
    while turn.state.deferred and not waits(turn.state):
        first, *rest = turn.state.deferred
        turn.state = turn.state._replace(deferred=tuple(rest))
        _HANDLERS[type(first)](turn, first)
    return turn.state, tuple(turn.actions)


def _boot(turn: Turn, _event: Boot) -> None:
    if turn.state.mode is not Mode.NEW:
        return
    turn.state = turn.state._replace(mode=Mode.BOOTING)
    make_way(turn, Plan(starts=tuple(child.name for child in turn.state.children.ordered())))


def _started(turn: Turn, event: Started) -> None:
    child = _current(turn, event, Phase.STARTING)
    if child is not None:
        running(turn, child)
        advance(turn)


def _ignored(turn: Turn, event: Ignored) -> None:
    child = _current(turn, event, Phase.STARTING)
    if child is None:
        return
    settle(turn, child._replace(starters=()), None)
    for token in child.starters:
        turn.do(Answer(token, child.name))
    advance(turn)


def _start_failed(turn: Turn, event: StartFailed) -> None:
    child = _current(turn, event, Phase.STARTING)
    if child is not None:
        start_failed(turn, child, event.exit)


def _died(turn: Turn, event: Died) -> None:
    child = _current(turn, event, Phase.RUNNING, Phase.STARTING, Phase.DEAD)
    if child is None:
        return
    if child.phase is Phase.STARTING:
        # Its start had finished: the news of the death has overtaken that of the start.
        child = running(turn, child)
    if child.phase is Phase.RUNNING:
        child = child._replace(
            phase=Phase.DEAD, last_exit=event.exit, failures=_failures(turn, child)
        )
        turn.put(child)
    plan = turn.state.plan
    if turn.state.mode is Mode.CLOSING or (plan and child.name in plan.stops[plan.stopped :]):
        # It was about to be stopped: its turn will find it ended.
        if event.exit.reason not in EXPECTED:
            turn.do(
                Note(
                    "shutdown_error",
                    "shutdown",
                    event.exit.reason,
                    child.name,
                    child.spec,
                    event.exit,
                )
            )
    elif waits(turn.state):
        turn.state = turn.state._replace(deferred=(*turn.state.deferred, event))
    else:
        death(turn, child)
    advance(turn)


def _failures(turn: Turn, child: Child) -> int:
    """Failures in a row, of which a long enough run makes an end."""
    backoff = turn.state.policy.backoff
    if backoff is None or child.since is None or turn.now - child.since < backoff.quiet:
        return child.failures
    return 0


def _stopped(turn: Turn, event: Stopped) -> None:
    child = _current(turn, event, Phase.STOPPING)
    if child is not None:
        stopped(turn, child, event.exit)
        advance(turn)


def _retry_due(turn: Turn, event: RetryDue) -> None:
    child = _current(turn, event, Phase.RESTARTING)
    if child is None or turn.state.mode is Mode.CLOSING:
        return
    if waits(turn.state):
        turn.state = turn.state._replace(deferred=(*turn.state.deferred, event))
    else:
        retry(turn, child)


def _close(turn: Turn, _event: Close) -> None:
    close(turn, Verdict("asked"))


def _kill(turn: Turn, _event: Kill) -> None:
    if turn.state.mode is not Mode.CLOSED:
        close_at_once(turn, Verdict("killed"), kill=True)


def _current(turn: Turn, news: _News, *phases: Phase) -> Child | None:
    """The child the news is of, unless the news is stale."""
    child = turn.get(news.name)
    if turn.state.mode is Mode.CLOSED:
        return None
    if child is None or child.generation != news.generation or child.phase not in phases:
        return None
    return child


def _request(
    handler: Callable[[Turn, _Request], None],
) -> Callable[[Turn, _Request], None]:
    """Take requests in every mode: refused before the start and at the end, or in their turn."""

    def taken(turn: Turn, event: _Request) -> None:
        mode = turn.state.mode
        if mode is Mode.NEW:
            turn.do(refuse_request(event, "not_started"))
        elif mode in {Mode.CLOSING, Mode.CLOSED}:
            turn.do(refuse_request(event, "shutting_down"))
        elif waits(turn.state):
            turn.state = turn.state._replace(deferred=(*turn.state.deferred, event))
        else:
            handler(turn, event)

    return taken


_HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    Boot: _boot,
    Started: _started,
    Ignored: _ignored,
    StartFailed: _start_failed,
    Died: _died,
    Stopped: _stopped,
    RetryDue: _retry_due,
    StartChild: _request(start_child),
    TerminateChild: _request(terminate_child),
    RestartChild: _request(restart_child),
    DeleteChild: _request(delete_child),
    Close: _close,
    Kill: _kill,
}
