"""Pykka's proxies on our refs: methods and attributes of an actor from outside.

A local proxy reaches what Pykka's reaches. Nothing is evaluated when it is
made: properties are not read, refs held by the actor are not followed. Calls
and reads give futures.
"""

from __future__ import annotations

from asyncio import _get_running_loop as running_loop
from typing import Any, TypeVar

import pykka
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

__all__ = ["Proxy", "ProxyCall", "ProxyGetAttr", "ProxySetAttr"]

A = TypeVar("A", bound=pykka.Actor)


class Proxy(pykka.ActorProxy[A]):
    """A `pykka.ActorProxy`. Setting an attribute waits, except on a loop's thread."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "actor_ref" or name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        message = ProxySetAttr(attr_path=(*self._attr_path, name), value=value)
        self.actor_ref.ask(message, block=running_loop() is None)
