"""Keeps one connection up: dials, waits for the handshake, and dials again.

One task, from `start` to `stop`. Each attempt is bounded; between attempts it
waits as reconnect.py decides. What answers but will not have us (a refusal, or
something that is no relay) ends the first connect at once, for the same attempt
would end the same way; after a link has stood once, nothing ends the attempts
but `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import NotConnected
from irismq_runtime.pyiris.line import NEVER
from irismq_runtime.pyiris.reconnect import Attempts
from irismq_runtime.pyiris.waiting import done_within, pause

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeAlias

    from actors.clock import Clock
    from irismq_runtime.pyiris.line import Line
    from irismq_runtime.pyiris.link import Link
    from irismq_runtime.pyiris.options import Options

    Dial: TypeAlias = Callable[[Callable[[], asyncio.Protocol]], Awaitable[Any]]

__all__ = ["Keeper", "tcp_dialler"]

#: Seconds after which an attempt is given up and the next one made: a relay is
#: on this host, so one that has not answered by then is stuck or overrun.
_ATTEMPT: Final = 3.0


def tcp_dialler(host: str, port: int) -> Dial:
    """Dial `host` and `port` by TCP on the running loop."""

    async def dial(factory: Callable[[], asyncio.Protocol]) -> object:
        return await asyncio.get_running_loop().create_connection(factory, host, port)

    return dial


class Keeper:
    """Makes links and brings them up, one after the other; a link itself tells its end."""

    def __init__(
        self,
        line: Line,
        dial: Dial,
        make_link: Callable[[], Link],
        *,
        options: Options,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._line = line
        self._dial = dial
        self._make_link = make_link
        self._options = options
        self._clock = clock
        self._rng = rng
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect for the first time. Raises `NotConnected`, with nothing left running."""
        self._task = asyncio.create_task(self._keep(), name=f"pyiris to {self._line.peer}")
        patience = self._options.connect_timeout
        try:
            if not await done_within(self._first, patience, self._clock):
                self._first.set_exception(self._nobody())
            self._first.result()
        except BaseException:
            await self.stop()
            raise

    def _nobody(self) -> NotConnected:
        remedy = "see that a relay runs there, or give the host and port of one"
        reason = self._line.reason
        if reason == NEVER:
            reason = f"no answer within {self._options.connect_timeout:g} s"
        return NotConnected(self._line.peer, reason, remedy=remedy)

    async def stop(self) -> None:
        """Dial no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep(self) -> None:
        attempts = Attempts(self._options.backoff)
        while True:
            stood = 0.0
            link = await self._attempt()
            if link is not None:
                began = self._clock.monotonic()
                if not self._first.done():
                    self._first.set_result(None)
                await asyncio.shield(link.ended)
                stood = self._clock.monotonic() - began
            attempts, delay = attempts.after_loss(stood).next(self._rng.random())
            await pause(delay, self._clock)

    async def _attempt(self) -> Link | None:
        """One try; the reason of a failure is left in the line."""
        link = self._make_link()
        try:
            await self._open(link)
        except Exception as error:  # whatever dialling raises, the next attempt has to come
            link.abort("given up")
            known = error.reason if isinstance(error, NotConnected) else str(error)
            self._line.reason = known or type(error).__name__
            if link.refused and not self._first.done():
                self._first.set_exception(NotConnected(self._line.peer, self._line.reason))
            return None
        except asyncio.CancelledError:
            link.abort("closed by this side")
            raise
        return link

    async def _open(self, link: Link) -> None:
        patience = min(self._options.connect_timeout, _ATTEMPT)
        dialling = asyncio.ensure_future(self._dial(lambda: link))
        try:
            if not await done_within(dialling, patience, self._clock):
                raise NotConnected(self._line.peer, f"no connection within {patience:g} s")
            dialling.result()
            if not await done_within(link.opened, patience, self._clock):
                reason = f"connected, but no Iris handshake within {patience:g} s"
                raise NotConnected(self._line.peer, reason)
            link.opened.result()
        finally:
            if not dialling.done():
                dialling.cancel()
                await asyncio.wait([dialling])
