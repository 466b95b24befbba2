"""The settings of the embedded nsqd; names and defaults are nsqd 1.3.0's.

Times are seconds, sizes are bytes. What has no counterpart in nsqd says so.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from actors.rules import (
    FLAG,
    POSITIVE_SECONDS,
    SECONDS,
    Rule,
    complaints,
    count,
    optional,
    value_of,
)
from irismq_runtime.protocols.nsq.records import CommandLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VERSION", "NsqdOptions"]

_BYTES = count(1, 2**31 - 1)

#: The version whose behaviour this broker has; the part after + says who speaks.
VERSION = "1.3.0+irismq"


@dataclass(frozen=True, slots=True, kw_only=True)
class NsqdOptions:
    """How the broker behaves. Raises ValueError for what nsqd would refuse to start with."""

    msg_timeout: float = 60.0
    max_msg_timeout: float = 900.0
    max_msg_size: int = 1024 * 1024
    max_body_size: int = 5 * 1024 * 1024
    max_req_timeout: float = 3600.0
    #: Twice the default heartbeat interval: a client silent for so long is closed.
    client_timeout: float = 60.0
    max_heartbeat_interval: float = 60.0
    max_rdy_count: int = 2500
    output_buffer_timeout: float = 0.25
    min_output_buffer_timeout: float = 0.025
    max_output_buffer_timeout: float = 30.0
    max_output_buffer_size: int = 64 * 1024
    max_channel_consumers: int = 0
    #: What an ephemeral topic or channel holds; more is dropped and counted.
    mem_queue_size: int = 10_000
    deflate: bool = True
    max_deflate_level: int = 6
    tls: ssl.SSLContext | None = None
    tls_required: bool = False
    #: `host:port` or URLs of servers that answer AUTH; empty switches it off.
    auth_http_addresses: tuple[str, ...] = ()
    auth_http_timeout: float = 5.0
    #: Not in nsqd: unsent bytes at which a connection gets no more messages.
    high_water: int = 256 * 1024
    #: Not in nsqd: whether a commit waits for the disk itself. False survives a
    #: kill of the process, True a power cut too.
    sync: bool = True

    def __post_init__(self) -> None:
        for option, complaint in complaints(_RULES, self):
            raise ValueError(f"{option}={complaint}")
        if self.tls_required and self.tls is None:
            raise ValueError("tls_required needs tls, an ssl.SSLContext with a certificate")
        if not 0 < self.msg_timeout <= self.max_msg_timeout:
            raise ValueError(
                f"msg_timeout is {self.msg_timeout} s, more than 0 and at most "
                f"max_msg_timeout ({self.max_msg_timeout} s) is possible"
            )

    @property
    def limits(self) -> CommandLimits:
        """The limits that the command decoder enforces."""
        return CommandLimits(
            max_msg_size=self.max_msg_size,
            max_body_size=self.max_body_size,
            max_req_timeout_ms=int(self.max_req_timeout * 1000),
            max_rdy_count=self.max_rdy_count,
        )


def _are_places(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) and one for one in value)


_RULES: Final[Mapping[str, Rule]] = {
    "msg_timeout": POSITIVE_SECONDS,
    "max_msg_timeout": POSITIVE_SECONDS,
    "max_msg_size": _BYTES,
    "max_body_size": _BYTES,
    "max_req_timeout": SECONDS,
    "client_timeout": POSITIVE_SECONDS,
    "max_heartbeat_interval": POSITIVE_SECONDS,
    "max_rdy_count": _BYTES,
    "output_buffer_timeout": SECONDS,
    "min_output_buffer_timeout": SECONDS,
    "max_output_buffer_timeout": SECONDS,
    "max_output_buffer_size": _BYTES,
    "max_channel_consumers": count(0, 2**31 - 1),
    "mem_queue_size": count(0, 2**31 - 1),
    "deflate": FLAG,
    "max_deflate_level": count(1, 9),
    "tls": optional(value_of(ssl.SSLContext, "an ssl.SSLContext")),
    "tls_required": FLAG,
    "auth_http_addresses": Rule("a tuple of host:port or URLs", _are_places),
    "auth_http_timeout": POSITIVE_SECONDS,
    "high_water": _BYTES,
    "sync": FLAG,
}
