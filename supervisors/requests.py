"""Requests to a running supervisor, from any thread, as functions with OTP's names.

`start_child`, `terminate_child`, `restart_child` and `delete_child` return the
future of an ask: `await` it on a loop, or `.get()` it in a thread. It is answered
when the child has started or ended; meanwhile the supervisor takes other requests.
It fails with `actors.Refused`, whose `code` is OTP's tag, with `AskTimeout`, or
with `ActorDeadError` when the supervisor has ended.

`which_children`, `count_children` and `sibling` read the supervisor's latest decision: they
send no message and never wait, whatever the supervisor does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

from actors import Future, runtime
from supervisors._base import Order, Supervising, shutting_down
from supervisors._children import Child, Phase
from supervisors._state import Mode
from supervisors.spec import Supervises

if TYPE_CHECKING:
    from actors import ActorRef
    from supervisors._executor import Executor
    from supervisors.spec import ChildSpec

__all__ = [
    "ChildCount",
    "ChildInfo",
    "count_children",
    "delete_child",
    "restart_child",
    "sibling",
    "start_child",
    "terminate_child",
    "which_children",
]

A = TypeVar("A")
#: Seconds for a child to start or to stop, unless told otherwise.
PATIENCE = 60.0


class ChildInfo(NamedTuple):
    """One listed child. `ref` is None for one without a slot (ended, terminated, ignored).

    `state` is `running`, `starting`, `stopping`, `restarting` (its next try is due),
    `queued` (its turn in a sequence has not come), `dead` or `down`.
    """

    name: str
    ref: ActorRef[Any] | None
    state: str
    kind: Literal["supervisor", "worker"]
    actor_class: type[Any]
    restarts: int


class ChildCount(NamedTuple):
    """How many children are listed, have an actor, and are of either kind."""

    specs: int
    active: int
    supervisors: int
    workers: int


def start_child(
    supervisor: ActorRef[Any], spec: ChildSpec, *, timeout: float = PATIENCE
) -> Future[ActorRef[Any]]:
    """Add a child behind the other children and start it. Any thread.

    Args:
        supervisor: The ref of the supervisor.
        spec: What to start: a `child(...)`.
        timeout: Seconds in which it has to have started.

    Returns:
        A future of the child's ref; of None when the child said "ignore". It fails with
        `Refused`, whose `code` is `already_started`, `already_present`, `max_children`,
        `start_failed` (its `__cause__` is the child's error; the child is not listed) or
        `shutting_down`; with `AskTimeout`, or `ActorDeadError`.

    Raises:
        TypeError: `supervisor` is the ref of another actor.
    """
    return _order(supervisor, Order("start", spec), timeout)


def terminate_child(
    supervisor: ActorRef[Any], child: str | ActorRef[Any], *, timeout: float = PATIENCE
) -> Future[None]:
    """Stop a child as its `shutdown` says; it stays listed unless it is temporary. Any thread.

    A child of a `DynamicSupervisor` is forgotten.

    Args:
        supervisor: The ref of the supervisor.
        child: The child's name or ref.
        timeout: Seconds in which it has to have stopped.

    Returns:
        A future of None. It fails with `Refused` (`not_found`, `shutting_down`), with
        `AskTimeout`, or `ActorDeadError`.

    Raises:
        TypeError: `supervisor` is the ref of another actor.
    """
    return _order(supervisor, Order("terminate", child), timeout)


def restart_child(
    supervisor: ActorRef[Any], child: str, *, timeout: float = PATIENCE
) -> Future[ActorRef[Any]]:
    """Start a child that is listed without an actor. Any thread.

    Args:
        supervisor: The ref of the supervisor.
        child: The child's name.
        timeout: Seconds in which it has to have started.

    Returns:
        A future of the child's new ref. It fails with `Refused` (`not_found`, `running`,
        `restarting`, `start_failed`, `shutting_down`), with `AskTimeout`, or `ActorDeadError`.

    Raises:
        TypeError: `supervisor` is the ref of another actor.
    """
    return _order(supervisor, Order("restart", child), timeout)


def delete_child(
    supervisor: ActorRef[Any], child: str, *, timeout: float = PATIENCE
) -> Future[None]:
    """Take a child that is listed without an actor off the list. Any thread.

    Args:
        supervisor: The ref of the supervisor.
        child: The child's name.
        timeout: Seconds to wait for the answer.

    Returns:
        A future of None. It fails with `Refused` (`not_found`, `running`, `restarting`,
        `shutting_down`), with `AskTimeout`, or `ActorDeadError`.

    Raises:
        TypeError: `supervisor` is the ref of another actor.
    """
    return _order(supervisor, Order("delete", child), timeout)


def which_children(supervisor: ActorRef[Any]) -> list[ChildInfo]:
    """List the children in the order of their start. Any thread; no message is sent.

    Args:
        supervisor: The ref of the supervisor.

    Returns:
        One `ChildInfo` for each; none while the supervisor itself is down.

    Raises:
        TypeError: `supervisor` is the ref of another actor.
    """
    executor = executor_of(supervisor)
    if executor is None:
        return []
    return [_info(executor, child) for child in executor.state.children]


@overload
def sibling(actor: Any, which: str) -> ActorRef[Any]: ...


@overload
def sibling(actor: Any, which: type[A]) -> ActorRef[A]: ...


def sibling(actor: Any, which: str | type[Any]) -> ActorRef[Any]:
    """Return another child of one's supervisor. Any thread; no message is sent.

    Those before it in the list run when an actor is made, so it may ask for them in its
    constructor. Ask again in each incarnation: a sibling that was started anew by hand has
    another ref.

    Args:
        actor: Who asks: `self`.
        which: The name of the child; or its class, where it has the name of that.

    Returns:
        The ref of the child, which stays the same when it crashes and is restarted.

    Raises:
        LookupError: The actor has no supervisor, or none of its children with an actor is
            called so; the text says how they are called.
    """
    name = which if isinstance(which, str) else which.__name__
    parent = runtime.slot_of(actor.actor_ref).parent
    if parent is None or not issubclass(parent.actor_class, Supervises):
        raise LookupError(f"{actor} has no supervisor, and so no sibling {name!r}")
    executor = executor_of(parent)
    slots = {} if executor is None else executor.slots
    slot = slots.get(name)
    if slot is None:
        names = ", ".join(map(repr, tuple(slots))) or "none"
        raise LookupError(f"{parent} has no child {name!r} with an actor now; it has {names}")
    return slot.ref


def count_children(supervisor: ActorRef[Any]) -> ChildCount:
    """Count the children. Any thread; no message is sent.

    Args:
        supervisor: The ref of the supervisor.

    Returns:
        How many are listed, have an actor, and are of either kind.

    Raises:
        TypeError: `supervisor` is the ref of another actor.
    """
    infos = which_children(supervisor)
    supervisors = sum(info.kind == "supervisor" for info in infos)
    active = sum(info.state == Phase.RUNNING for info in infos)
    return ChildCount(len(infos), active, supervisors, len(infos) - supervisors)


def executor_of(supervisor: ActorRef[Any]) -> Executor | None:
    """The executor of the present incarnation; None when there is none now.

    Raises TypeError when the actor is not a supervisor.
    """
    if not issubclass(supervisor.actor_class, Supervises):
        raise TypeError(f"{supervisor} is not a supervisor")
    actor = runtime.slot_of(supervisor).actor
    return actor._executor if isinstance(actor, Supervising) else None  # noqa: SLF001  # of this package


def _info(executor: Executor, child: Child) -> ChildInfo:
    slot = executor.slots.get(child.name)
    return ChildInfo(
        name=child.name,
        ref=None if slot is None else slot.ref,
        state=str(child.phase),
        kind=child.spec.kind,
        actor_class=child.spec.actor_class,
        restarts=child.restarts,
    )


def _order(supervisor: ActorRef[Any], order: Order, timeout: float) -> Future[Any]:
    if not issubclass(supervisor.actor_class, Supervises):
        raise TypeError(f"{supervisor} is not a supervisor")
    executor = executor_of(supervisor)
    if executor is not None and executor.state.mode in {Mode.CLOSING, Mode.CLOSED}:
        # Its inbox is not read any more: the answer must not wait for the end.
        return _refused(supervisor)
    future: Future[Any] = supervisor.ask(order, timeout=timeout)
    return future


def _refused(supervisor: ActorRef[Any]) -> Future[Any]:
    future: Future[Any] = Future()
    error = shutting_down(supervisor.name)
    future.set_exception((type(error), error, None))
    return future
