"""What a child is: its class and arguments, and the rules it is kept by.

Values only: nothing here starts anything. What can be checked about one child is
checked when it is made, so that the traceback shows the line of the mistake; what
concerns children together (`check_children`) when their supervisor is defined or
started. Refusals carry OTP's tags, as its `check_childspecs` does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypedDict, overload

from actors.rules import SECONDS, TEXT, count, one_of, shown
from supervisors.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack

__all__ = [
    "AutoShutdown",
    "ChildSpec",
    "Restart",
    "Shutdown",
    "Supervises",
    "check_children",
    "child",
]

P = ParamSpec("P")

#: When a child that has ended is started again: always, after a failure, or never.
Restart = Literal["permanent", "transient", "temporary"]
#: How long a child has to end in order: seconds, for ever, or not at all.
Shutdown = float | Literal["infinity", "kill"]
#: Whether the end of significant children ends their supervisor.
AutoShutdown = Literal["never", "any_significant", "all_significant"]

RESTARTS = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")
WORKER_SHUTDOWN = 5.0
_INSTANCES: Final = count(1, 100_000)


class ChildOptions(TypedDict, total=False):
    """How a child is kept; see `child`. None is as if it were not given."""

    name: str | None
    restart: Restart | None
    shutdown: Shutdown | None
    significant: bool | None
    instances: int | None


class Supervises:
    """Marks an actor class that has children of its own (kind `supervisor`)."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child. Make it with `child(...)`; see there for the meaning of the fields.

    The arguments are handed to every incarnation as they are: the same objects,
    never copied and never changed by the supervisor.
    """

    actor_class: type[Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    restart: Restart = "permanent"
    shutdown: Shutdown | None = None
    significant: bool = False
    instances: int = 1

    def __post_init__(self) -> None:
        if not _is_actor_class(self.actor_class):
            raise SpecError("invalid_actor_class", self.actor_class, "give a class of actors")
        if not TEXT.takes(self.name):  # the tree of the node is told by it
            raise SpecError("invalid_name", self.name, "a name is a text that UTF-8 can carry")
        if not self.name:
            object.__setattr__(self, "name", self.actor_class.__name__)
        if self.shutdown is None:
            # A finite time could cut a subtree off in the middle of stopping its own children.
            own = "infinity" if self.kind == "supervisor" else WORKER_SHUTDOWN
            object.__setattr__(self, "shutdown", own)
        _check_child(self)

    @property
    def kind(self) -> Literal["supervisor", "worker"]:
        """`supervisor` when the child has children of its own."""
        return "supervisor" if issubclass(self.actor_class, Supervises) else "worker"

    @property
    def stop_within(self) -> Shutdown:
        """`shutdown` with its default filled in."""
        return "infinity" if self.shutdown is None else self.shutdown

    def with_options(self, **options: Unpack[ChildOptions]) -> ChildSpec:
        """Return the same child with other options.

        As `child(Clerk, "desk").with_options(restart="transient")`: so written, a type
        checker looks at the constructor's arguments and at the options.

        Args:
            options: Those of `child`: name, restart, shutdown, significant, instances.

        Returns:
            A new value; what is None stays as it is.

        Raises:
            SpecError: an option is not right.
            TypeError: there is no such option.
        """
        if unknown := options.keys() - ChildOptions.__optional_keys__:
            known = ", ".join(sorted(ChildOptions.__optional_keys__))
            raise TypeError(f"a child has no option {min(unknown)!r}; it knows {known}")
        given: Any = {key: value for key, value in options.items() if value is not None}
        return replace(self, **given)

    def expanded(self) -> tuple[ChildSpec, ...]:
        """One specification per instance: itself, or `name-1` to `name-N`."""
        if self.instances == 1:
            return (self,)
        return tuple(
            replace(self, name=f"{self.name}-{number}", instances=1)
            for number in range(1, self.instances + 1)
        )


@overload
def child(spec: ChildSpec, /, **options: Unpack[ChildOptions]) -> ChildSpec: ...


# No signature can have both the constructor's arguments, checked, and options of its own:
# where one of the five is given the arguments are not looked at (`with_options` is the way).
@overload
def child(
    actor_class: Callable[..., Any],
    /,
    *args: Any,
    name: str,
    restart: Restart | None = None,
    shutdown: Shutdown | None = None,
    significant: bool | None = None,
    instances: int | None = None,
    **kwargs: Any,
) -> ChildSpec: ...


@overload
def child(
    actor_class: Callable[..., Any],
    /,
    *args: Any,
    restart: Restart,
    shutdown: Shutdown | None = None,
    significant: bool | None = None,
    instances: int | None = None,
    **kwargs: Any,
) -> ChildSpec: ...


@overload
def child(
    actor_class: Callable[..., Any],
    /,
    *args: Any,
    shutdown: Shutdown,
    significant: bool | None = None,
    instances: int | None = None,
    **kwargs: Any,
) -> ChildSpec: ...


@overload
def child(
    actor_class: Callable[..., Any],
    /,
    *args: Any,
    significant: bool,
    instances: int | None = None,
    **kwargs: Any,
) -> ChildSpec: ...


@overload
def child(
    actor_class: Callable[..., Any],
    /,
    *args: Any,
    instances: int,
    **kwargs: Any,
) -> ChildSpec: ...


@overload
def child(actor_class: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> ChildSpec: ...


def child(  # type: ignore[misc]  # a constructor's own `name` and the like are not reached
    actor_class: Any,
    /,
    *args: Any,
    name: str | None = None,
    restart: Restart | None = None,
    shutdown: Shutdown | None = None,
    significant: bool | None = None,
    instances: int | None = None,
    **kwargs: Any,
) -> ChildSpec:
    """Say how one child is started, restarted and stopped.

    Args:
        actor_class: a class of actors, or a supervisor made with `Supervisor.of(...)`.
        args: arguments of its constructor, the same at every restart.
        kwargs: keyword arguments of its constructor, likewise.
        name: unique among its siblings; the class's name unless given.
        restart: `permanent` (always, the default), `transient` (unless it ended with
            `normal` or `shutdown`), `temporary` (never; forgotten when it ends).
        shutdown: seconds to wait for its orderly stop before it is cancelled (5.0, or
            `"infinity"` for a supervisor); `"kill"` does not ask first.
        significant: with the supervisor's `auto_shutdown`, its own end ends the
            supervisor; only for `transient` and `temporary` children.
        instances: start as many like children, named `name-1`, `name-2`, ...

    Raises:
        SpecError: with OTP's tag as `reason`, where one of these is not so.
    """
    spec = actor_class
    if not isinstance(spec, ChildSpec):
        spec = ChildSpec(actor_class, args, kwargs)
    elif args or kwargs:
        raise SpecError("invalid_arguments", args or kwargs, "the value has its arguments")
    return spec.with_options(
        name=name,
        restart=restart,
        shutdown=shutdown,
        significant=significant,
        instances=instances,
    )


def as_spec(entry: ChildSpec | type[Any], option: str = "") -> ChildSpec:
    """A child as written in a list: a `child(...)`, or a bare class of actors.

    Raises `SpecError`, which names the option that the entry was given as, if it was.
    """
    if isinstance(entry, ChildSpec):
        return entry
    if option and not _is_actor_class(entry):
        hint = f"{option} takes a child(...) or a class of actors"
        raise SpecError("invalid_actor_class", entry, hint)
    return ChildSpec(entry)


def check_children(
    children: Iterable[ChildSpec | type[Any]],
    *,
    auto_shutdown: AutoShutdown = "never",
) -> tuple[ChildSpec, ...]:
    """Check children together without starting them.

    Args:
        children: A sequence of `child(...)` or classes.
        auto_shutdown: As the supervisor has it; a significant child needs one.

    Returns:
        The children with their instances written out, each under its own name.

    Raises:
        SpecError: `duplicate_child_name`, or `bad_combination` of `significant` with
            `auto_shutdown="never"`.
    """
    written = [as_spec(entry, "children") for entry in _listed(children)]
    specs = tuple(one for spec in written for one in spec.expanded())
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            hint = "give one of them another name="
            raise SpecError("duplicate_child_name", spec.name, hint, child=spec.name)
        seen.add(spec.name)
        check_significance(spec, auto_shutdown)
    return specs


def _listed(children: Any) -> Iterable[ChildSpec | type[Any]]:
    """The children, if they are a sequence. Raises `SpecError`.

    Not an iterator: it would be empty when the supervisor starts its children again.
    """
    if isinstance(children, ChildSpec | type):
        raise SpecError("invalid_children", children, "write a list: children = [...]")
    if not isinstance(children, Collection) or isinstance(children, str | bytes | Mapping):
        hint = "a list of child(...) or actor classes"
        raise SpecError("invalid_children", shown(children), hint)
    return children


def check_significance(spec: ChildSpec, auto_shutdown: AutoShutdown) -> None:
    """Refuse a significant child where nothing looks at its significance."""
    if spec.significant and auto_shutdown == "never":
        raise SpecError(
            "bad_combination",
            {"auto_shutdown": auto_shutdown, "significant": True},
            "set auto_shutdown to any_significant or all_significant on the supervisor",
            child=spec.name,
        )


def _check_child(spec: ChildSpec) -> None:
    if not one_of(*RESTARTS).takes(spec.restart):
        hint = "one of permanent, transient, temporary"
        raise SpecError("invalid_restart_type", spec.restart, hint, child=spec.name)
    if not _is_shutdown(spec.shutdown):
        hint = 'seconds, "infinity" or "kill"'
        raise SpecError("invalid_shutdown", spec.shutdown, hint, child=spec.name)
    if not isinstance(spec.significant, bool):
        raise SpecError("invalid_significant", spec.significant, "True or False", child=spec.name)
    if spec.significant and spec.restart == "permanent":
        raise SpecError(
            "bad_combination",
            {"restart": "permanent", "significant": True},
            "a permanent child never ends on its own: make it transient or temporary",
            child=spec.name,
        )
    if not _INSTANCES.takes(spec.instances):
        raise SpecError("invalid_instances", spec.instances, _INSTANCES.wanted, child=spec.name)


def _is_shutdown(value: object) -> bool:
    return value in ("infinity", "kill") if isinstance(value, str) else SECONDS.takes(value)


def _is_actor_class(value: object) -> bool:
    # Pykka's classes count too, and this package must not know Pykka: its hooks tell.
    return isinstance(value, type) and hasattr(value, "on_receive") and hasattr(value, "on_start")
