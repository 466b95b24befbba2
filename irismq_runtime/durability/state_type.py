"""The type of an actor's state: found and checked when its class is made; state to bytes.

    class Cart(Durable):
        state: CartState

`CartState` is a registered message type of which every field has a default, so that a new
state can be made, written and read again: that is tried here, once for each class, and what
does not work is an `ActorClassError` that names the field. Knows no store and no actor.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

from actors.errors import ActorClassError
from actors.messages import message_name
from actors.texts import line_of
from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge
from irismq_runtime.wire import Serializer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["state_type_of"]

_trial: Final = Serializer()


def state_type_of(cls: type) -> type | None:
    """Return the type of the state that `cls`, or a base of it, declares; None: it has none.

    Called while the class is made: names of the function around it are known.

    Raises:
        ActorClassError: It cannot be the type of a state.
    """
    declared = vars(cls).get("__annotations__", {}).get("state")
    if declared is None:
        return getattr(cls, "__state_type__", None)
    where = f"{cls.__qualname__}.state"
    kind = _resolved(cls, declared, where) if isinstance(declared, str) else declared
    if not isinstance(kind, type):
        raise ActorClassError(f"{where}: {kind!r} is not a class; name one that has @message")
    _check(kind, where)
    return kind


def _resolved(cls: type, text: str, where: str) -> object:
    """What an annotation in text names, in the module and the function of the class."""
    module = sys.modules.get(cls.__module__)
    names: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # no other way to a caller's names
    while frame is not None and frame.f_globals.get("__name__") != cls.__module__:
        frame = frame.f_back
    if frame is not None:
        names = frame.f_locals
    try:
        found: object = eval(text, vars(module) if module else {}, names)  # noqa: S307  # as typing does it, with the text of the class itself
    except Exception as error:
        problem = f"{text} has no meaning here ({line_of(error)}); import it where the class is"
        raise ActorClassError(f"{where}: {problem}") from error
    return found


def _check(kind: type, where: str) -> None:
    name = kind.__qualname__
    if message_name(kind) is None:
        raise ActorClassError(f'{where}: {name} has no name; write @message("...") above its class')
    bare = _without_default(kind)
    if bare:
        raise ActorClassError(
            f"{where}: {name}.{bare[0]} has no default, and a new state begins with the "
            "defaults; give it one"
        )
    try:
        _trial.load(*_trial.dump(kind()))
    except (EncodeError, DecodeError, MessageTooLarge) as error:
        field = getattr(error, "path", "$").removeprefix("$.") or "its value"
        raise ActorClassError(f"{where}: {name}: {field} cannot be kept ({error})") from error
    except Exception as error:
        raise ActorClassError(f"{where}: {name}() failed ({line_of(error)})") from error


def _without_default(kind: Callable[..., Any]) -> list[str]:
    """The arguments that its constructor cannot do without."""
    return [
        one.name
        for one in inspect.signature(kind).parameters.values()
        if one.default is one.empty and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]
