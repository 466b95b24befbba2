"""A stand-in for an actor: it remembers what it is sent, and a test looks.

Waiting for a message takes as long as the message takes, up to a real-time
limit after which the test fails. Waiting for none does not wait at all: it lets
everything that can run, run, and then looks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from actors.actor import Actor
from actors.exits import Exit, Terminated
from actors.testing.settling import settle

if TYPE_CHECKING:
    from actors.context import Context
    from actors.ref import ActorRef
    from actors.reply import Reply
    from actors.system import System

__all__ = ["Probe", "Received"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received:
    """One message with its circumstances. `reply(value)` answers it when it was asked."""

    message: Any
    context: Context
    reply: Reply


class _Recorder(Actor):
    def __init__(self, probe: Probe, address: str | None) -> None:
        super().__init__()
        self.address = address
        self._probe = probe

    def on_receive(self, message: Any) -> None:
        if isinstance(message, _WatchedRef):
            self.watch(message.ref)
            return
        self._probe._take(Received(message, self.context, self.reply_later()))  # noqa: SLF001  # its own recorder


@dataclass(frozen=True, slots=True)
class _WatchedRef:
    ref: Any


class Probe:
    """An actor for tests: give `probe.ref` to what is tested, then `await probe.expect()`.

    `timeout` is in real seconds: the longest time that `expect` waits. In the system of a
    node it may stand in for a service, with its `address`; `await probe.ref.started()` then
    waits until others reach it. Loop thread only.
    """

    def __init__(
        self,
        system: System,
        *,
        name: str = "probe",
        timeout: float = 3.0,
        address: str | None = None,
    ) -> None:
        self._system = system
        self._timeout = timeout
        self._waiting: deque[Received] = deque()
        self._arrived = asyncio.Event()
        #: Where to send what the probe is to see.
        self.ref: ActorRef[Any] = system.start(_Recorder, self, address, name=name)

    @overload
    async def expect(self, kind: type[T]) -> T: ...

    @overload
    async def expect(self) -> Any: ...

    async def expect(self, kind: type | None = None) -> Any:
        """Wait for the next message and return it.

        Args:
            kind: The class that it must be of; None: any.

        Raises:
            AssertionError: another one came, or none within the probe's timeout (real seconds).
        """
        return (await self.expect_received(kind)).message

    async def expect_received(self, kind: type | None = None) -> Received:
        """As `expect`, with the context, and the means to answer.

        Args:
            kind: The class that it must be of; None: any.

        Raises:
            AssertionError: another one came, or none within the probe's timeout (real seconds).
        """
        try:
            async with asyncio.timeout(self._timeout):
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            wanted = "a message" if kind is None else f"a {kind.__name__}"
            raise AssertionError(
                f"{self.ref.name} expected {wanted}, but none came within {self._timeout:g} s"
            ) from None
        received = self._waiting.popleft()
        if kind is not None and not isinstance(received.message, kind):
            raise AssertionError(
                f"{self.ref.name} expected a {kind.__name__}, but got {received.message!r}"
            )
        return received

    async def expect_none(self) -> None:
        """Nothing waits, nor comes from anything that can run now.

        Raises AssertionError with the message that came. What waits for a clock
        does not run: move a `ManualClock` first.
        """
        await settle(self._system)
        if self._waiting:
            raise AssertionError(
                f"{self.ref.name} expected nothing, but got {self._waiting[0].message!r}"
            )

    async def watch(self, ref: ActorRef[Any]) -> None:
        """Have the end of an actor reported; see `expect_terminated`.

        Args:
            ref: Whose end.
        """
        self.ref.tell(_WatchedRef(ref))
        await settle(self._system)

    async def expect_terminated(self, ref: ActorRef[Any]) -> Exit:
        """Wait for the next message, which must be the end of a watched actor.

        Args:
            ref: What was given to `watch`.

        Returns:
            How it ended.

        Raises:
            AssertionError: another message came, or none within the probe's timeout.
        """
        terminated = await self.expect(Terminated)
        if terminated.ref is not ref:
            raise AssertionError(f"{self.ref.name} expected the end of {ref}, got {terminated!r}")
        return terminated.exit

    def _take(self, received: Received) -> None:
        self._waiting.append(received)
        self._arrived.set()
