"""`Request[R]`: a message class that names its answer, for the type checker alone.

    @message("greeter.greet")
    @dataclass(frozen=True, slots=True)
    class Greet(Request[str]):
        name: str

With it `await ref.ask(Greet("Ada"))` is a `str` to mypy and pyright, `ask_all` gives a
`Gathered[str]`, and `@receives(Greet)` wants a method that returns a `str`. A handler
that streams is an async generator, so its message is a `Request[AsyncIterator[Item]]`.

Nothing happens at run time: the class has no field, no slot and no method, and is no
part of what goes on the wire. It goes with dataclasses, attrs classes and
`msgspec.Struct` (first base: `class Greet(Request[str], msgspec.Struct)`).

What a ref or an actor takes is one more type, a union of messages, `Any` unless said:
`ServiceRef[Greet | Count]`, `class Greeter(Actor[Greet | Count])`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Plain", "Request", "RequestOf"]

M_co = TypeVar("M_co", covariant=True)
#: The answer.
R_co = TypeVar("R_co", covariant=True)


class Request(Generic[R_co]):
    """Base of the messages that are answered with an `R_co`; see the module."""

    __slots__ = ()

    if TYPE_CHECKING:
        # Through these two a checker sees the class and its answer at once (`RequestOf`),
        # and tells it from a message that names none (`Plain`).
        def __request__(self) -> tuple[Self, R_co]: ...

        def __sizeof__(self, is_a_request: None) -> int: ...  # type: ignore[override]  # on purpose: see Plain


class RequestOf(Protocol[M_co, R_co]):
    """A `Request` that is one of `M_co` and is answered with an `R_co`; for signatures."""

    def __request__(self) -> tuple[M_co, R_co]:
        """Never called, and only declared."""
        ...


class Plain(Protocol):
    """Any object but a `Request`: its answer can be anything; for signatures.

    Without it a checker that expects another answer than the right one would take the
    signature for messages that name none.
    """

    def __sizeof__(self) -> int:
        """As every object's."""
        ...
