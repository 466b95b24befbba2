"""What follows a death: restart or not, whom, when, and when to give up.

Order: the child's restart kind decides whether it comes back; the window whether
the supervisor gives up (but for a crash that is charged to a stored message); the
strategy whom it concerns; the backoff how long to wait.
A start that fails is one more restart, tried again by a `Retry`: between two tries
other events get in. One of them may end the child that is to come back; those that were
stopped for it, and wait for it, start without it then (OTP leaves them stopped).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisors._children import Cause, Child, Phase
from supervisors._events import Note, Retry, Verdict
from supervisors._sequences import EXPECTED, advance, close, make_way, settle, start
from supervisors._state import Mode, Plan, Turn
from supervisors.strategies import concerned

if TYPE_CHECKING:
    from actors import Exit

__all__ = ["death", "go_on_without", "retry", "start_failed"]


def death(turn: Turn, child: Child) -> None:
    """`child` (phase DEAD) ended on its own and no sequence is under way: decide."""
    exit_ = child.last_exit
    reason = "normal" if exit_ is None else exit_.reason
    expected = reason in EXPECTED
    kind = child.spec.restart
    if kind == "permanent" or (kind == "transient" and not expected):
        turn.do(Note("child_terminated", "child_terminated", reason, child.name, child.spec, exit_))
        _restart(turn, child, at_once=True)
        return
    if not expected:
        turn.do(Note("child_terminated", "child_terminated", reason, child.name, child.spec, exit_))
    settle(turn, child, exit_)
    _auto_shutdown(turn, child)


def start_failed(turn: Turn, child: Child, exit_: Exit) -> None:
    """The start of `child` (phase STARTING) has failed; its cause says what that means."""
    turn.do(Note("start_error", "start_error", exit_.reason, child.name, child.spec, exit_))
    child = child._replace(last_exit=exit_)
    if turn.state.mode is Mode.CLOSING:
        settle(turn, child, exit_, refusal="start_failed")
        advance(turn)
    elif child.cause is Cause.BOOT:
        settle(turn, child, exit_)
        close(turn, Verdict("start_failed", child.name, exit_))
    elif child.cause is Cause.RESTART:
        if turn.state.plan is not None and child.name in turn.state.plan.starts:
            # What the sequence had not reached waits for the retry, as in OTP.
            _drop_sequence(turn)
        turn.put(child._replace(phase=Phase.DEAD))
        _restart(turn, child, at_once=False)
    else:
        settle(turn, child, exit_, refusal="start_failed")
        if child.cause is Cause.ADD:
            turn.remove(child.name)
        advance(turn)


def _drop_sequence(turn: Turn) -> None:
    if turn.state.mode is not Mode.BOOTING:
        turn.state = turn.state._replace(plan=None)


def _restart(turn: Turn, child: Child, *, at_once: bool) -> None:
    """Count one restart of `child`, then give up, restart at once, or later."""
    policy = turn.state.policy
    if _counts_too_many(turn, child):
        _give_up(turn, child)
        return
    child = child._replace(
        phase=Phase.RESTARTING,
        began=turn.now if child.began is None else child.began,
        failures=child.failures + 1,
    )
    turn.put(child)
    if policy.backoff is not None and policy.strategy != "one_for_one":
        # Whom the failure concerns does not run on without the child while it waits.
        make_way(turn, Plan(stops=_stops(turn, child), retry=child.name))
    elif policy.backoff is not None or not at_once:
        turn.do(Retry(child.name, child.generation, child.failures - 1))
        advance(turn)
    else:
        retry(turn, child)


def _counts_too_many(turn: Turn, child: Child) -> bool:
    """Put the failure of `child` into the window; whether that has too many now.

    What is charged to a message is not put there: four bad messages are no bad actor.
    """
    if child.last_exit is not None and child.last_exit.charged:
        return False
    window, over = turn.state.window.add(
        turn.state.policy.intensity, child.name, turn.now, lambda name: _is_held(turn, name)
    )
    turn.state = turn.state._replace(window=window)
    return over


def retry(turn: Turn, child: Child) -> None:
    """Restart `child` (phase RESTARTING) and whom its failure concerns, now."""
    if turn.state.policy.strategy == "one_for_one":
        start(turn, child, Cause.RESTART)
        advance(turn)
        return
    group = concerned(turn.state.policy.strategy, turn.state.children, child)
    starts = tuple(one.name for one in group if one.spec.restart != "temporary")
    make_way(turn, Plan(stops=_stops(turn, child), starts=starts))


def go_on_without(turn: Turn, child: Child) -> None:
    """`child` was about to be restarted and is not any more: start those that wait for it alone."""
    strategy, children = turn.state.policy.strategy, turn.state.children
    if child.phase is not Phase.RESTARTING or strategy == "one_for_one":
        return
    held = {
        one.name
        for other in children
        if other.phase is Phase.RESTARTING
        for one in concerned(strategy, children, other)
    }
    waiting = (one.name for one in children.ordered() if one.phase is Phase.QUEUED)
    make_way(turn, Plan(starts=tuple(name for name in waiting if name not in held)))


def _stops(turn: Turn, child: Child) -> tuple[str, ...]:
    group = concerned(turn.state.policy.strategy, turn.state.children, child)
    return tuple(one.name for one in reversed(group) if one.alive)


def _is_held(turn: Turn, name: str) -> bool:
    child = turn.get(name)
    return child is not None and child.began is not None


def _give_up(turn: Turn, child: Child) -> None:
    reason = "reached_max_restart_intensity"
    exit_ = child.last_exit
    turn.do(Note("shutdown", "shutdown", reason, child.name, child.spec, exit_))
    close(turn, Verdict("intensity", child.name, exit_))


def _auto_shutdown(turn: Turn, child: Child) -> None:
    """A child ended for good on its own: does that end the supervisor?"""
    wish = turn.state.policy.auto_shutdown
    if not child.spec.significant or wish == "never":
        return
    if wish == "all_significant" and any(
        one.spec.significant and one.phase is not Phase.DOWN for one in turn.state.children
    ):
        return
    close(turn, Verdict("auto_shutdown", child.name, child.last_exit))
