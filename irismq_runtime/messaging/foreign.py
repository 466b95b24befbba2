"""Messages of programs that know nothing of envelopes: bare JSON, or raw bytes.

Nothing of the runtime travels with them: no id, no sender, no deadline, no signature.
A ref writes in a *form*; an address takes what comes by its *rule*. "json": the body is
JSON, and the message is the plain value it holds. "raw": the message is the bytes.
"reject" (a rule alone): nothing without an envelope is taken.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from irismq_runtime.errors import ConfigError, DecodeError, EncodeError
from irismq_runtime.wire import DEFAULT_LIMITS, decode_plain_json_untrusted, encode_plain_json

__all__ = [
    "ForeignRule",
    "Form",
    "foreign_bytes",
    "foreign_reply",
    "foreign_rule",
    "foreign_value_untrusted",
]

#: How to write to a service that knows nothing of envelopes.
Form = Literal["json", "raw"]
#: What an address does with what comes without an envelope.
ForeignRule = Literal["json", "raw", "reject"]


def foreign_rule(value: object, owner: str) -> ForeignRule:
    """Return `value` if it is a rule, else raise `ConfigError` naming `owner`."""
    if value not in get_args(ForeignRule):
        problem = f"{value!r} is not a rule"
        raise ConfigError(f"{owner}.foreign", problem, "use json, raw or reject")
    rule: ForeignRule = value  # type: ignore[assignment]  # checked against the same list above
    return rule


def foreign_value_untrusted(data: bytes, rule: ForeignRule) -> Any:
    """Return the message, or the value of an answer, that `data` is. Raises `DecodeError`."""
    if rule == "raw":
        return data
    if rule == "reject":
        raise DecodeError("no envelope, and this address takes nothing else")
    return decode_plain_json_untrusted(data, DEFAULT_LIMITS)


def foreign_bytes(message: object, form: Form) -> bytes:
    """Return what goes on the wire. Raises `EncodeError`; nothing is converted."""
    if form == "raw":
        if not isinstance(message, bytes | bytearray | memoryview):
            raise EncodeError("$", f"a raw service takes bytes, not {type(message).__name__}")
        data = bytes(message)
    else:
        data = encode_plain_json(message)
    if not data:
        raise EncodeError("$", "an empty message cannot be sent")
    return data


def foreign_reply(value: object, rule: ForeignRule) -> bytes:
    """Return the bytes that answer a foreign request: JSON for what is not bytes.

    Raises `EncodeError`.
    """
    if rule == "raw" and isinstance(value, bytes | bytearray):
        data = bytes(value)
    else:
        data = encode_plain_json(value)
    if not data:
        raise EncodeError("$", "an empty answer cannot be sent")
    return data
