"""Codecs: the bytes of a body. msgpack is the default; see json_codec for JSON.

A codec knows None, bool, int, float, str, bytes, list and dict by itself. For
anything else it asks `lower` and marks the answer so that it can call `lift`
with it on arrival, innermost first. It keeps no state between two calls, and
none that two threads or a hook that encodes something itself could share.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgpack
import msgspec

from actors.texts import line_of
from irismq_runtime.errors import DecodeError, UnknownFormat
from irismq_runtime.wire.entries import HARMLESS_KEYS, may_have_long_map, unique_pairs_untrusted
from irismq_runtime.wire.flat import NO_CONTAINER
from irismq_runtime.wire.shape import refuse_crafted_untrusted
from irismq_runtime.wire.values import MARKED, REF, SCALARS, Tagged

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.wire.limits import WireLimits

__all__ = ["Codec", "Lift", "Lower", "MsgpackCodec"]

Lower: TypeAlias = "Callable[[Any], Tagged]"
Lift: TypeAlias = "Callable[[str, Any], object]"


class Codec(Protocol):
    """The bytes of a body; stateless, usable from any thread."""

    @property
    def name(self) -> str:
        """What the header "c" says; 1 to 32 characters."""
        ...

    def encode(self, value: object, lower: Lower) -> bytes:
        """The bytes of `value`, whose depth and count are within the limits.

        May raise anything; the caller finds out where and why.
        """
        ...

    def decode_untrusted(self, data: bytes, lift: Lift, limits: WireLimits) -> object:
        """The value of `data`. Raises `DecodeError` alone."""
        ...

    def may_exceed(self, data: bytes, limits: WireLimits) -> bool:
        """False when `data` cannot be too deep or have too many elements."""
        ...


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MARK: Final = 1
_CODES: Final = {**{scalar.name: scalar.code for scalar in SCALARS}, REF[0]: REF[1]}
_NAMES: Final = {code: name for name, code in _CODES.items()}
_MARKS: Final = {name: msgpack.ExtType(_MARK, mark) for name, mark in MARKED.items()}
_MARK_BYTES: Final = bytes([0xD4, _MARK])


class _Mark:
    """The first element of a marked list, between the two hooks of msgpack."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_MARKS_BY_BYTE: Final = {mark: _Mark(name) for name, mark in MARKED.items()}


class _Lifting:
    """The hooks of one decoding: marked lists, extension values, dates."""

    __slots__ = ("dated", "lift", "open_marks")

    def __init__(self, lift: Lift, *, dated: bool) -> None:
        self.lift = lift
        self.dated = dated
        self.open_marks = 0

    def ext(self, code: int, data: bytes) -> object:
        if code == _MARK:
            mark = _MARKS_BY_BYTE.get(data)
            if mark is None:
                raise UnknownFormat(f"unknown mark {data[:8]!r}")
            self.open_marks += 1
            return mark
        return _scalar(self.lift, code, data)

    def array(self, items: list[Any]) -> object:
        if self.dated:
            items = [_date(item) for item in items]
        if not items or type(items[0]) is not _Mark:
            return items
        self.open_marks -= 1
        return self.lift(items.pop(0).name, items)

    def finish(self, value: Any) -> object:
        if self.open_marks:
            raise DecodeError("a mark that does not begin a list")
        return _date(value) if self.dated else value


def _mapped_untrusted(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if len(pairs) > HARMLESS_KEYS:
        refuse_crafted_untrusted([key for key, _ in pairs])
    return unique_pairs_untrusted(pairs)


def _mapped_with_dates_untrusted(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return _mapped_untrusted([(_date(key), _date(value)) for key, value in pairs])


def _date(value: Any) -> object:
    if type(value) is not msgpack.Timestamp:
        return value
    microseconds = value.nanoseconds // 1000  # what is finer is cut off
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=microseconds)


#: How msgpack's own timestamp begins, which a peer's library may write for a date.
#: Plain searches, after one for the byte they share: a pattern takes 20 times as long.
_TIMESTAMPS: Final = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
#: Bodies above this many bytes are guarded against long arrays that are announced
#: and not there: in them, more than `_LONG_ARRAYS` headers are first checked for
#: being complete, before msgpack makes room.
_GUARDED: Final = 2048
_LONG_ARRAYS: Final = 8


#: What `_unmarked_untrusted` says of what is not for it.
_LOST: Final = object()
_encode_again: Final = msgspec.msgpack.Encoder().encode


def _unmarked_untrusted(data: bytes) -> Any:
    """The value of `data`, of types that msgpack has itself, or `_LOST`.

    Raises anything for what is malformed.
    """
    try:
        value = msgpack.unpackb(data, strict_map_key=False, ext_hook=_no_extension)
        return value if _encode_again(value) == data else _LOST
    except Exception:  # the way with all the hooks knows, or has words
        return _LOST


def _no_extension(code: int, data: bytes) -> Any:  # noqa: ARG001  # the hook's signature
    raise ValueError(code)


def _scalar(lift: Lift, code: int, data: bytes) -> object:
    name = _NAMES.get(code)
    if name is None:
        raise UnknownFormat(f"unknown extension type {code}")
    return lift(name, data.decode())


class MsgpackCodec:
    """msgpack, with extension types for what it lacks (docs/protocol.md)."""

    name: Final = "msgpack"

    def encode(self, value: object, lower: Lower) -> bytes:
        """See `Codec`. Subclasses and tuples go to `lower`, never to their base."""
        packer = msgpack.Packer(default=partial(_default, lower), strict_types=True, buf_size=1024)
        data: bytes = packer.pack(value)
        return data

    def decode_untrusted(
        self,
        data: bytes,
        lift: Lift,
        limits: WireLimits,  # noqa: ARG002  # of the interface; depth is bounded by msgpack itself
    ) -> object:
        """See `Codec`. Nothing may follow the value."""
        try:
            return self._decode_guarded(data, lift)
        except DecodeError:
            raise
        except Exception as error:  # whatever the build of msgpack raises
            reason = f"malformed msgpack ({line_of(error)})"
            raise DecodeError(reason[:300]) from error

    def _decode_guarded(self, data: bytes, lift: Lift) -> object:
        """Decode with the hooks that are wanted.

        Every map is looked at, unless it is plain that none has a key twice or keys to be
        feared: values without extensions that are written as they came have lost nothing.
        """
        if len(data) > _GUARDED and data.count(0xDC) + data.count(0xDD) > _LONG_ARRAYS:
            msgspec.msgpack.decode(data, type=msgspec.Raw)
        marked = 0xD4 in data and _MARK_BYTES in data
        if not marked and not may_have_long_map(data):
            value = _unmarked_untrusted(data)
            if value is not _LOST:
                return value
        dated = 0xFF in data and any(start in data for start in _TIMESTAMPS)
        lifting = _Lifting(lift, dated=dated)
        options: dict[str, Any] = {
            "ext_hook": lifting.ext,
            "strict_map_key": False,
            "object_pairs_hook": _mapped_with_dates_untrusted if dated else _mapped_untrusted,
        }
        if dated or marked:
            options["list_hook"] = lifting.array
        return lifting.finish(msgpack.unpackb(data, **options))

    def may_exceed(self, data: bytes, limits: WireLimits) -> bool:
        """See `Codec`: counts the bytes that might begin a container."""
        size = len(data)
        if size > limits.items:
            return True
        return size > limits.depth and len(data.translate(None, NO_CONTAINER)) > limits.depth


def _default(lower: Lower, value: Any) -> Any:
    name, payload = lower(value)
    code = _CODES.get(name)
    if code is not None:
        return msgpack.ExtType(code, payload.encode())
    return [_MARKS[name], *payload]
