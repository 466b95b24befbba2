"""The JSON codec, and JSON from programs that know nothing of us.

JSON has no bytes, no NaN, no keys but text, and no integers a reader may count
on beyond 2**53. Such values are tagged: {"$": "bytes", "v": "..."}; a dict that
has the key "$" itself is tagged as a dict. Everything else stands as it is, so
most bodies are the JSON that a person would write.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from irismq_runtime.errors import DecodeError, EncodeError
from irismq_runtime.wire.entries import TWICE, unique_pairs_untrusted
from irismq_runtime.wire.limits import DEFAULT_LIMITS, MAX_DEPTH
from irismq_runtime.wire.shape import refuse_crafted_untrusted, step, too_many
from irismq_runtime.wire.values import MARKED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from irismq_runtime.wire.codecs import Lift, Lower
    from irismq_runtime.wire.limits import WireLimits

__all__ = ["JsonCodec", "decode_plain_json_untrusted", "encode_plain_json"]

_TAG: Final = "$"
_VALUE: Final = "v"
_TEXT: Final = frozenset({str})
#: Brackets that one level of a value may take: an object is a tagged list with a
#: dict in it.
_LEVELS: Final = 3
_SAFE_INT: Final = 2**53 - 1
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
#: A text, to its end or to that of the bytes: no quotation mark is looked at twice.
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.|\\\Z)*(?:"|\Z)', re.DOTALL)
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
#: How often the innermost pairs of brackets are taken away before all are counted.
_PEELED: Final = 4
#: What each bracket adds to the depth.
_STEPS: Final = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]


class JsonCodec:
    """JSON with tagged values (docs/protocol.md)."""

    name: Final = "json"

    def encode(self, value: object, lower: Lower) -> bytes:
        """See `Codec`."""
        return msgspec.json.encode(_lowered(value, lower))

    def decode_untrusted(self, data: bytes, lift: Lift, limits: WireLimits) -> object:
        """See `Codec`."""
        value = _decode_untrusted(data, _LEVELS * limits.depth)
        if b'"$"' not in data and b"\\u0024" not in data:
            return value
        try:
            return _lifted(value, lift)
        except DecodeError:
            raise
        except Exception as error:  # TypeError of a list as a key, and the like
            raise DecodeError(f"malformed tagged value ({type(error).__name__})") from error

    def may_exceed(self, data: bytes, limits: WireLimits) -> bool:
        """See `Codec`: counts the brackets, those inside of texts as well."""
        size = len(data)
        if size > limits.items:
            return True
        return size > limits.depth and data.count(b"[") + data.count(b"{") > limits.depth


def decode_plain_json_untrusted(data: bytes, limits: WireLimits) -> object:
    """Return the value of a JSON text in UTF-8, without any meaning of "$".

    Args:
        data: whatever came.
        limits: how deep it may be, which is found before anything is built.

    Raises:
        DecodeError: it is not JSON, has lone surrogates, NaN or a key twice, or is too
            deep; nothing else is raised.
    """
    return _decode_untrusted(data, limits.depth)


def _decode_untrusted(data: bytes, depth: int) -> object:
    if _is_deeper(data, depth):
        raise DecodeError(f"brackets nested deeper than {depth} levels")
    try:
        value = msgspec.json.decode(data)
    except Exception as error:  # msgspec's own errors and UnicodeDecodeError
        raise DecodeError(f"malformed JSON ({error})"[:300]) from error
    _refuse_twice(data, value)
    return value


def _refuse_twice(data: bytes, value: Any) -> None:
    """Raise `DecodeError` when an object of the text had a key twice: one colon too many.

    Written again, what came out has as many colons as what came in, if nothing was lost:
    those of its texts and one for each key. An escaped colon is written as it is, so
    where there might be one the keys are counted, and the texts left out.
    """
    colons = data.count(b":")
    if colons == 0 or (type(value) is dict and colons == len(value)):
        return
    try:
        again = msgspec.json.encode(value).count(b":")
    except Exception:  # an integer of more than 64 bits
        again = -1
    if again == colons and not (0x5C in data and (b"\\u003a" in data or b"\\u003A" in data)):
        return
    if _TEXTS.sub(b"", data).count(b":") != _keys(value):
        raise DecodeError(TWICE)


def _keys(value: Any) -> int:
    keys, level = 0, [value]
    while level:
        keys += sum(len(node) for node in level if type(node) is dict)
        parts = chain.from_iterable(n.values() if type(n) is dict else n for n in level)
        level = [part for part in parts if type(part) is dict or type(part) is list]
    return keys


def _is_deeper(data: bytes, limit: int) -> bool:
    """Whether brackets are nested deeper than `limit`; looks at each byte once."""
    if len(data) <= limit or data.count(b"[") + data.count(b"{") <= limit:
        return False
    brackets = _TEXTS.sub(b"", data).translate(None, _NO_BRACKETS)
    flatter = brackets.translate(_SQUARE)
    for taken in range(1, _PEELED + 1):  # each time the innermost pairs go: most are wide, not deep
        flatter = flatter.replace(b"[]", b"")
        if len(flatter) + taken <= limit:
            return False
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit


def _lowered(value: Any, lower: Lower) -> Any:
    """What stands for `value` in JSON. Loops, as each level is a frame or two."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is list:
        return _lowered_items(value, lower)
    if kind is dict and _TAG not in value and _TEXT.issuperset(map(type, value)):
        fields = {}
        for key, item in value.items():
            fields[key] = _lowered(item, lower)
        return fields
    if kind is dict:
        pairs: list[Any] = []
        for key, item in value.items():
            pairs.append([_lowered(key, lower), _lowered(item, lower)])
        return _tag("dict", pairs)
    return _lowered_scalar(value, lower)


def _lowered_scalar(value: Any, lower: Lower) -> Any:
    kind = type(value)
    if kind is int and -_SAFE_INT <= value <= _SAFE_INT:
        return value
    if kind is float:
        return value if math.isfinite(value) else _tag("float", struct.pack(">d", value).hex())
    if kind is bytes:
        return _tag("bytes", base64.b64encode(value).decode())
    name, payload = lower(value)
    return _tag(name, _lowered_items(payload, lower) if name in MARKED else payload)


def _lowered_items(items: Iterable[Any], lower: Lower) -> list[Any]:
    lowered: list[Any] = []
    for item in items:
        lowered.append(_lowered(item, lower))  # noqa: PERF401  # a frame less
    return lowered


def _tag(name: str, payload: object) -> dict[str, object]:
    return {_TAG: name, _VALUE: payload}


def _lifted(value: Any, lift: Lift) -> Any:
    """The value that stands for `value`. Loops, as in `_lowered`."""
    if type(value) is list:
        items = []
        for item in value:
            items.append(_lifted(item, lift))  # noqa: PERF401  # a frame less
        return items
    if type(value) is not dict:
        return value
    if _TAG in value:
        return _lifted_tagged(value, lift)
    fields = {}
    for key, item in value.items():
        fields[key] = _lifted(item, lift)
    return fields


def _lifted_tagged(value: dict[str, Any], lift: Lift) -> Any:
    if len(value) != 2 or _VALUE not in value:
        raise DecodeError('a tagged value must have the keys "$" and "v" alone')
    name, payload = value[_TAG], value[_VALUE]
    if type(name) is not str:
        raise DecodeError("a tag that is not a name")
    if name == "bytes":
        return base64.b64decode(payload, validate=True)
    if name == "float":
        return struct.unpack(">d", bytes.fromhex(payload))[0]
    if name != "dict":
        return lift(name, _lifted(payload, lift))
    keys, items = [], []
    for key, item in payload:
        keys.append(_lifted(key, lift))
        items.append(_lifted(item, lift))
    refuse_crafted_untrusted(keys)
    return unique_pairs_untrusted(list(zip(keys, items, strict=True)))


def encode_plain_json(value: object) -> bytes:
    """Return JSON for programs that know nothing of us, without any "$".

    Args:
        value: what JSON has a form for: None, bool, int, finite float, str, and lists
            and string-keyed dicts of these.

    Raises:
        EncodeError: anything else; the path says where.
    """
    problem = _not_plain(value)
    if problem is not None:
        raise EncodeError(*problem)
    return msgspec.json.encode(value)


def _not_plain(root: object) -> tuple[str, str] | None:
    level: list[tuple[str, Any]] = [("$", root)]
    items = 0
    for _ in range(MAX_DEPTH + 1):
        deeper: list[tuple[str, Any]] = []
        for path, value in level:
            kind = type(value)
            if kind is list:
                deeper += [(f"{path}[{index}]", item) for index, item in enumerate(value)]
            elif kind is dict and _TEXT.issuperset(map(type, value)):
                deeper += [(path + step(key), item) for key, item in value.items()]
            elif not _is_plain_scalar(value):
                return path, f"{kind.__qualname__} has no form in plain JSON"
            if items + len(deeper) > DEFAULT_LIMITS.items:
                return "$", too_many(DEFAULT_LIMITS)
        items += len(deeper)
        if not deeper:
            return None
        level = deeper
    return "$", f"nested deeper than {MAX_DEPTH} levels"


def _is_plain_scalar(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is str:
        return _LONE_SURROGATE.search(value) is None
    return value is None or kind is bool or kind is int
