"""Fixtures of the relay suites: a relay of either kind, and clients that are cleaned up."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.contracts.relay.client import Client
from tests.support.iris_relay import IrisRelay, iris_relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.fixture(params=["embedded", "nats", pytest.param("real", marks=pytest.mark.real_iris)])
async def relay(request: pytest.FixtureRequest) -> AsyncIterator[IrisRelay]:
    """A relay that keeps the specification; the real one may be shared with other tests."""
    async with iris_relay(request.param) as server:
        yield server


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """`connect(relay, cluster="")` gives an accepted client that ends with the test."""
    async with AsyncExitStack() as stack:

        async def connect(server: IrisRelay, cluster: str = "") -> Client:
            return await stack.enter_async_context(await Client.connect(server, cluster))

        yield connect
