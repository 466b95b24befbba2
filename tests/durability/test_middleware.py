"""A durable actor within middleware, with a time limit inside of its unit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from actors import message, receives
from irismq_runtime import Durable, RemoteError
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers


@message("middled.state")
@dataclass
class Kept:
    seen: list[str] = field(default_factory=list)


class Keeper(Durable):
    address = "middled.keeper"
    handler_timeout = 0.05
    state: Kept

    def after_start(self) -> None:
        self.started = True

    @receives(str)
    def keep(self, message: str) -> list[str]:
        self.state.seen.append(message)
        return list(self.state.seen)

    @receives(int)
    async def hang(self, message: int) -> None:
        self.state.seen.append("never")
        await asyncio.Event().wait()


async def test_what_a_unit_does_is_kept_within_middleware_and_undone_at_its_limit():
    around = []

    async def shouting(context, message, call_next):
        around.append(message)
        return await call_next(message.upper() if isinstance(message, str) else message)

    async with MemoryServers().node(middleware=[shouting], store="memory:") as node:
        await node.start(Supervisor.of(child(Keeper), max_restarts=10))
        keeper = node.ref("middled.keeper")
        assert await keeper.ask("tea") == ["TEA"]
        with pytest.raises(RemoteError, match=r"within 0\.05 s"):
            await keeper.ask(1)
        assert await keeper.ask("milk") == ["TEA", "MILK"]
        assert around == ["tea", 1, "milk"], "and not around after_start"
