"""For tests of services: what a node has handled, its dead letters, what may travel.

Nothing here is mocked: `Node.embedded()` (the fixture `embedded_node`) has a broker and a
relay of its own, and what is sent goes through sockets, encoded and checked as in
production. To stand in for a service that another one tells or asks, give a probe its
address: `Probe(node.system, address="shop.mail")`. `actors.testing` has the rest.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from actors.testing.waiting import PATIENCE, expect_event
from irismq_runtime.dead_letters.reader import LetterCount, open_reader
from irismq_runtime.namespace import Namespace
from irismq_runtime.wire import Envelope, Serializer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from irismq_runtime.node import Node

__all__ = ["DeadMessage", "dead_letters", "handled", "travelled"]

T = TypeVar("T")


@asynccontextmanager
async def handled(
    node: Node, address: str, count: int = 1, *, timeout: float = PATIENCE
) -> AsyncIterator[None]:
    """Wait, at the end of the block, until stored messages have been handled and finished.

        async with handled(node, "shop.stock", 3):
            for sku in ("tea", "coffee", "milk"):
                stock.tell(Reserve(sku))

    Args:
        node: The one that serves the address.
        address: Whose mailbox it is, or the topic of durable events.
        count: How many messages, from the beginning of the block on.
        timeout: Seconds of real time from the end of the block.

    Raises:
        AssertionError: Fewer were handled.
    """
    async with expect_event(
        node.system.events, "settlement.finished", count=count, timeout=timeout, address=address
    ):
        yield


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A stored message that was given up, as the broker keeps it in `<address>.dead`.

    Attributes:
        message: What was told; its bytes where they cannot be read here.
        reason: Why it was given up.
        attempts: How often it was given out.
        error: What its handler raised, as text; empty without an error.
        id: Its id, as of its receipt.
    """

    message: Any
    reason: str
    attempts: int
    error: str
    id: bytes


async def dead_letters(node: Node, address: str, count: int = 1) -> list[DeadMessage]:
    """Return the dead letters of an address, of which there are to be so many.

    They are left where they are, and can be looked at and replayed.

    Args:
        node: Any node of the same broker.
        address: Whose letters.
        count: How many there are; they are waited for, for some seconds.

    Raises:
        AssertionError: There are fewer.
        NotConnected: The broker does not let itself be read.
    """
    brokers = [str(endpoint) for endpoint in node.config.nsqd]
    found: list[DeadMessage] = []
    names = Namespace(node.config.namespace)
    async with open_reader(brokers, address, LetterCount(count), namespace=names) as reader:
        async for letter in reader:
            record, inside = letter.record, letter.inside
            message: Any = record.body
            if isinstance(inside, Envelope):
                message = node.parts.outbound.packer.load_untrusted(inside)
            elif inside is not None:
                message = inside.data
            found.append(
                DeadMessage(message, letter.reason, record.attempts, record.error, record.id)
            )
            reader.keep(letter)
    if len(found) < count:
        raise AssertionError(f"{len(found)} of {count} dead letters of {address} came")
    return found


def travelled(message: T, *, codec: str | None = None) -> T:
    """Return a message as another process would get it: encoded, decoded and checked.

    What an actor tells one of its own process is the same object there. This shows what
    would be lost or refused on the way.

    Args:
        message: A message without refs of actors.
        codec: The codec of its body; None: msgpack.

    Raises:
        EncodeError: It cannot be written.
        ValidationError: It does not fit its own type.
    """
    serializer = Serializer()
    type_name, body, codec_name = serializer.dump(message, codec)
    result: T = serializer.load(type_name, body, codec_name)  # type: ignore[assignment]  # of the same type
    return result
