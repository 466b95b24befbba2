"""What every part of one mailbox shares: clock, chance, network, numbers, limits.

Made once by the transport and passed down whole, so that no part reaches for a
global.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Final

from irismq_runtime.mailbox.attempts import AttemptCounter
from irismq_runtime.mailbox.connect.handshake import Wishes
from irismq_runtime.mailbox.connect.network import explain
from irismq_runtime.mailbox.connect.reconnect import DialBudget, Reconnect
from irismq_runtime.mailbox.stall_detector import StallDetector
from irismq_runtime.namespace import Namespace
from irismq_runtime.observe.logs import RateLimitedLog

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors.clock import Clock
    from actors.events import Events
    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.config import MailboxConfig
    from irismq_runtime.mailbox.connect.connection import Connection
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.connect.network import Network

__all__ = ["MailboxContext"]

_log = logging.getLogger("irismq.mailbox")
#: Seconds between beats of an nsqd that was asked for none (half its --client-timeout).
_USUAL_HEARTBEAT = 30.0
#: So many consumers have heartbeats as often as `MailboxConfig.heartbeat` says.
_FEW: Final = 50


class MailboxContext:
    """See the module. One per mailbox."""

    def __init__(
        self,
        config: MailboxConfig,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        network: Network,
        namespace: Namespace | None = None,
    ) -> None:
        self.config = config
        self.namespace = namespace or Namespace()
        self.clock = clock
        self.rng = rng
        self.events = events
        self.network = network
        self.log = RateLimitedLog("irismq.mailbox", clock)
        self.stalls = StallDetector(clock.monotonic())
        self.attempts = AttemptCounter()
        self.dials = asyncio.Semaphore(config.concurrent_dials)
        self.budget = DialBudget(config.dials_per_second)
        #: Called when the beats must come more often.
        self.on_quicker: Callable[[], None] = _nothing
        self._hostname = socket.gethostname()
        #: How many consumers there are.
        self.consumers = 0
        # The longest lease that a broker grants, where it is known; 0: shorter
        # than what we asked for, by how much is not known yet.
        self._longest_lease: dict[Endpoint, float] = {}
        # The longest heartbeat that may be asked of a broker; 0: it is left to it.
        self._heartbeats: dict[Endpoint, float] = {}
        # Of these a broker does not allow ours: it has its own.
        self._its_own: set[tuple[Endpoint, str]] = set()
        self._said: set[tuple[Endpoint, str]] = set()

    def reconnect(self) -> Reconnect:
        """The life of a new connection."""
        config = self.config
        return Reconnect(
            self.rng,
            base=config.reconnect_min,
            cap=config.reconnect_max,
            stable_after=config.stable_after,
        )

    def heartbeat(self, endpoint: Endpoint, subscribe: tuple[str, str] | None) -> float:
        """Seconds between two beats of a broker, on a connection that subscribes so."""
        return self._asked_heartbeat(endpoint, subscribe) or _USUAL_HEARTBEAT

    def _asked_heartbeat(
        self, endpoint: Endpoint, subscribe: tuple[str, str] | None
    ) -> float | None:
        """What we ask for; None for what the broker has.

        Of a connection that consumes it is less often where there are many of them, but no
        longer than a lease. nsqd drops a client that misses two beats. A stopped process
        (SIGSTOP, a frozen machine) is given its messages again after every lease until then;
        with beats of two leases and more that could use up all their attempts, and they
        would be buried without having been run.
        """
        config = self.config
        wished = config.heartbeat
        if subscribe is not None:
            wished = min(max(1.0, self.consumers / _FEW) * wished, config.msg_timeout)
        return min(wished, self._heartbeats.get(endpoint, wished)) or None

    def concede(self, endpoint: Endpoint, wish: str, subscribe: tuple[str, str] | None) -> bool:
        """The broker does not allow `wish`: ask for less next time; False when that was done.

        A heartbeat is halved down to nsqd's shortest, so that it stays as long as it
        may be; other wishes are left to the broker. It is said once.
        """
        if wish == "msg_timeout":
            self._longest_lease[endpoint] = 0.0
            return True
        if wish == "heartbeat":
            asked = self._asked_heartbeat(endpoint, subscribe)
            if asked is None:
                return False
            self._heartbeats[endpoint] = max(asked / 2, 1.0) if asked > 1.0 else 0.0
        elif (endpoint, wish) in self._its_own:
            return False
        else:
            self._its_own.add((endpoint, wish))
        if (endpoint, wish) not in self._said:
            self._said.add((endpoint, wish))
            _log.warning("nsqd %s does not allow our %s; we take what it allows", endpoint, wish)
        return True

    def wishes(self, endpoint: Endpoint, subscribe: tuple[str, str] | None) -> Wishes:
        """What to ask of the broker at `endpoint`."""
        config = self.config
        longest = self._longest_lease.get(endpoint, config.msg_timeout)
        return Wishes(
            client_id=config.client_id or self._hostname,
            hostname=self._hostname,
            user_agent=config.user_agent,
            heartbeat=self._asked_heartbeat(endpoint, subscribe),
            msg_timeout=min(longest, config.msg_timeout) or None,
            output_buffer_size=None
            if (endpoint, "output_buffer_size") in self._its_own
            else config.output_buffer_size,
            output_buffer_timeout=None
            if (endpoint, "output_buffer_timeout") in self._its_own
            else config.output_buffer_timeout,
            tls=config.tls is not None,
            compression=config.compression,
            deflate_level=config.deflate_level,
            auth_secret=config.auth_secret,
            subscribe=subscribe,
        )

    async def upgrade(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Upgrade a connection to TLS, and tell it the outcome."""
        config = self.config
        if config.tls is None:
            connection.tls_ready(None, "no ssl context")
            return
        hostname = config.tls_hostname or connection.endpoint.host
        try:
            upgraded = await self.network.start_tls(transport, connection, config.tls, hostname)
        except OSError as error:
            connection.tls_ready(None, explain(error))
        else:
            connection.tls_ready(upgraded)

    def quicken(self, period: float) -> None:
        """Beat at least this often from now on, in seconds."""
        if period < self.stalls.period:
            self.stalls.period = period
            self.on_quicker()

    def lease_learned(self, endpoint: Endpoint, terms: Terms) -> bool:
        """Note the longest lease; True when asking again gives a better one."""
        unknown = self._longest_lease.get(endpoint) == 0.0
        self._longest_lease[endpoint] = terms.max_msg_timeout
        best = min(self.config.msg_timeout, terms.max_msg_timeout)
        return unknown and terms.msg_timeout > best


def _nothing() -> None:
    return
