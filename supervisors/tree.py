"""A whole tree as one plain value, and how a tree is started.

`tree_of` reads the latest decisions of every supervisor below a ref: no message,
no waiting, any thread. What it returns holds no actor, compares by value, and
`to_dict` gives it to JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from actors.runtime import owned_by, progress_of, slot_of
from actors.system import default_system
from supervisors.reports import exit_dict
from supervisors.requests import executor_of
from supervisors.spec import ChildSpec, Supervises, as_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import ActorRef, Exit, System
    from supervisors._children import Child
    from supervisors._executor import Executor

__all__ = ["TreeNode", "start", "tree_of"]

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One place in a tree.

    `state` is as in `ChildInfo`, or the state of the slot at the root. `restarts`
    counts its starts after the first; `last_exit` (plain values: reason, error, text,
    message_type, time, wall, restarts) says how it last ended, None if it never did.
    `inbox` counts the messages that wait in its slot, `handled` those handled since
    the slot was made, `hidden` the children left out. `progress`: how far the handler that
    runs says that it is (`report_progress`).
    """

    name: str
    actor_class: str
    kind: Literal["supervisor", "worker"]
    state: str
    restarts: int = 0
    last_exit: dict[str, Any] | None = None
    ref: str | None = None
    address: str | None = None
    strategy: str | None = None
    children: tuple[TreeNode, ...] = ()
    inbox: int = 0
    handled: int = 0
    hidden: int = 0
    progress: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The node and those below it as plain values; the class under the key `class`."""
        return {
            "name": self.name,
            "class": self.actor_class,
            "kind": self.kind,
            "state": self.state,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "ref": self.ref,
            "address": self.address,
            "strategy": self.strategy,
            "inbox": self.inbox,
            "handled": self.handled,
            "hidden": self.hidden,
            "progress": self.progress,
            "children": [child.to_dict() for child in self.children],
        }

    def walk(self) -> Iterator[TreeNode]:
        """The node, then those below it in start order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def lines(self) -> list[str]:
        """The tree as text, one line a node."""
        return [self._line(), *_branches(self)]

    def _line(self) -> str:
        kind = f" ({self.strategy})" if self.strategy else ""
        text = f"{self.name}  {self.actor_class}{kind}  {self.state}"
        if self.restarts:
            text += f"  {self.restarts} restart{'s' if self.restarts > 1 else ''}"
        if self.last_exit is not None and self.last_exit["error"] is not None:
            text += f"  last: {self.last_exit['error']}: {self.last_exit['text']}"
        return text


def _branches(node: TreeNode) -> Iterator[str]:
    last = len(node.children) - 1
    for place, child in enumerate(node.children):
        lines = child.lines()
        yield ("└─ " if place == last else "├─ ") + lines[0]
        for line in lines[1:]:
            yield ("   " if place == last else "│  ") + line


def tree_of(ref: ActorRef[Any], *, most: int | None = None) -> TreeNode:
    """Return the tree below a ref as it is now. Any thread; no message is sent.

    Args:
        ref: The root of what is shown.
        most: How many of each supervisor's children are shown at most, those in trouble
            first; None: all of them.

    Returns:
        The tree; a single node when `ref` is not a supervisor.
    """
    slot = slot_of(ref)
    return _node(
        ref,
        ref.name,
        ref.actor_class,
        state=slot.state.value,
        restarts=slot.restarts,
        last_exit=ref.exit,
        most=most,
    )


def _node(
    ref: ActorRef[Any] | None,
    name: str,
    actor_class: type[Any],
    *,
    state: str,
    restarts: int,
    last_exit: Exit | None,
    most: int | None,
) -> TreeNode:
    supervises = issubclass(actor_class, Supervises)
    executor = executor_of(ref) if supervises and ref is not None else None
    children = () if executor is None else tuple(_children(executor, most))
    listed = len(children)
    children += _owned(ref, most)
    return TreeNode(
        name=name,
        actor_class=actor_class.__qualname__,
        kind="supervisor" if supervises else "worker",
        state=state,
        restarts=restarts,
        last_exit=exit_dict(last_exit),
        ref=None if ref is None else ref.actor_urn,
        address=_address(ref, actor_class),
        strategy=None if executor is None else executor.state.policy.strategy,
        children=children,
        inbox=0 if ref is None else len(slot_of(ref).inbox),
        handled=0 if ref is None else slot_of(ref).handled,
        hidden=0 if executor is None else len(executor.state.children) - listed,
        progress="" if ref is None else progress_of(slot_of(ref)),
    )


def _owned(ref: ActorRef[Any] | None, most: int | None) -> tuple[TreeNode, ...]:
    """The trees that the actor itself has started."""
    if ref is None:
        return ()
    slots = owned_by(slot_of(ref))
    return tuple(tree_of(slot.ref, most=most) for slot in slots[:most])


def _address(ref: ActorRef[Any] | None, actor_class: type[Any]) -> str | None:
    actor = None if ref is None else slot_of(ref).actor
    address = getattr(actor_class if actor is None else actor, "address", None)
    return address if isinstance(address, str) else None


def _children(executor: Executor, most: int | None) -> Iterator[TreeNode]:
    children = executor.state.children
    for child in children if most is None else children.some(most):
        yield _child_node(executor, child, most)


def _child_node(executor: Executor, child: Child, most: int | None) -> TreeNode:
    slot = executor.slots.get(child.name)
    return _node(
        None if slot is None else slot.ref,
        child.name,
        child.spec.actor_class,
        state=str(child.phase),
        restarts=child.restarts,
        last_exit=child.last_exit,
        most=most,
    )


@overload
def start(
    tree: ChildSpec, system: System | None = None, *, name: str | None = None
) -> ActorRef[Any]: ...


@overload
def start(
    tree: Callable[[], A], system: System | None = None, *, name: str | None = None
) -> ActorRef[A]: ...


def start(tree: Any, system: System | None = None, *, name: str | None = None) -> ActorRef[Any]:
    """Start a tree at its root; `await ref.started()` for the end of the first start.

    Args:
        tree: A supervisor's class, a value made with `Supervisor.of(...)`, or any
            `child(...)`. Its restart kind does not count here: nobody is above the root.
        system: Where it starts; None: the system of this actor, loop or process.
        name: Its name; None: as `tree` says.

    Returns:
        The ref of the root, at once.

    Raises:
        SpecError: `tree` is none of these.
    """
    spec = as_spec(tree)
    into = default_system() if system is None else system
    return into.start(spec.actor_class, *spec.args, name=name or spec.name, **spec.kwargs)
