"""The fixture `embedded_node`: what a module of tests says its node is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import message, receives
from irismq_runtime import Durable

if TYPE_CHECKING:
    from irismq_runtime import Node


@message("fixture.count")
@dataclass
class Count:
    value: int = 0


class Counter(Durable):
    address = "fixture.counter"
    state: Count

    @receives(int)
    def add(self, number: int) -> int:
        self.state.value += number
        return self.state.value


@pytest.fixture
def embedded_node_options() -> dict[str, Any]:
    return {"store": "memory:", "name": "mine"}


async def test_its_node_is_given_what_the_module_says(embedded_node: Node) -> None:
    await embedded_node.start(Counter)
    assert await embedded_node.ref("fixture.counter").ask(3) == 3
    assert embedded_node.config.name == "mine"
