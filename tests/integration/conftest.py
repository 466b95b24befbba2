"""Servers for the integration tests: ours always, the real ones where they are named."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime import Node
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Servers:
    """One broker and one relay on real sockets, and nodes on them."""

    nsqd: Any
    relay: Any
    nodes: list[Node] = field(default_factory=list)

    @property
    def flags(self) -> list[str]:
        return ["--nsqd", self.nsqd_at, "--iris", self.iris_at]

    @property
    def nsqd_at(self) -> str:
        return f"{self.nsqd.host}:{self.nsqd.port}"

    @property
    def iris_at(self) -> str:
        return f"{self.relay.host}:{self.relay.port}"

    @contextlib.asynccontextmanager
    async def node(self, name: str = "node", **options: Any) -> AsyncIterator[Node]:
        options.setdefault("presence_period", 0.3)
        options.setdefault("drain", 3.0)
        async with Node(name=name, nsqd=self.nsqd_at, iris=self.iris_at, **options) as node:
            yield node


@pytest.fixture(
    params=[
        pytest.param(("embedded", "embedded"), id="embedded"),
        pytest.param(("real", "embedded"), id="real-nsqd", marks=pytest.mark.real_nsqd),
        pytest.param(("embedded", "real"), id="real-iris", marks=[pytest.mark.real_iris]),
    ]
)
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    nsqd_kind, iris_kind = request.param
    own = "kills_relay" in request.fixturenames
    async with nsqd_server(nsqd_kind) as nsqd, iris_relay(iris_kind, own=own) as relay:
        yield Servers(nsqd, relay)


@pytest.fixture
def kills_relay() -> None:
    """Asks for a relay of the test's own, that it may kill."""
