"""What all supervisors share: an actor whose incarnation keeps children.

Starting it starts the children in order, ending it in whatever way ends them: its
own stop as each child's `shutdown` says, a crash or a kill at once. It takes
requests at any time, one after another or many in flight, and answers each when
the child has started or ended.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from actors import Actor, Refused, receives, runtime
from actors.chance import default_random
from actors.class_options import known_option
from actors.delivery import Outcome
from actors.rules import POSITIVE_SECONDS, Rule, count, one_of, value_of
from actors.texts import repr_of
from supervisors import _events as ev
from supervisors._executor import Executor, predecessor_ended
from supervisors.errors import ChildStartFailed, RestartLimitReached, SpecError
from supervisors.spec import (
    AUTO_SHUTDOWNS,
    AutoShutdown,
    ChildSpec,
    Supervises,
    check_significance,
)
from supervisors.strategies import STRATEGIES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors import ActorRef
    from actors.delivery import InboxItem
    from supervisors._state import Policy
    from supervisors.backoff import Backoff
    from supervisors.strategies import Strategy

__all__ = ["Order", "Supervising", "shutting_down"]


class Order(NamedTuple):
    """A request to a supervisor; made by the functions in `requests.py`."""

    verb: str
    child: ChildSpec | ActorRef[Any] | str


class Supervising(Actor, Supervises):
    """Base of `Supervisor`, `DynamicSupervisor` and `PartitionSupervisor`."""

    __owned__ = True

    strategy: Strategy = "one_for_one"
    max_restarts: int | None = 3
    max_seconds: float = 5.0
    backoff: Backoff | tuple[float, ...] | None = None
    auto_shutdown: AutoShutdown = "never"
    #: Where the jitter of the backoff comes from: a new generator for each incarnation
    #: unless one is given, as a test may.
    rng: random.Random | None = None

    _executor: Executor | None = None

    def policy(self) -> Policy:
        """The checked policy. Raises `SpecError`."""
        raise NotImplementedError

    def specs(self) -> tuple[ChildSpec, ...]:
        """The checked children of the first start. Raises `SpecError`."""
        raise NotImplementedError

    async def on_start(self) -> None:
        """Start the children in order; a subclass's own `on_start` calls this one.

        Raises `ChildStartFailed` when one does not start, after the ones before it
        have been stopped in reverse.
        """
        slot = runtime.slot_of(self.actor_ref)
        await predecessor_ended(self.system, self.actor_ref)
        chance = default_random() if self.rng is None else self.rng
        executor = Executor(self.system, self.actor_ref, self.policy(), self.specs(), chance.random)
        self._executor = executor
        runtime.on_incarnation_end(slot, executor.kill)
        executor.on_fault = partial(runtime.exit_with, slot, "crash")
        verdict = await executor.boot()
        if verdict is not None:
            error = ChildStartFailed(
                self.actor_ref.name, str(verdict.child), verdict.reason, verdict.exit
            )
            raise error from (None if verdict.exit is None else verdict.exit.error)
        executor.on_finish = self._children_ended

    async def on_stop(self, *_reason: str) -> None:
        """Stop the children, each as its `shutdown` says; an own `on_stop` calls this one."""
        if self._executor is not None:
            slot = runtime.slot_of(self.actor_ref)
            runtime.refuse_waiting(slot, Order, shutting_down(self.actor_ref.name))
            await self._executor.close()

    def _children_ended(self, verdict: ev.Verdict) -> None:
        slot = runtime.slot_of(self.actor_ref)
        # As OTP: reason shutdown, so that a permanent supervisor is restarted by its parent.
        if verdict.reason == "intensity":
            runtime.exit_with(slot, "shutdown", self._gave_up(verdict))
        elif verdict.reason == "auto_shutdown":
            runtime.exit_with(slot, "shutdown")

    def _gave_up(self, verdict: ev.Verdict) -> RestartLimitReached:
        limit = "" if self._executor is None else str(self._executor.state.policy.intensity)
        error = RestartLimitReached(self.actor_ref.name, str(verdict.child), limit, verdict.exit)
        error.__cause__ = None if verdict.exit is None else verdict.exit.error
        return error

    @receives(Order)
    def _take_order(self, order: Order) -> None:
        executor = self._executor
        if executor is None:
            raise Refused("the supervisor has no children yet", code="not_started")
        event = self._event_of(executor, order)
        executor.request(event, _OrderAnswer(runtime.take_current(runtime.slot_of(self.actor_ref))))

    def _event_of(self, executor: Executor, order: Order) -> Callable[[int], ev.Event]:
        if order.verb == "start":
            spec = self._spec_of(executor, order.child)
            return lambda token: ev.StartChild(token, spec)
        name = _name_of(executor, order.child)
        kinds: dict[str, Callable[[int, str], ev.Event]] = {
            "terminate": ev.TerminateChild,
            "restart": ev.RestartChild,
            "delete": ev.DeleteChild,
        }
        kind = kinds[order.verb]
        return lambda token: kind(token, name)

    def _spec_of(self, executor: Executor, child: object) -> ChildSpec:
        if not isinstance(child, ChildSpec):
            raise Refused(
                f"start_child takes a child(...), not {repr_of(child)}", code="invalid_child"
            )
        if child.instances != 1:
            raise Refused("start_child starts one child at a time", code="invalid_instances")
        try:
            check_significance(child, executor.state.policy.auto_shutdown)
        except SpecError as error:
            raise Refused(str(error), code=error.reason) from error
        return child


def _looks_like_children(value: Any) -> bool:
    listed = value if isinstance(value, list | tuple) else (value,)
    return bool(listed) and all(isinstance(each, ChildSpec) or _is_actor(each) for each in listed)


def _is_actor(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Actor)


for _name, _rule in {
    "strategy": one_of(*STRATEGIES),
    "max_restarts": count(0, 2**31),
    "max_seconds": POSITIVE_SECONDS,
    "backoff": value_of(tuple, "a backoff"),
    "auto_shutdown": one_of(*AUTO_SHUTDOWNS),
    "max_children": count(0, 2**31),
    "partitions": count(1, 100_000),
}.items():
    known_option(_name, _rule, owner=Supervising)
known_option("children", Rule("children", _looks_like_children), alike=0.7, owner=Supervising)


class _OrderAnswer:
    """The answer to one order: given to whoever asked, or to nobody."""

    def __init__(self, item: InboxItem | None) -> None:
        self._item = item

    def answer(self, ref: ActorRef[Any] | None) -> None:
        """The order is carried out."""
        if self._item is not None:
            self._item.reply(ref)

    def refuse(self, error: Refused) -> None:
        """It is not, and `error` says why."""
        if self._item is not None:
            self._item.fail(Outcome("refused", error=error))


def shutting_down(name: str) -> Refused:
    """The refusal of every request to a supervisor that is ending."""
    return Refused(f"{name} is shutting down", code="shutting_down")


def _name_of(executor: Executor, child: object) -> str:
    """The name of a child given by name or by ref."""
    if isinstance(child, str):
        return child
    name = getattr(child, "name", None)
    slot = executor.slots.get(name) if isinstance(name, str) else None
    if slot is None or slot.ref != child:
        raise Refused(f"{repr_of(child)} is not a child of this supervisor", code="not_found")
    return str(name)
