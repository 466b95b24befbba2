"""Inbound tunnels of one member: conversations, and streams of results.

A tunnel is accepted at once (the relay drops the connection of a member that
takes more than 3 s). Its first message says what it is for:

    TELL   a conversation: the actor's `on_tunnel(tunnel)` runs, beside its
           messages, until it returns; then the tunnel is closed
    ASK    a stream: the message is handled in its turn, by a handler that is a
           generator; what it yields is sent while the reader has room

What leaves a stream's generator is what leaves a handler: an answer (`Refused` and
the like), or a crash of the actor. Of a conversation that is so for what is not an
`Exception` (SystemExit): the others may well be the peer's doing.

Only a handler that returned ends its tunnel in order. An error ends the tunnel
and is told to the other end, and so is what else cuts it short: all tunnels end
with the membership, and when the actor goes down. A stream whose reader has gone
ends its generator, wherever that waits. One task per conversation; a stream has
one that sends beside one that sees the reader go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from actors import Context, ThreadActor
from actors.ask import error_for_caller
from actors.errors import Refused
from actors.runtime import exit_with, is_crash, slot_of
from actors.texts import class_name, line_of
from irismq_runtime.dispatch.calls import as_call
from irismq_runtime.dispatch.context import chain_of
from irismq_runtime.errors import DecodeError, RuntimeFault, TunnelClosed
from irismq_runtime.messaging import Tunnel
from irismq_runtime.wire import Envelope, Kind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from actors import ActorRef, Outcome
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.ports import InboundTunnel

__all__ = ["FIRST_MESSAGE", "TunnelDispatch"]

#: Seconds that the other end gets to say what its tunnel is for.
FIRST_MESSAGE: Final = 10.0

#: How often, and for how many seconds each, a generator is told to end.
_CANCELS: Final = 3
_PATIENCE: Final = 1.0

#: Seconds in which the other ends are told that all tunnels are cut.
_TELLING: Final = 1.5


_NO_MORE: Final = object()


class _Failed(Exception):
    """What a user's code in a tunnel raised, on its way to who tells of it."""

    def __init__(self, error: BaseException, *, crashed: bool) -> None:
        super().__init__()
        self.error = error
        self.crashed = crashed


def _is_cancelled(error: BaseException) -> bool:
    """Whether it says that somebody has cancelled the task that runs this."""
    task = asyncio.current_task()
    ended = task is not None and task.cancelling() > 0
    return ended and issubclass(type(error), asyncio.CancelledError)


class TunnelDispatch:
    """The tunnels open to one actor at `address`."""

    __slots__ = ("_context", "_left", "_signatures", "_tasks", "address")

    def __init__(self, context: DispatchContext, address: str) -> None:
        self._context = context
        self._signatures = context.packer.signature_memory()
        self.address = address
        self._tasks: dict[asyncio.Task[None], str] = {}
        #: Why no more tunnels are taken; empty while they are.
        self._left = ""

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, inbound: InboundTunnel, ref: ActorRef[Any]) -> None:
        """Accept `inbound` and serve it in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._serve(inbound, ref))
        self._tasks[task] = self._left
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)

    def cut(self, reason: str) -> None:
        """End every conversation and stream, and tell their other ends why."""
        for task, known in tuple(self._tasks.items()):
            if not known:
                self._tasks[task] = reason
                task.cancel()

    async def leave(self, reason: str) -> None:
        """The same, for good: what is offered from now on is refused with `reason`.

        Returns when the other ends have been told, or some time after.
        """
        self._left = reason
        self.cut(reason)
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_TELLING)

    async def _serve(self, inbound: InboundTunnel, ref: ActorRef[Any]) -> None:
        try:
            port = await inbound.accept()
        except RuntimeFault as error:
            self._report(error)
            return
        tunnel = Tunnel(port, self._context.packer, self.address, signatures=self._signatures)
        actor = slot_of(ref).actor  # what is served belongs to the instance
        try:
            await self._converse(tunnel, await self._first(tunnel), ref)
        except asyncio.CancelledError:
            await tunnel.cut(TunnelClosed(self._why_cut()))
            raise
        except TunnelClosed as closed:  # the other end is gone, or another tunnel of the handler
            await tunnel.cut(closed)
        except _Failed as failed:
            self._report(failed.error)
            await tunnel.cut(failed.error, crashed=failed.crashed)
            slot = slot_of(ref)
            if failed.crashed and slot.actor is actor:
                exit_with(slot, "crash", failed.error)
        except Exception as error:  # of user code or of the peer: it ends this tunnel alone
            self._report(error)
            await tunnel.cut(error)
        else:
            await tunnel.close()

    def _why_cut(self) -> str:
        task = asyncio.current_task()
        reason = "" if task is None else self._tasks.get(task, "")
        return reason or "its handler was cancelled"

    async def _first(self, tunnel: Tunnel) -> Envelope | Any:
        """Return what the tunnel is for; who does not say so in time has none."""
        if self._left:
            raise TunnelClosed(self._left)
        waiting = asyncio.ensure_future(tunnel.first())
        timer = self._context.clock.call_later(FIRST_MESSAGE, waiting.cancel)
        try:
            await asyncio.wait({waiting})
        finally:
            timer.cancel()
            waiting.cancel()
        if waiting.cancelled():
            raise TunnelClosed(f"nothing was said in it within {FIRST_MESSAGE:g} s")
        return waiting.result()

    async def _converse(self, tunnel: Tunnel, first: Envelope | Any, ref: ActorRef[Any]) -> None:
        if isinstance(first, Envelope) and first.kind == Kind.ASK:
            await self._stream(tunnel, first, ref)
            return
        if isinstance(first, Envelope) and first.kind != Kind.TELL:
            raise DecodeError(f"a tunnel does not begin with a {first.kind.name} envelope")
        if not isinstance(first, Envelope):
            tunnel.push_back(first.data)
        actor = slot_of(ref).actor  # a conversation belongs to the instance
        handler = getattr(actor, "on_tunnel", None)
        if handler is None:
            raise Refused(f"{self.address} takes no tunnels: its class has no on_tunnel")
        if isinstance(first, Envelope):
            await tunnel.greet(first)
        with self._traced(first, "tunnel"):
            try:
                await handler(tunnel)
            except Exception:
                raise
            except BaseException as error:
                if _is_cancelled(error):
                    raise
                raise _Failed(error, crashed=True) from error

    def _traced(self, first: Envelope | Any, method: str) -> AbstractContextManager[object]:
        tracing = self._context.tracing
        if tracing is None or not isinstance(first, Envelope):
            return nullcontext()
        return tracing.conversation(first.headers, self.address, method)

    async def _stream(self, tunnel: Tunnel, first: Envelope, ref: ActorRef[Any]) -> None:
        loop = asyncio.get_running_loop()
        with self._traced(first, first.type or "stream"):
            sending = loop.create_task(self._send_results(tunnel, first, ref))
        gone = loop.create_task(tunnel.until_gone())
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            await self._end(sending)
        if sending.done() and not sending.cancelled():
            await sending  # raises what it ended with

    async def _end(self, sending: asyncio.Task[None]) -> None:
        """See to it that a generator has ended: its finally blocks have run."""
        for _ in range(_CANCELS):
            if sending.done():
                return
            sending.cancel()
            await asyncio.wait({sending}, timeout=_PATIENCE)
        if not sending.done():
            self._report(RuntimeError("a stream's generator goes on after it was cancelled"))

    async def _send_results(self, tunnel: Tunnel, first: Envelope, ref: ActorRef[Any]) -> None:
        items = await self._first_result(first, ref)
        try:
            while (item := await self._made(ref, anext(items))) is not _NO_MORE:
                await tunnel.send(item)
            await tunnel.end()
        finally:
            await self._made(ref, items.aclose())

    @staticmethod
    async def _made(ref: ActorRef[Any], step: Awaitable[Any]) -> Any:
        """What a step of the generator gives; `_NO_MORE` at its end.

        Raises `_Failed` with what left it: a task that ends with SystemExit would end
        the loop.
        """
        try:
            return await step
        except StopAsyncIteration:
            return _NO_MORE
        except TunnelClosed:
            raise
        except BaseException as error:
            if _is_cancelled(error):
                raise
            raise _Failed(error, crashed=is_crash(slot_of(ref), error)) from error

    async def _first_result(self, first: Envelope, ref: ActorRef[Any]) -> AsyncGenerator[Any, None]:
        """Have the request handled; return the generator that the handler is."""
        message = as_call(self._context.packer.load_untrusted(first), ref)
        headers = first.headers
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        context = Context(
            kind="ask",
            id=first.id,
            sender=self._context.sender(headers),
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
        if isinstance(items, Generator) and not issubclass(ref.actor_class, ThreadActor):
            return _on_the_loop(items)
        if not isinstance(items, AsyncGenerator):
            raise Refused("this handler makes no stream: read its answer with ref.ask(...)")
        return items

    def _report(self, error: BaseException) -> None:
        self._context.log.note(
            "tunnel",
            "%s: a tunnel ended with %s",
            self.address,
            line_of(error),
            like=(self.address, class_name(error)),
        )


async def _on_the_loop(items: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
    """Yield what a plain generator yields, each in a turn of its own."""
    try:
        for item in items:
            yield item
            await asyncio.sleep(0)
    finally:
        items.close()
