"""Makes the channels of one broker that must exist before something is stored for them.

nsqd gives a channel what is published after the channel was made; only the first
channel of a topic also gets what waited before. So what is stored for a reader who
comes later, while the topic has another channel, is lost to it although it was
confirmed. Who stores makes the channel first:

- once for each topic and connection: a broker that was away may have lost its data;
- by a SUB on a connection of its own, which asks for no message and is closed at
  once (NSQ's TCP protocol has no other way; its HTTP port need not be known);
- what is to be written waits for it, and goes elsewhere when the broker is lost;
- a connection that does not come about is tried again; a broker that forbids the
  SUB in words (AUTH) is written to all the same, and that is logged.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING, Final

from irismq_runtime.mailbox.connect.connection import Connection
from irismq_runtime.mailbox.connect.handshake import Handshake
from irismq_runtime.mailbox.connect.network import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.mailbox.publish.outbox import Batch, OutgoingMessage
    from irismq_runtime.protocols.nsq import ErrorFrame, Frame

__all__ = ["ChannelCreator"]

#: Connections for this at the same time, to one broker.
_AT_ONCE: Final = 8
#: ChannelCreator remembered; beyond, all are forgotten and made again as they are needed.
_REMEMBERED: Final = 16_384
#: nsqd's words for a channel that has all the consumers it may have: so it exists.
_FULL: Final = "exceeds limit"
#: What nsqd says while it cannot ask its authorization server.
_NOT_NOW: Final = "E_AUTH_FAILED"


class ChannelCreator:
    """See the module. One per broker; loop thread only."""

    __slots__ = (
        "_concurrent",
        "_context",
        "_given_back",
        "_held",
        "_known",
        "_tasks",
        "endpoint",
        "why",
    )

    def __init__(
        self, context: MailboxContext, endpoint: Endpoint, given_back: Callable[[list[Batch]], None]
    ) -> None:
        self.endpoint = endpoint
        #: Why the last channel could not be made; empty when it was.
        self.why = ""
        self._context = context
        self._given_back = given_back
        self._known: set[tuple[str, str]] = set()
        self._held: dict[tuple[str, str], list[Batch]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._concurrent = asyncio.Semaphore(_AT_ONCE)

    def ensure(self, batch: Batch) -> bool:
        """Whether `batch` may be written now; False: it is kept until its channel exists."""
        first = batch.messages[0]
        if not first.channel:
            return True
        name = (first.topic, first.channel)
        if name in self._known:
            return True
        held = self._held.get(name)
        if held is not None:
            held.append(batch)
            return False
        self._held[name] = [batch]
        task = asyncio.get_running_loop().create_task(self._make(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return False

    def waiting(self) -> Iterator[OutgoingMessage]:
        """Everything that waits for its channel."""
        for batches in self._held.values():
            for batch in batches:
                yield from batch.messages

    def forget(self) -> list[Batch]:
        """The connection is gone, and perhaps the broker's data; returns what waited."""
        for task in self._tasks:
            task.cancel()
        waiting = [batch for batches in self._held.values() for batch in batches]
        self._held.clear()
        self._known.clear()
        self.why = ""
        return waiting

    async def close(self) -> None:
        """Make no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, name: tuple[str, str]) -> None:
        """Make the channel, however often it takes, and let go what waited for it."""
        machine = self._context.reconnect()
        machine.start()
        while True:
            async with self._concurrent:
                attempt = _Attempt(self._context, self.endpoint, name)
                await attempt.run()
            if attempt.made or attempt.refusal is not None:
                break
            self.why = f"nsqd {self.endpoint}: channel {name[1]} not made: {attempt.reason}"
            await self._pause(machine.failed())
            machine.due()
        self.why = ""
        if attempt.refusal is not None:
            self._refused(name, attempt.refusal)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(name)
        self._given_back(self._held.pop(name, []))

    async def _pause(self, seconds: float) -> None:
        over = asyncio.Event()
        timer = self._context.clock.call_later(seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    def _refused(self, name: tuple[str, str], refusal: ErrorFrame) -> None:
        if _FULL in refusal.text:
            return
        self._context.log.write(
            logging.WARNING,
            f"channel {self.endpoint}",
            "nsqd %s does not let us make the channel %s of %s (%s %s): what is stored there "
            "before its first reader comes is lost to it if the topic has other channels",
            self.endpoint,
            name[1],
            name[0],
            refusal.code,
            refusal.text,
        )


class _Attempt:
    """One connection that subscribes and ends (a `ConnectionOwner`)."""

    __slots__ = ("_connection", "_context", "_over", "_task", "made", "reason")

    def __init__(self, context: MailboxContext, endpoint: Endpoint, name: tuple[str, str]) -> None:
        self.made = False
        self.reason = ""
        self._context = context
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Asked for what the broker has granted to the publishing connection.
        wishes = dataclasses.replace(context.wishes(endpoint, None), subscribe=name)
        self._connection = Connection(
            self, endpoint, Handshake(wishes), clock=context.clock, silence=float("inf")
        )

    @property
    def refusal(self) -> ErrorFrame | None:
        """What nsqd said to the subscription, if it refused that for good."""
        handshake = self._connection.handshake
        refusal = handshake.refusal
        if handshake.terms is None or (refusal is not None and refusal.code == _NOT_NOW):
            return None
        return refusal

    async def run(self) -> None:
        """Connect, subscribe, end. Returns when the connection has ended."""
        connection, context = self._connection, self._context
        timeout = context.config.connect_timeout
        timer = context.clock.call_later(timeout, connection.drop, "no answer to a subscription")
        dialling = asyncio.ensure_future(self._dial())
        try:
            await self._over.wait()
        finally:
            timer.cancel()
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
            connection.drop("the channel is made")

    async def _dial(self) -> None:
        connection, context = self._connection, self._context
        try:
            async with context.dials:
                await context.network.connect(lambda: connection, connection.endpoint)
        except OSError as error:
            connection.drop(explain(error))

    # What the connection reports -------------------------------------------

    def connection_ready(self, connection: Connection, terms: Terms) -> None:  # noqa: ARG002  # the owner's signature
        """The SUB stands, so the channel exists."""
        self.made = True
        self._over.set()

    def frames(self, frames: list[Frame]) -> None:
        """Nothing comes that matters: no message was asked for."""

    def connection_ended(self, connection: Connection, reason: str) -> None:  # noqa: ARG002  # the owner's signature
        """Made, refused, or not reached."""
        self.reason = reason
        self._over.set()

    def start_tls(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Upgrade in a task of its own."""
        self._task = asyncio.create_task(self._context.upgrade(connection, transport))
