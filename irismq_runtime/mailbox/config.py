"""Every number of the mailbox in one frozen record, checked when it is made.

Times are seconds, sizes bytes. What depends on the broker (its largest message,
its longest deferral) is None here and learned from the broker; a value given
here is taken instead. Sources of the defaults stand beside them.
"""

from __future__ import annotations

import dataclasses
import ssl
from typing import TYPE_CHECKING, Final, Literal

from actors.rules import (
    FLAG,
    POSITIVE_SECONDS,
    TEXT,
    complaints,
    count,
    number,
    one_of,
    optional,
    seconds,
    value_of,
)
from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.rules import Rule

__all__ = ["MailboxConfig"]

Compression = Literal["none", "deflate", "snappy"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MailboxConfig:
    """Options of `NsqMailbox`: seconds, bytes and counts. Frozen.

    Each option says beside it what it bounds; docs/operations.md has them in a table.

    Raises:
        ConfigError: A value has no meaning, or the least is above the most.
    """

    #: What nsqd shows as the client: a name for people, no identity.
    client_id: str = ""
    user_agent: str = "irismq-runtime"

    # Connections
    #: Until TCP connect, upgrades, AUTH and SUB are all done.
    connect_timeout: float = 5.0
    #: How long `start` waits for the first broker.
    start_timeout: float = 10.0
    #: nsqd beats this often, and to consumers at least once a lease; 2.5 beats of
    #: silence end the connection (nsqd: 1 to 60, and it drops us after two of them).
    heartbeat: float = 5.0
    #: First and largest delay before dialling again; half to all of it is waited.
    reconnect_min: float = 0.2
    reconnect_max: float = 3.0
    #: A connection that stood this long starts the delays anew.
    stable_after: float = 5.0
    #: Dials under way at the same time, over all connections of one mailbox.
    concurrent_dials: int = 16
    #: Reconnects a second, over all connections of one mailbox.
    dials_per_second: float = 50.0
    tls: ssl.SSLContext | None = None
    #: Name to check the certificate against; empty: the host as it was given.
    tls_hostname: str = ""
    auth_secret: str = dataclasses.field(default="", repr=False)
    compression: Compression = "none"
    #: 1 to 9; the broker may lower it.
    deflate_level: int = 6

    # Publishing
    #: Default of `publish`: confirmed by then, or failed.
    publish_timeout: float = 10.0
    #: Bytes of messages accepted and not yet confirmed; beyond: `Overloaded`.
    outbox_bytes: int = 64 * 1024 * 1024
    #: One MPUB at most; nsqd's own limit (max-body-size) is 5 MiB.
    batch_bytes: int = 512 * 1024
    batch_count: int = 2000
    #: Written and not yet confirmed on one connection.
    pipeline_bytes: int = 4 * 1024 * 1024
    #: Brokers that must confirm a message (NSQ does not replicate).
    copies: int = 1
    #: None: asked of the broker (nsqd's max-msg-size, 1 MiB unless changed).
    max_body: int | None = None
    #: None: asked of the broker (nsqd's max-req-timeout, 1 h unless changed).
    max_delay: float | None = None

    # Consuming
    max_attempts: int = 5
    #: The lease asked for. Short: a killed consumer's messages come back after it.
    msg_timeout: float = 15.0
    #: nsqd's output buffer to us, bytes. Measured here: with 512 nsqd makes a system
    #: call for each message of 1 KB, with 16 KiB messages wait for each other.
    output_buffer_size: int = 4096
    #: nsqd's floor is 25 ms.
    output_buffer_timeout: float = 0.025
    #: Whether RDY follows the traffic (see `adaptive_rdy`); False: always the whole share.
    adaptive_rdy: bool = True
    #: Requeue delay of attempt n: base * 2**(n-1), capped; half to all of it.
    requeue_base: float = 1.0
    requeue_max: float = 900.0
    #: Failures in a row, with no success between, that slow the mailbox down.
    backoff_after: int = 3
    #: Pause of the first step and of the longest.
    backoff_base: float = 0.25
    backoff_max: float = 5.0
    #: Held, but none settled for this long: the consumer reports itself stuck.
    stuck_after: float = 60.0

    # Discovery
    #: Between two questions to nsqlookupd about a topic. A broker that gets the topic
    #: later than others is consumed from so late; a question is one small HTTP GET.
    lookup_interval: float = 10.0
    #: Share of the interval that is random (NSQ's custom: 0.3).
    lookup_jitter: float = 0.3
    lookup_timeout: float = 5.0

    def __post_init__(self) -> None:
        for name, complaint in complaints(_RULES, self):
            raise ConfigError(name, complaint, _REMEDIES.get(name, ""))
        for low, high in _ORDERED:
            least, most = getattr(self, low), getattr(self, high)
            if least > most:
                raise ConfigError(low, f"{least!r} is above {high} ({most!r})")
        if self.compression == "snappy":
            _need_snappy()


_BYTES: Final = count(1, 2**31 - 1)  # a frame of NSQ says its size in 31 bits
_COUNT: Final = count(1, 1_000_000)

#: What each option may be; a test has it that none is missing.
_RULES: Final[Mapping[str, Rule]] = {
    "client_id": TEXT,
    "user_agent": TEXT,
    "connect_timeout": POSITIVE_SECONDS,
    "start_timeout": POSITIVE_SECONDS,
    "heartbeat": seconds(1.0, 60.0),  # nsqd's limits
    "reconnect_min": POSITIVE_SECONDS,
    "reconnect_max": POSITIVE_SECONDS,
    "stable_after": POSITIVE_SECONDS,
    "concurrent_dials": _COUNT,
    "dials_per_second": number(0.001, 1e6, ""),
    "tls": optional(value_of(ssl.SSLContext, "an ssl.SSLContext")),
    "tls_hostname": TEXT,
    "auth_secret": TEXT._replace(secret=True),
    "compression": one_of("none", "deflate", "snappy"),
    "deflate_level": count(1, 9),
    "publish_timeout": POSITIVE_SECONDS,
    "outbox_bytes": count(1, 2**62),
    "batch_bytes": _BYTES,
    "batch_count": _COUNT,
    "pipeline_bytes": count(1, 2**62),
    "copies": count(1, 1000),
    "max_body": optional(_BYTES),
    "max_delay": optional(POSITIVE_SECONDS),
    "max_attempts": count(1, 65_535),  # as nsqd counts them
    "msg_timeout": seconds(1.0),  # nsqd's least
    "output_buffer_size": count(64, 64 * 1024),  # nsqd's limits
    "output_buffer_timeout": seconds(0.001, 30.0),  # nsqd's most; it has a floor of its own
    "adaptive_rdy": FLAG,
    "requeue_base": POSITIVE_SECONDS,
    "requeue_max": POSITIVE_SECONDS,
    "backoff_after": _COUNT,
    "backoff_base": POSITIVE_SECONDS,
    "backoff_max": POSITIVE_SECONDS,
    "stuck_after": POSITIVE_SECONDS,
    "lookup_interval": POSITIVE_SECONDS,
    "lookup_jitter": number(0.0, 1.0, ""),
    "lookup_timeout": POSITIVE_SECONDS,
}
_REMEDIES: Final[Mapping[str, str]] = {
    "max_body": "leave it out to ask the broker",
    "max_delay": "leave it out to ask the broker",
}
#: The first of each pair may not be above the second.
_ORDERED: Final = (
    ("reconnect_min", "reconnect_max"),
    ("requeue_base", "requeue_max"),
    ("backoff_base", "backoff_max"),
)


def _need_snappy() -> None:
    try:
        import snappy  # noqa: F401  # the import is the check
    except ImportError:
        raise ConfigError(
            "compression",
            "snappy needs the package python-snappy",
            "install irismq-runtime[snappy], or use deflate",
        ) from None
