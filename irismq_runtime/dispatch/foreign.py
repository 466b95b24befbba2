"""Bytes from programs that know nothing of us, by the address' rule.

"json": the body is JSON and is handled as the plain value it holds. "raw": the
actor gets the bytes. "reject": nothing without an envelope is accepted.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from irismq_runtime.errors import ConfigError, DecodeError, EncodeError
from irismq_runtime.wire import DEFAULT_LIMITS, decode_plain_json_untrusted, encode_plain_json

__all__ = ["ForeignRule", "foreign_reply", "foreign_rule", "foreign_value_untrusted"]

ForeignRule = Literal["json", "raw", "reject"]


def foreign_rule(value: object, owner: str) -> ForeignRule:
    """Return `value` if it is a rule, else raise `ConfigError` naming `owner`."""
    if value not in get_args(ForeignRule):
        raise ConfigError(f"{owner}.foreign", f"{value!r} is no rule", "use json, raw or reject")
    rule: ForeignRule = value  # type: ignore[assignment]  # checked against the same list above
    return rule


def foreign_value_untrusted(data: bytes, rule: ForeignRule) -> Any:
    """Return the message that `data` is. Raises `DecodeError`."""
    if rule == "raw":
        return data
    if rule == "reject":
        raise DecodeError("no envelope, and this address takes nothing else")
    return decode_plain_json_untrusted(data, DEFAULT_LIMITS)


def foreign_reply(value: object, rule: ForeignRule) -> bytes:
    """Return the bytes that answer a foreign request. Raises `EncodeError`."""
    if rule == "raw" and isinstance(value, bytes | bytearray):
        data = bytes(value)
    else:
        data = encode_plain_json(value)
    if not data:
        raise EncodeError("$", "an empty answer cannot be sent")
    return data
