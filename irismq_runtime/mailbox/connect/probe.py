"""Asking nsqd for its limits by questions that it must refuse.

nsqd announces neither its largest message nor its longest deferral, and over an
oversize PUB it resets the connection while the body is still on its way. But it
checks the size before the body, and says the limit when it refuses: so a PUB
that only claims a size, and a DPUB that only claims a delay, each on a
connection of its own, tell both. No topic is made and nothing is stored; nsqd
writes a line to its log for each. A value that is configured is not asked for.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING

from actors.clock import LoopClock
from actors.events import Events
from irismq_runtime.mailbox.connect.connection import Connection
from irismq_runtime.mailbox.connect.handshake import TLS_REQUIRED, Handshake
from irismq_runtime.mailbox.connect.network import AsyncioNetwork
from irismq_runtime.mailbox.context import MailboxContext
from irismq_runtime.mailbox.limits import limit_in
from irismq_runtime.protocols.nsq import ErrorFrame

if TYPE_CHECKING:
    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.config import MailboxConfig
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.limits import BrokerLimits
    from irismq_runtime.protocols.nsq import Frame

__all__ = ["probe_limits", "why_refused"]

#: The claimed size is the largest that the length field holds.
_BODY_QUESTION = b"PUB irismq.limit-probe\n\x7f\xff\xff\xff"
#: A connection without a subscription has no such state.
_STATE_QUESTION = b"CLS\n"
_DELAY_QUESTION = b"DPUB irismq.limit-probe 999999999999999\n"


class _ProbeConnection:
    """One question on one connection (a `ConnectionOwner`)."""

    def __init__(self, context: MailboxContext, question: bytes) -> None:
        self.answer = ""
        #: Why the connection ended before it could be asked.
        self.reason = ""
        self.over = asyncio.Event()
        self._context = context
        self._question = question
        self._task: asyncio.Task[None] | None = None

    def connection_ready(self, connection: Connection, terms: Terms) -> None:  # noqa: ARG002  # the owner's signature
        """Ask."""
        connection.write(self._question)

    def frames(self, frames: list[Frame]) -> None:
        """Take the refusal."""
        for frame in frames:
            if isinstance(frame, ErrorFrame):
                self.answer = f"{frame.code} {frame.text}"

    def connection_ended(self, connection: Connection, reason: str) -> None:  # noqa: ARG002  # as above
        """The broker closes after it has refused."""
        self.reason = reason
        self.over.set()

    def start_tls(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Upgrade in a task of its own."""
        self._task = asyncio.create_task(self._context.upgrade(connection, transport))


async def probe_limits(context: MailboxContext, endpoint: Endpoint, limits: BrokerLimits) -> str:
    """Learn the limits of one broker; gives up quietly when it does not answer.

    Returns why it takes nothing from us, where it says so: one that requires TLS takes
    an IDENTIFY without it, and refuses what comes next.
    """
    unknown = limits.unknown(str(endpoint))
    questions = list(itertools.compress((_BODY_QUESTION, _DELAY_QUESTION), unknown))
    for question in questions or [_STATE_QUESTION]:
        answer = await _ask(context, endpoint, question)
        if TLS_REQUIRED in answer:
            return answer
        body, delay = limit_in(answer)
        limits.learn(str(endpoint), max_body=body, max_delay=delay)
    return ""


async def why_refused(config: MailboxConfig, endpoint: Endpoint) -> str:
    """Ask a broker whether it would let a mailbox publish. Makes nothing there.

    It is greeted as a node does it, with TLS and AUTH, and asked for something that it
    must refuse. On the running loop.

    Args:
        config: The options of the mailbox; `connect_timeout` bounds the question (seconds).
        endpoint: The broker's TCP address.

    Returns:
        Why it would not; empty when it would.
    """
    context = MailboxContext(
        config, clock=LoopClock(), rng=random.Random(), events=Events(), network=AsyncioNetwork()
    )
    try:
        owner = await _asked(context, endpoint, _STATE_QUESTION)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        context.log.close()
    if "CLS" in owner.answer and TLS_REQUIRED not in owner.answer:
        return ""
    return owner.answer or owner.reason or "it does not answer"


async def _ask(context: MailboxContext, endpoint: Endpoint, question: bytes) -> str:
    """The broker's refusal of `question`; empty when it gave none."""
    try:
        return (await _asked(context, endpoint, question)).answer
    except OSError:
        return ""


async def _asked(context: MailboxContext, endpoint: Endpoint, question: bytes) -> _ProbeConnection:
    """Ask, and wait for the end of the connection. Raises `OSError` when there is none."""
    owner = _ProbeConnection(context, question)
    handshake = Handshake(context.wishes(endpoint, None))
    connection = Connection(owner, endpoint, handshake, clock=context.clock, silence=float("inf"))
    timeout = context.config.connect_timeout
    timer = context.clock.call_later(timeout, connection.drop, "no answer to a question")
    try:
        await context.network.connect(lambda: connection, endpoint)
        await owner.over.wait()
    finally:
        timer.cancel()
        connection.drop("the question is answered")
    return owner
