"""What the brokers take, as far as they have said so, and what publish refuses.

nsqd's limits are settings, and its answer to IDENTIFY does not tell them. They
are learned: from a broker that announces them, from a question that nsqd must
refuse (`probe`), and from any refusal that names a limit. With several brokers
the smallest counts, because a message may have to go to any of them. A value in
the configuration is taken as it is.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from actors.errors import Overloaded

if TYPE_CHECKING:
    from irismq_runtime.mailbox.config import MailboxConfig
    from irismq_runtime.mailbox.connect.handshake import Terms

__all__ = ["BrokerLimits", "OutboxFull", "limit_in", "milliseconds"]

#: nsqd's defaults, until the broker says otherwise.
DEFAULT_MAX_BODY = 1024 * 1024
DEFAULT_MAX_DELAY = 3600.0

_TOO_BIG = re.compile(r"message too big \d+ > (\d{1,12})")
_TOO_LONG = re.compile(r"DPUB timeout \d+ out of range 0-(\d{1,15})")


class OutboxFull(Overloaded):
    """The outbox holds `limit` bytes that no broker has confirmed yet.

    The message of `size` bytes was not taken. `reason`: why no broker is
    written to; empty when one is and merely slower than the publishers.
    """

    def __init__(self, size: int, limit: int, reason: str) -> None:
        self.size = size
        self.limit = limit
        self.reason = reason
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"the outbox is full: {limit:,} bytes wait for a broker{why}; await receipts "
            "before publishing more, or set outbox_bytes higher"
        )


class BrokerLimits:
    """The limits of all brokers of one mailbox together."""

    __slots__ = ("_bodies", "_config", "_delays", "max_body", "max_delay")

    def __init__(self, config: MailboxConfig) -> None:
        #: Bytes of the largest message.
        self.max_body = config.max_body or DEFAULT_MAX_BODY
        #: Seconds of the longest deferral that the broker keeps by itself.
        self.max_delay = config.max_delay or DEFAULT_MAX_DELAY
        self._config = config
        self._bodies: dict[str, int] = {}
        self._delays: dict[str, float] = {}

    def learn(
        self, broker: str, *, max_body: int | None = None, max_delay: float | None = None
    ) -> None:
        """Note what the broker of this name takes; None: nothing new."""
        if max_body is not None and self._config.max_body is None:
            self._bodies[broker] = max_body
            self.max_body = min(self._bodies.values())
        if max_delay is not None and self._config.max_delay is None:
            self._delays[broker] = max_delay
            self.max_delay = min(self._delays.values())

    def unknown(self, broker: str) -> tuple[bool, bool]:
        """What there is to ask the broker of this name: (its largest body, its longest delay)."""
        ask_body = self._config.max_body is None and broker not in self._bodies
        ask_delay = self._config.max_delay is None and broker not in self._delays
        return ask_body, ask_delay

    def announced(self, broker: str, terms: Terms) -> None:
        """Take what the answer to IDENTIFY says."""
        self.learn(broker, max_body=terms.max_msg_size, max_delay=terms.max_req_timeout)


def limit_in(text: str) -> tuple[int | None, float | None]:
    """The limit that nsqd's refusal names: (bytes of a message, seconds of a delay)."""
    body, delay = _TOO_BIG.search(text), _TOO_LONG.search(text)
    return (
        int(body.group(1)) if body is not None else None,
        int(delay.group(1)) / 1000 if delay is not None else None,
    )


def milliseconds(delay: float, longest: float) -> int:
    """Return a delay as it is written to the broker: 0 to `longest`, in seconds both.

    Rounded up, so that a message never comes before its time. Cut, since older nsqd close
    the connection over one bad REQ, and with it every message in flight is lost to us.
    """
    if not delay > 0.0:  # also what is not a number
        return 0
    return math.ceil(min(delay, longest) * 1000)
