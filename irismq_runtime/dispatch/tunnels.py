"""Inbound tunnels of one member: conversations, and streams of results.

A tunnel is accepted at once (the relay drops the connection of a member that
takes more than 3 s). Its first message says what it is for:

    TELL   a conversation: the actor's `on_tunnel(tunnel)` runs, beside its
           messages, until it returns; then the tunnel is closed
    ASK    a stream: the message is handled in its turn, by a handler that is an
           async generator; what it yields is sent while the reader has room

An error ends the tunnel and is told to the other end. One task per tunnel; all
of them end with the membership, and when the actor goes down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from actors import Context
from actors.ask import error_for_caller
from actors.errors import ActorError, Refused
from irismq_runtime.dispatch.calls import as_call
from irismq_runtime.dispatch.incoming import chain_of
from irismq_runtime.errors import DecodeError, RuntimeFault, TunnelClosed
from irismq_runtime.messaging import Tunnel
from irismq_runtime.wire import Envelope, Kind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from actors import ActorRef, Outcome
    from irismq_runtime.dispatch.incoming import Incoming
    from irismq_runtime.ports import InboundTunnel

__all__ = ["TunnelDispatch"]


class TunnelDispatch:
    """The tunnels open to one actor at `address`."""

    __slots__ = ("_in", "_tasks", "address")

    def __init__(self, incoming: Incoming, address: str) -> None:
        self._in = incoming
        self.address = address
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, inbound: InboundTunnel, ref: ActorRef[Any]) -> None:
        """Accept `inbound` and serve it in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._serve(inbound, ref))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Cancel every conversation and stream."""
        for task in tuple(self._tasks):
            task.cancel()

    async def _serve(self, inbound: InboundTunnel, ref: ActorRef[Any]) -> None:
        try:
            port = await inbound.accept()
        except RuntimeFault as error:
            self._report(error)
            return
        tunnel = Tunnel(port, self._in.packer, self.address)
        try:
            await self._converse(tunnel, await tunnel.first(), ref)
        except TunnelClosed:
            pass  # the other end is gone: there is nobody to tell
        except Exception as error:  # of user code or of the peer: it ends this tunnel alone
            self._report(error)
            await self._tell_end(tunnel, error)
        finally:
            await tunnel.close()

    async def _converse(self, tunnel: Tunnel, first: Envelope | Any, ref: ActorRef[Any]) -> None:
        if isinstance(first, Envelope) and first.kind == Kind.ASK:
            await self._stream(tunnel, first, ref)
            return
        if isinstance(first, Envelope) and first.kind != Kind.TELL:
            raise DecodeError(f"a tunnel does not begin with a {first.kind.name} envelope")
        if not isinstance(first, Envelope):
            tunnel.push_back(first.data)
        actor = ref._cell.actor  # noqa: SLF001  # a conversation belongs to the instance
        handler = getattr(actor, "on_tunnel", None)
        if handler is None:
            raise Refused(f"{self.address} takes no tunnels: its class has no on_tunnel")
        with self._traced(first, "tunnel"):
            await handler(tunnel)

    def _traced(self, first: Envelope | Any, method: str) -> AbstractContextManager[object]:
        tracing = self._in.tracing
        if tracing is None or not isinstance(first, Envelope):
            return nullcontext()
        return tracing.conversation(first.headers, self.address, method)

    async def _stream(self, tunnel: Tunnel, first: Envelope, ref: ActorRef[Any]) -> None:
        with self._traced(first, first.type or "stream"):
            items = await self._first_result(first, ref)
            try:
                async for item in items:
                    await tunnel.send(item)
                await tunnel.end()
            finally:
                await items.aclose()

    async def _first_result(self, first: Envelope, ref: ActorRef[Any]) -> AsyncGenerator[Any, None]:
        """Have the request handled; return the generator that the handler is."""
        message = as_call(self._in.packer.load_untrusted(first), ref)
        headers = first.headers
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        context = Context(
            kind="ask",
            id=first.id,
            sender=self._in.sender(headers),
            headers=headers,
            chain=chain_of(headers),
        )

        def ended(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        delivery = ref.deliver(message, context=context, on_done=ended)
        try:
            outcome = await done
        except asyncio.CancelledError:
            delivery.cancel()
            raise
        if outcome.kind != "replied":
            raise error_for_caller(self.address, outcome)
        items: Any = outcome.value
        if not isinstance(items, AsyncGenerator):
            raise Refused("this handler makes no stream: read its answer with ref.ask(...)")
        return items

    async def _tell_end(self, tunnel: Tunnel, error: Exception) -> None:
        try:
            await tunnel.end(error)
        except (RuntimeFault, ActorError):
            return  # the other end is gone: there is nobody to tell

    def _report(self, error: BaseException) -> None:
        self._in.log.note(
            "tunnel",
            f"{self.address}: a tunnel ended with {type(error).__name__}: {error}",
        )
