"""What a type checker knows of messages: type variables with a default, and `Takes`.

The defaults are there so that code without types goes on as it was.

`typing` knows defaults from Python 3.13 on. Type checkers bring their own copy of
`typing_extensions`, which nobody has to install for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import TypeVar

    #: The class of an actor.
    A_co = TypeVar("A_co", covariant=True, default=Any)
    #: The messages that are taken: one class or a union of some.
    M_contra = TypeVar("M_contra", contravariant=True, default=Any)
    #: The answer to a message.
    R = TypeVar("R", default=Any)
else:
    from typing import TypeVar

    A_co = TypeVar("A_co", covariant=True)
    M_contra = TypeVar("M_contra", contravariant=True)
    R = TypeVar("R")

__all__ = ["A_co", "M_contra", "R", "Takes"]


class Takes(Generic[M_contra]):
    """Something that takes messages of one class or a union: the base of every actor.

    A ref names it instead of the actors themselves, which know refs.
    """

    __slots__ = ()
