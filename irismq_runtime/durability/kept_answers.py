"""What came of a message, as bytes that a store keeps: of an ask with an id, and of a tell.

    returned    the value, in the codec of the node
    refused     code and reason of a refusal, as an ask with an id is answered again
    failed      the fault that an asker would be told; who kept it

They are read by whoever has the store, and believed as the store is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors import Refused, Reject
from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge
from irismq_runtime.wire import FaultBody, decode_fault_untrusted, encode_fault

if TYPE_CHECKING:
    from irismq_runtime.wire import Serializer

__all__ = ["failed", "read", "refused", "returned", "returned_or_failed"]

_RETURNED, _REFUSED, _FAILED = "returned", "refused", "failed"
_encode: Final = msgspec.msgpack.Encoder().encode
#: Which of the three; type name, code or address; codec; body, reason or fault.
_decode: Final = msgspec.msgpack.Decoder(tuple[str, str, str, bytes]).decode


def returned(serializer: Serializer, value: Any) -> bytes:
    """What a handler returned. Raises `EncodeError`, `MessageTooLarge`."""
    name, body, codec = serializer.dump(value)
    return _encode((_RETURNED, name, codec or "", body))


def returned_or_failed(serializer: Serializer, value: Any, address: str) -> bytes:
    """What a handler returned, or that it cannot be written."""
    try:
        return returned(serializer, value)
    except (EncodeError, MessageTooLarge) as error:
        return failed(error, address)


def refused(error: BaseException) -> bytes:
    """What a handler refused."""
    code = getattr(error, "code", None)
    return _encode((_REFUSED, code or "", "", str(error)[:2_000].encode()))


def failed(error: BaseException, address: str) -> bytes:
    """How the handling of a message ended: what the handler raised, or why there was none."""
    crashed = not issubclass(type(error), Refused | Reject | DecodeError)
    return _encode((_FAILED, address, "", encode_fault(FaultBody.of(error, crashed=crashed))))


def read(serializer: Serializer, kept: bytes) -> Any:
    """Return the value that was kept. Raises what was kept in its place, and `DecodeError`."""
    try:
        kind, name, codec, body = _decode(kept)
        if kind == _RETURNED:
            return serializer.load(name, body, codec or None)
        if kind == _REFUSED:
            error: Exception = Refused(body.decode(), code=name or None)
        else:
            error = decode_fault_untrusted(body).to_exception(name)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise DecodeError(f"what was kept is malformed ({problem})"[:300]) from problem
    raise error
