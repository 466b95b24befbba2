"""The embedded servers of `Node.embedded()`: a broker and a relay on loopback.

For development and tests, single-node by design. The node that owns them talks
to them over their sockets, as to any others: there is one path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.config import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from irismq_runtime.embedded.nsqd import EmbeddedNsqd
    from irismq_runtime.embedded.relay import EmbeddedRelay

__all__ = ["Servers"]


class Servers:
    """Both servers. Ports of 0 are chosen freely; see `nsqd` and `iris` once started.

    `data`: a folder in which the broker keeps its messages; None keeps them in
    memory, and they go with the process.
    """

    def __init__(
        self,
        *,
        data: Path | None = None,
        nsqd_port: int = 0,
        nsqd_http_port: int = 0,
        iris_port: int = 0,
    ) -> None:
        self._data = data
        self._nsqd_port = nsqd_port
        self._nsqd_http_port = nsqd_http_port
        self._iris_port = iris_port
        self._nsqd: EmbeddedNsqd | None = None
        self._relay: EmbeddedRelay | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` when a port is taken; nothing is left running."""
        from irismq_runtime.embedded.nsqd import EmbeddedNsqd
        from irismq_runtime.embedded.relay import EmbeddedRelay

        nsqd = EmbeddedNsqd(port=self._nsqd_port, http_port=self._nsqd_http_port, data=self._data)
        await nsqd.start()
        relay = EmbeddedRelay(port=self._iris_port)
        try:
            await relay.start()
        except BaseException:
            await nsqd.stop()
            raise
        self._nsqd, self._relay = nsqd, relay

    @property
    def nsqd(self) -> Endpoint:
        """Where the broker listens."""
        return Endpoint("127.0.0.1", self._started(self._nsqd).port)

    @property
    def nsqd_http(self) -> Endpoint:
        """Where the broker answers HTTP."""
        return Endpoint("127.0.0.1", self._started(self._nsqd).http_port)

    @property
    def iris(self) -> Endpoint:
        """Where the relay listens."""
        if self._relay is None:
            raise RuntimeError("the embedded servers have not been started")
        return Endpoint("127.0.0.1", self._relay.port)

    @staticmethod
    def _started(nsqd: EmbeddedNsqd | None) -> EmbeddedNsqd:
        if nsqd is None:
            raise RuntimeError("the embedded servers have not been started")
        return nsqd

    def stats(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The statistics of the broker (as its /stats has them) and of the relay, now."""
        if self._relay is None:
            raise RuntimeError("the embedded servers have not been started")
        return self._started(self._nsqd).stats(), self._relay.stats().to_dict()

    async def stop(self) -> None:
        """Stop both. Idempotent."""
        relay, self._relay = self._relay, None
        nsqd, self._nsqd = self._nsqd, None
        if relay is not None:
            await relay.stop()
        if nsqd is not None:
            await nsqd.stop()
