from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from actors.testing import ManualClock
from irismq_runtime.pyiris import ManagedConnection, Options
from tests.pyiris.scripted import ScriptedRelay, ends, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from irismq_runtime.ports import MemberHandler


class Members:
    """A member's handler that keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.broadcasts: list[bytes] = []
        self.tunnels: list[Any] = []
        self.lost: list[str] = []
        self.joined = 0

    def on_request(self, request: Any) -> None:
        self.requests.append(request)

    def on_broadcast(self, body: bytes) -> None:
        self.broadcasts.append(body)

    def on_tunnel(self, tunnel: Any) -> None:
        self.tunnels.append(tunnel)

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)

    def on_joined(self) -> None:
        self.joined += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def relay() -> ScriptedRelay:
    return ScriptedRelay()


@pytest.fixture
def handler() -> Members:
    return Members()


@pytest.fixture
async def connect(relay: ScriptedRelay, clock: ManualClock) -> AsyncIterator[Callable[..., Any]]:
    """Make started connections to the scripted relay; they are closed at the end."""
    made: list[ManagedConnection] = []

    async def make(
        cluster: str = "", handler: MemberHandler | None = None, **options: Any
    ) -> ManagedConnection:
        connection = ManagedConnection(
            cluster=cluster,
            handler=handler,
            options=Options(**options),
            clock=clock,
            rng=random.Random(7),
            dial=relay.dial,
        )
        made.append(connection)
        await connection.start()
        await turns()
        return connection

    yield make
    for connection in made:
        await ends(connection.close(drain=0), clock)
    assert clock.pending == 0, "a closed connection leaves no timer"
