"""Opening tunnels and streams from the caller's side.

The first message in a tunnel says what it is for: an envelope TELL opens a
conversation with the actor's `on_tunnel`, an envelope ASK asks for the stream of
one handler's results. The other side is in dispatch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.messaging import Tunnel
from irismq_runtime.refs.spans import spanning
from irismq_runtime.wire import Kind
from irismq_runtime.wire.headers import ENDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from types import TracebackType

    from irismq_runtime.refs.outbound import Outbound

__all__ = ["Opening", "stream"]


class Opening:
    """A tunnel about to be opened: `await` it, or enter it with `async with`."""

    __slots__ = ("_address", "_outbound", "_timeout", "_tunnel")

    def __init__(self, outbound: Outbound, address: str, timeout: float) -> None:
        self._outbound = outbound
        self._address = address
        self._timeout = timeout
        self._tunnel: Tunnel | None = None

    def __await__(self) -> Generator[Any, None, Tunnel]:
        return self._open().__await__()

    async def _open(self) -> Tunnel:
        outbound = self._outbound
        headers = outbound.headers()
        headers[ENDS] = 1
        tracing = outbound.tracing
        sending = (
            None if tracing is None else tracing.ask(headers, self._address, None, method="tunnel")
        )
        with spanning(sending):
            hello_id, hello, _ = outbound.packer.new(
                Kind.TELL, None, headers, None, "open", self._address
            )
            port = await outbound.addresses.tunnel(self._address, self._timeout)
            await port.send(hello)
        return Tunnel(port, outbound.packer, self._address, opening=hello_id, says_end=True)

    async def __aenter__(self) -> Tunnel:
        self._tunnel = await self._open()
        return self._tunnel

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tunnel is not None:
            await self._tunnel.__aexit__(kind, error, trace)


async def stream(
    outbound: Outbound, address: str, message: object, timeout: float, codec: str | None
) -> AsyncGenerator[Any, None]:
    """Yield what the handler of one member yields; closing this closes that.

    Ends in order only where the member says so; raises `TunnelClosed` when it was cut.
    """
    headers, timeout = outbound.asking(address, message, timeout)
    ask_id, request, _, sending = outbound.pack_ask(
        address, message, headers, codec=codec, verb="open"
    )
    with spanning(sending):
        port = await outbound.addresses.tunnel(address, timeout)
        tunnel = Tunnel(port, outbound.packer, address, opening=ask_id, hears_end=True)
        async with tunnel:
            await port.send(request)
            async for item in tunnel:
                yield item
