"""What the tests of group B share: relays of both kinds, and actors to ask."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, message, receives

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime import Node

__all__ = ["ON_RELAYS", "Do", "Holder", "outcome", "seen"]

#: Each relay beside the embedded broker: these cases are about the relay.
ON_RELAYS = pytest.mark.parametrize(
    "servers",
    [
        pytest.param(("embedded", "embedded"), id="embedded"),
        pytest.param(("embedded", "real"), id="real-iris", marks=pytest.mark.real_iris),
    ],
    indirect=True,
)


@message("group.do")
@dataclass(frozen=True)
class Do:
    what: str = ""


class Holder(Actor):
    """Answers at once, except what is to be held: its `Reply` goes into `held`."""

    def __init__(self, address: str, log: list[Any] | None = None, **attributes: Any) -> None:
        super().__init__()
        self.address = address
        self.log = [] if log is None else log
        self.held: list[Any] = attributes.pop("held", [])
        self.answer: Callable[[Any], Any] = attributes.pop("answer", lambda what: what)
        assert not attributes

    @receives(Do)
    async def do(self, do: Do) -> Any:
        self.log.append(do.what)
        if do.what == "hold":
            self.held.append(self.reply_later())
            return None
        value = self.answer(do.what)
        return await value if asyncio.iscoroutine(value) else value

    def on_receive(self, message: Any) -> Any:
        self.log.append(message)
        return message

    async def on_tunnel(self, tunnel: Any) -> None:
        async for item in tunnel:
            if item == "close":
                return
            await tunnel.send(item)


async def outcome(awaitable: Any) -> Any:
    """The value, or the error instead of it."""
    try:
        return await awaitable
    except Exception as error:
        return error


def seen(node: Node, name: str) -> list[dict[str, Any]]:
    """The fields of the events of this name, from now on."""
    found: list[dict[str, Any]] = []

    def note(event: Any) -> None:
        if event.name == name:
            found.append(dict(event.fields))

    node.system.events.subscribe(note)
    return found
