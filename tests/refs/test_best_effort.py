"""How `tell_all` and a live `publish` fail: at the call, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from irismq_runtime import ConnectionLost, EncodeError, MessageTooLarge
from tests.node.helpers import Add, MemoryServers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from irismq_runtime import Node


@pytest.fixture
async def world() -> MemoryServers:
    return MemoryServers()


@pytest.fixture
async def node(world: MemoryServers) -> AsyncIterator[Node]:
    async with world.node() as node:
        yield node


def send(node: Node, verb: str, message: object) -> None:
    """Send it to everybody, one way or the other."""
    if verb == "tell_all":
        assert node.ref("test.any").tell_all(message) is None
    else:
        assert node.publish("test.topic", message, durable=False) is None


VERBS = pytest.mark.parametrize("verb", ["tell_all", "publish"])


@VERBS
async def test_with_the_relay_away_it_is_said_at_the_call(
    world: MemoryServers, node: Node, verb: str
) -> None:
    world.relay.cut = True
    with pytest.raises(ConnectionLost) as caught:
        send(node, verb, Add(1))
    assert caught.value.outcome == "not sent"


@VERBS
async def test_what_is_too_large_is_said_at_the_call(node: Node, verb: str) -> None:
    with pytest.raises(MessageTooLarge):
        send(node, verb, b"x" * 2_000_000)


@VERBS
async def test_what_cannot_be_encoded_is_said_at_the_call(node: Node, verb: str) -> None:
    with pytest.raises(EncodeError) as caught:
        send(node, verb, {"lines": [1, object()]})
    assert caught.value.path == "$.lines[1]"


@VERBS
async def test_that_nobody_hears_it_is_no_error(node: Node, verb: str) -> None:
    send(node, verb, Add(1))
