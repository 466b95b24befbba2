"""The state of one supervisor as a value, and the accumulator of one decision.

`State` never changes: any thread may read the one it holds. `Turn` lives only
inside one call of `decide`; it gathers the next state and the actions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from supervisors._children import Child, Children
from supervisors._intensity import Intensity, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervisors._events import Action, Event, Verdict
    from supervisors.backoff import Backoff
    from supervisors.spec import AutoShutdown, ChildSpec
    from supervisors.strategies import Strategy

__all__ = ["Mode", "Plan", "Policy", "State", "Turn", "initial"]


class Mode(StrEnum):
    """Where the supervisor is in its life."""

    NEW = "new"
    BOOTING = "booting"
    UP = "up"
    CLOSING = "closing"
    CLOSED = "closed"


class Policy(NamedTuple):
    """What the supervisor was told at its start.

    `dynamic`: children are unordered, come and go at run time, and are stopped all
    at once; a child that ends for good is forgotten.
    """

    strategy: Strategy = "one_for_one"
    intensity: Intensity = Intensity()
    backoff: Backoff | None = None
    auto_shutdown: AutoShutdown = "never"
    dynamic: bool = False
    max_children: int | None = None


class Plan(NamedTuple):
    """The current sequence: stop these one after another, then start those in order.

    `stops` are in the order of stopping (the reverse of the start). `retry` names
    the child whose backoff begins when the stops are done.
    """

    stops: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    retry: str | None = None
    stopped: int = 0
    started: int = 0


class State(NamedTuple):
    """One supervisor. `deferred` are the events that wait for the end of `plan`."""

    policy: Policy
    children: Children
    mode: Mode = Mode.NEW
    plan: Plan | None = None
    window: Window = Window()
    deferred: tuple[Event, ...] = ()
    verdict: Verdict | None = None


class Turn:
    """One decision in the making."""

    __slots__ = ("actions", "now", "state")

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.actions: list[Action] = []

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def get(self, name: str) -> Child | None:
        return self.state.children.get(name)

    def put(self, child: Child) -> None:
        self.state = self.state._replace(children=self.state.children.put(child))

    def remove(self, name: str) -> None:
        self.state = self.state._replace(children=self.state.children.remove(name))


def initial(policy: Policy, specs: Iterable[ChildSpec]) -> State:
    """The state before `Boot`, with the children in the order of `specs`."""
    children = Children()
    for seat, spec in enumerate(specs):
        children = children.put(Child(spec, seat))
    return State(policy, children)
