"""A proxy over the network: method calls become asks of a `Call` message.

It knows only names: nothing of the actor is looked up here, no attribute is read
or evaluated, and only what the actor's class marks `@exposed` answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.messaging import Call

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RemoteProxy"]


class RemoteProxy:
    """`await proxy.name(...)` calls the exposed method `name` of one member."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(f"{name}: a name that starts with _ is private")
        ask = self._ask

        def call(*args: Any, **kwargs: Any) -> Any:
            return ask(Call(name, list(args), kwargs))

        call.__name__ = name
        return call
