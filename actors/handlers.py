"""Which method of an actor takes which message: the handler table.

The table of a class is made and checked when the class is made: two methods
for one type, or a method that cannot take exactly one message, is a
`HandlerTableError` at import. A handler of a class takes its subclasses too,
the nearest one in the method resolution order wins, and `on_receive` takes the
rest. A method that overrides a handler by name inherits its types.

The table knows classes and functions; it has no instance and runs nothing.
"""

from __future__ import annotations

import inspect
import sys
from types import FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    overload,
)

from actors._batches import BatchOptions, gathering
from actors.errors import HandlerTableError
from actors.rules import POSITIVE_SECONDS, count, optional

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from actors.request import RequestOf

__all__ = [
    "Handler",
    "HandlerTable",
    "Lookup",
    "MarkedHandler",
    "exposed",
    "exposed_methods",
    "marked_handlers",
    "receives",
]

Handler: TypeAlias = "Callable[[Any, Any], Any]"
F = TypeVar("F", bound="Callable[..., Any]")
S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")

_RECEIVES: Final = "__actors_receives__"
_EXPOSED: Final = "__actors_exposed__"
_TIMEOUT: Final = "__actors_timeout__"
_BATCH: Final = "__actors_batch__"
_NOTED: Final = "__actors_noted__"


class _HandlerOf(Protocol[Q, R]):
    """What `@receives(Greet)` wants of a method, where `Greet` names its answer."""

    @overload
    def __call__(
        self, function: Callable[[S, Q], Coroutine[Any, Any, R]], /
    ) -> Callable[[S, Q], Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, function: Callable[[S, Q], R], /) -> Callable[[S, Q], R]: ...


@overload
def receives(
    kind: type[RequestOf[Q, R]], /, *, timeout: float | None = None
) -> _HandlerOf[Q, R]: ...


@overload
def receives(*types: type, timeout: float | None = None) -> Callable[[F], F]: ...


@overload
def receives(
    *types: type[Q], batch: int, within: float = 0.1
) -> Callable[[Callable[[S, list[Q]], R]], Callable[[S, list[Q]], R]]: ...


def receives(
    *types: type, timeout: float | None = None, batch: int | None = None, within: float = 0.1
) -> Any:
    """Bind a method to message classes, and to their subclasses.

    The method takes `self` and the message, and may be `async def`. What it returns
    answers an ask. For one class that is a `Request[R]` a type checker sees to it that the
    method takes that class and returns an `R`.

    Args:
        types: The classes, at least one.
        timeout: Seconds that it may take, more than 0, in place of the class's
            `handler_timeout`; for an `async def` of an `Actor`.
        batch: The method takes a list of messages, as many as have come, and at most so
            many; see docs/guide/actors.md for what it returns.
        within: Seconds that the first of a batch waits for others.

    Raises:
        HandlerTableError: there is none, something is not a class, or an option has no meaning.
    """
    _check(types, timeout, batch, within)
    body = sys._getframe(1).f_locals  # noqa: SLF001  # of the class that is being made

    def mark(function: F) -> F:
        if timeout is not None:
            _check_interruptible(function)
            setattr(function, _TIMEOUT, timeout)
        if batch is not None:
            setattr(function, _BATCH, BatchOptions(batch, within))
        before = getattr(function, _RECEIVES, ())
        setattr(function, _RECEIVES, (*types, *before))
        _note(body, function)
        return function

    return mark


def _check(types: tuple[Any, ...], timeout: object, batch: object, within: object) -> None:
    for kind in types:
        if not isinstance(kind, type):
            raise HandlerTableError(f"@receives takes classes, not {kind!r}")
    if not types:
        raise HandlerTableError("@receives needs at least one class, as in @receives(Reserve)")
    for name, rule, value in (
        ("timeout", optional(POSITIVE_SECONDS), timeout),
        ("batch", optional(count(1, 100_000)), batch),
        ("within", POSITIVE_SECONDS, within),
    ):
        if complaint := rule.complaint(value):
            raise HandlerTableError(f"@receives({name}=...): {complaint}")
    if batch is not None and timeout is not None:
        raise HandlerTableError(
            "@receives(batch=..., timeout=...): a batch has the handler_timeout of its class"
        )


def _check_interruptible(function: Any) -> None:
    if not inspect.iscoroutinefunction(function):
        raise HandlerTableError(
            f"{function.__qualname__} is a plain def, which nothing can interrupt: make it an "
            "async def, or take its timeout away"
        )


def _note(body: dict[str, Any], function: Any) -> None:
    """Write down in the class's own body that it has this handler.

    A second definition of the same name takes the place of the first one without a
    word; the table finds it missing.
    """
    if "__qualname__" not in body or not isinstance(function, FunctionType):
        return  # not in the body of a class
    name, qualname = function.__name__, body["__qualname__"]
    noted: dict[str, FunctionType] = body.setdefault(_NOTED, {})
    other = noted.get(name)
    if other is not None and other is not function:
        raise HandlerTableError(
            f"{qualname} has two handlers named {name}: the second would take the place of "
            "the first; give it another name"
        )
    noted[name] = function


def exposed(function: F) -> F:
    """Mark a method that may be called over the network through a proxy.

    Args:
        function: The method; its name does not start with `_`.

    Raises:
        HandlerTableError: it does.
    """
    name = getattr(function, "__name__", "")
    if name.startswith("_"):
        raise HandlerTableError(f"@exposed {name}: a name that starts with _ is private")
    setattr(function, _EXPOSED, True)
    return function


class Lookup(dict[type, "Handler | None"]):
    """From the exact class of a message to its handler, filled as classes come.

    A class seen for the first time goes through `__missing__`. The value None
    marks the runtime's own wrappers. `known` has the same entries in an exact
    dict, whose subscription Python makes faster: the hot path asks it first.
    """

    __slots__ = ("_rest", "_typed", "known")

    def __init__(
        self,
        typed: Mapping[type, Handler],
        rest: Handler,
        fixed: Mapping[type, Handler | None],
    ) -> None:
        super().__init__(fixed)
        self.known = dict(fixed)
        # A transport derives wrappers of its own from the runtime's.
        self._typed: Mapping[type, Handler | None] = {**fixed, **typed}
        self._rest = rest

    def __missing__(self, kind: type) -> Handler | None:
        found: Handler | None = self._rest
        for base in kind.__mro__:
            if base in self._typed:
                found = self._typed[base]
                break
        self[kind] = self.known[kind] = found
        return found

    def around(self, each: Callable[[Handler], Handler], but: frozenset[type]) -> Lookup:
        """Return another one, which has in the place of each handler what `each` makes of it.

        `but`: those of these classes stay as they are.
        """
        all_ = {
            kind: handler if handler is None or kind in but else each(handler)
            for kind, handler in self._typed.items()
        }
        return Lookup({}, each(self._rest), all_)


class HandlerTable:
    """The checked table of one actor class.

    `typed` maps message classes to functions, `exposed` holds the names that
    may be called from outside. `timeouts` has the handlers that have one of their own;
    `gathering` those that only put messages aside for a batch; `largest_batch` is how many
    messages one of them may want together, 1 without batches.
    """

    __slots__ = ("exposed", "gathering", "largest_batch", "timeouts", "typed")

    def __init__(self, owner: type, *, threaded: bool) -> None:
        for name in vars(owner).get(_NOTED, ()):
            if getattr(vars(owner).get(name), _RECEIVES, None) is None:
                raise HandlerTableError(
                    f"{owner.__qualname__}.{name} is not a handler any more: another definition "
                    "or a decorator took its place; put @receives on what is there at last"
                )
        names: dict[type, str] = {}
        self.typed: dict[type, Handler] = {}
        batches: dict[str, BatchOptions] = dict(_marked(owner, _BATCH))
        gatherers: set[Handler] = set()
        self.largest_batch = max((each.size for each in batches.values()), default=1)
        for name, types in _marked(owner, _RECEIVES):
            handler = _checked(owner, name, threaded=threaded)
            if name in batches:
                handler = gathering(handler, batches[name])
                gatherers.add(handler)
            for kind in types:
                other = names.setdefault(kind, name)
                if other != name:
                    raise HandlerTableError(
                        f"{owner.__qualname__} has two handlers for {kind.__qualname__}: "
                        f"{other} and {name}; keep one of them, or override it by its name"
                    )
                self.typed[kind] = handler
        self.gathering = frozenset(gatherers)
        self.exposed = frozenset(name for name, _ in _marked(owner, _EXPOSED))
        #: What overrides a handler by its name inherits the timeout, as the types.
        self.timeouts: dict[Handler, float] = {
            getattr(owner, name): seconds for name, seconds in _marked(owner, _TIMEOUT)
        }
        for name in ("on_receive", "on_start", "on_stop", "on_failure", "after_start"):
            if threaded:
                _refuse_async(owner, name, getattr(owner, name, None))

    def lookup(
        self,
        rest: Handler,
        fixed: Mapping[type, Handler | None],
        *around: Callable[[Handler], Handler] | None,
    ) -> Lookup:
        """A fresh lookup over this table; `rest` takes what no entry takes.

        Each of `around` makes of a handler the one that is called in its place, the first one
        innermost; None is none.
        """
        typed, wrapped = self.typed, fixed
        for each in around:
            if each is not None:
                typed = {kind: each(handler) for kind, handler in typed.items()}
                rest = each(rest)
                wrapped = {
                    kind: None if handler is None else each(handler)
                    for kind, handler in wrapped.items()
                }
        return Lookup(typed, rest, wrapped)


def exposed_methods(actor_class: type) -> frozenset[str]:
    """Return the names of the methods that are marked `@exposed`.

    Args:
        actor_class: A class of actors; what its bases mark counts too.
    """
    return frozenset(name for name, _ in _marked(actor_class, _EXPOSED))


class MarkedHandler(NamedTuple):
    """A method with `@receives`. `in_batches`: it takes a list of messages."""

    function: Callable[..., Any]
    in_batches: bool


def marked_handlers(actor_class: type) -> dict[type, MarkedHandler]:
    """Return the method that takes each class of messages, as it is written.

    Args:
        actor_class: A class of actors; what its bases mark counts too.
    """
    found: dict[type, MarkedHandler] = {}
    for name, types in _marked(actor_class, _RECEIVES):
        function = getattr(actor_class, name)
        marked = MarkedHandler(function, getattr(function, _BATCH, None) is not None)
        found.update(dict.fromkeys(types, marked))
    return found


def _marked(owner: type, mark: str) -> Iterator[tuple[str, Any]]:
    marks: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        for name, value in vars(base).items():
            if (found := getattr(value, mark, None)) is not None:
                marks[name] = found
    return iter(marks.items())


def _checked(owner: type, name: str, *, threaded: bool) -> Handler:
    where = f"{owner.__qualname__}.{name}"
    function = inspect.getattr_static(owner, name)
    if not isinstance(function, FunctionType):
        raise HandlerTableError(f"{where} must be a plain method, not {type(function).__name__}")
    if threaded:
        _refuse_async(owner, name, function)
    required = 0
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is parameter.empty:
            required += 1 if parameter.kind is not parameter.KEYWORD_ONLY else 3
    if required != 2:
        raise HandlerTableError(
            f"{where} must take exactly self and one message, "
            f"but its signature is {inspect.signature(function)}"
        )
    return function


def _refuse_async(owner: type, name: str, function: object) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerTableError(
            f"{owner.__qualname__}.{name} is async, but the class runs on a thread of its own; "
            "write a plain def there, or make the class an actors.Actor"
        )
