"""IDENTIFY: what a client asks for, and what nsqd grants. Pure.

The types are checked as nsqd's JSON decoder does (null is "not given"); a value
out of range is refused with E_BAD_BODY. Times in the record are seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from irismq_runtime.embedded.nsqd.options import VERSION
from irismq_runtime.protocols.nsq.errors import NsqProtocolError

if TYPE_CHECKING:
    from irismq_runtime.embedded.nsqd.options import NsqdOptions

__all__ = ["Grant", "negotiate_untrusted"]

_BUFFER = 16 * 1024
_TYPES: dict[str, type] = {
    "client_id": str,
    "hostname": str,
    "user_agent": str,
    "topology_region": str,
    "topology_zone": str,
    "feature_negotiation": bool,
    "tls_v1": bool,
    "deflate": bool,
    "snappy": bool,
    "heartbeat_interval": int,
    "output_buffer_size": int,
    "output_buffer_timeout": int,
    "deflate_level": int,
    "sample_rate": int,
    "msg_timeout": int,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """What was agreed with one client."""

    client_id: str = ""
    hostname: str = ""
    user_agent: str = ""
    #: 0 is off.
    heartbeat_interval: float = 30.0
    msg_timeout: float = 60.0
    sample_rate: int = 0
    output_buffer_size: int = _BUFFER
    output_buffer_timeout: float = 0.25
    negotiated: bool = False
    tls: bool = False
    deflate: bool = False
    deflate_level: int = 6

    @classmethod
    def default(cls, options: NsqdOptions, host: str) -> Grant:
        """What a client gets that never sends IDENTIFY."""
        return cls(
            client_id=host,
            hostname=host,
            heartbeat_interval=options.client_timeout / 2,
            msg_timeout=options.msg_timeout,
            output_buffer_timeout=options.output_buffer_timeout,
        )

    def answer(self, options: NsqdOptions) -> bytes:
        """The JSON that answers IDENTIFY with feature negotiation."""
        fields = {
            "max_rdy_count": options.max_rdy_count,
            "version": VERSION,
            "max_msg_timeout": int(options.max_msg_timeout * 1000),
            "msg_timeout": int(self.msg_timeout * 1000),
            "tls_v1": self.tls,
            "deflate": self.deflate,
            "deflate_level": self.deflate_level,
            "max_deflate_level": options.max_deflate_level,
            "snappy": False,
            "sample_rate": self.sample_rate,
            "auth_required": bool(options.auth_http_addresses),
            "output_buffer_size": self.output_buffer_size,
            "output_buffer_timeout": int(self.output_buffer_timeout * 1000),
            "topology_region": "",
            "topology_zone": "",
        }
        return json.dumps(fields, separators=(",", ":")).encode()


def negotiate_untrusted(body: bytes, options: NsqdOptions) -> Grant:
    """What the client of this IDENTIFY gets. Raises `NsqProtocolError` (E_BAD_BODY)."""
    asked = _fields_untrusted(body)

    def number(name: str) -> int:
        return cast("int", asked.get(name, 0))

    def text(name: str) -> str:
        return cast("str", asked.get(name, ""))

    deflate = options.deflate and bool(asked.get("deflate"))
    level = number("deflate_level") if deflate and number("deflate_level") > 0 else 6
    buffer_size, buffer_timeout = _buffer(
        number("output_buffer_size"), number("output_buffer_timeout"), options
    )
    return Grant(
        client_id=text("client_id"),
        hostname=text("hostname"),
        user_agent=text("user_agent"),
        heartbeat_interval=_heartbeat(number("heartbeat_interval"), options),
        msg_timeout=_msg_timeout(number("msg_timeout"), options),
        sample_rate=_sample_rate(number("sample_rate")),
        output_buffer_size=buffer_size,
        output_buffer_timeout=buffer_timeout,
        negotiated=bool(asked.get("feature_negotiation")),
        tls=options.tls is not None and bool(asked.get("tls_v1")),
        deflate=deflate,
        deflate_level=min(level, options.max_deflate_level),
    )


def _fields_untrusted(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad("failed to decode JSON body") from error
    if asked is None:
        return {}
    if not isinstance(asked, dict):
        raise _bad("failed to decode JSON body")
    known: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        value = asked.get(name)
        if value is None:
            continue
        if type(value) is not kind:
            raise _bad("failed to decode JSON body")
        known[name] = value
    return known


def _heartbeat(asked: int, options: NsqdOptions) -> float:
    if asked == -1:
        return 0.0
    if asked == 0:
        return options.client_timeout / 2
    if 1000 <= asked <= options.max_heartbeat_interval * 1000:
        return asked / 1000
    raise _bad(f"heartbeat interval ({asked}) is invalid")


def _buffer(size: int, timeout: int, options: NsqdOptions) -> tuple[int, float]:
    low, high = options.min_output_buffer_timeout * 1000, options.max_output_buffer_timeout * 1000
    if timeout == -1:
        seconds = 0.0
    elif timeout == 0:
        seconds = options.output_buffer_timeout
    elif low <= timeout <= high:
        seconds = timeout / 1000
    else:
        raise _bad(f"output buffer timeout ({timeout}) is invalid")
    if size == -1:
        return 1, 0.0
    if size == 0:
        return _BUFFER, seconds
    if 64 <= size <= options.max_output_buffer_size:
        return size, seconds
    raise _bad(f"output buffer size ({size}) is invalid")


def _sample_rate(asked: int) -> int:
    if not 0 <= asked <= 99:
        raise _bad(f"sample rate ({asked}) is invalid")
    return asked


def _msg_timeout(asked: int, options: NsqdOptions) -> float:
    if asked == 0:
        return options.msg_timeout
    if 1000 <= asked <= options.max_msg_timeout * 1000:
        return asked / 1000
    raise _bad(f"msg timeout ({asked}) is invalid")


def _bad(reason: str) -> NsqProtocolError:
    return NsqProtocolError(f"IDENTIFY {reason}", code="E_BAD_BODY")
