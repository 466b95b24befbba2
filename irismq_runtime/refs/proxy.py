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
    """`await proxy.name(...)` calls the exposed method `name` of one member.

    `interface`: a class that has all methods one may call; None: any name goes.
    """

    __slots__ = ("_ask", "_interface")

    def __init__(self, ask: Callable[..., Any], interface: type | None = None) -> None:
        self._ask = ask
        self._interface = interface

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(f"{name}: a name that starts with _ is private")
        if self._interface is not None and not hasattr(self._interface, name):
            raise AttributeError(f"{self._interface.__qualname__} has no method {name}")
        ask = self._ask

        def call(*args: Any, **kwargs: Any) -> Any:
            return ask(Call(name, list(args), kwargs))

        call.__name__ = name
        return call
