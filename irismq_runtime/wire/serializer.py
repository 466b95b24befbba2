"""Messages to bodies and back: type names, codecs, limits, errors with paths.

Outbound: a registered class becomes its fields, the shape is checked, the codec
packs. Only when one of these refuses is the value searched for the path. Inbound
the same steps the other way round: the codec unpacks, the shape is checked, and
the fields are checked against the class before it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from actors.texts import line_of
from irismq_runtime.errors import (
    ConfigError,
    DecodeError,
    EncodeError,
    MessageTooLarge,
    RuntimeFault,
    UnknownFormat,
)
from irismq_runtime.wire.codecs import Codec, MsgpackCodec
from irismq_runtime.wire.flat import LONGEST, NOT_FLAT, decode_flat_untrusted, encode_flat
from irismq_runtime.wire.json_codec import JsonCodec
from irismq_runtime.wire.limits import DEFAULT_LIMITS, WireLimits
from irismq_runtime.wire.registry import Registry
from irismq_runtime.wire.shape import CONTAINERS, find_refusal, is_flat, shape_problem, too_many
from irismq_runtime.wire.values import LEAVES, NotEncodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DEFAULT_CODEC", "EncodedMessage", "Serializer"]

#: The codec that a body without the header "c" is in.
DEFAULT_CODEC: Final = "msgpack"

_BUILT_IN: Final[tuple[Codec, ...]] = (MsgpackCodec(), JsonCodec())

_SMALL: Final = 128

_PLAIN: Final = LEAVES | CONTAINERS


@dataclass(frozen=True, slots=True)
class EncodedMessage:
    """A message that was dumped before, is kept as it was, and is sent as it is.

    Attributes:
        type: The name of its type.
        body: Its bytes.
        codec: The value of the header "c"; None for none.
    """

    type: str
    body: bytes
    codec: str | None = None


class Serializer:
    """Dumps and loads the messages of one node. Stateless between calls.

    Usable from any thread, and from within the hooks it calls.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        codecs: Iterable[Codec] = (),
        limits: WireLimits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
        self._limit_body = limits.body
        self._limit_items = limits.items
        self.registry = Registry(limits) if registry is None else registry
        self._too_many = too_many(limits)
        self._codecs: dict[str, Codec] = {}
        #: Whether bodies without the header "c" are in our own msgpack.
        self._direct = True
        for codec in _BUILT_IN:
            self.register_codec(codec)
        for codec in codecs:
            self.register_codec(codec)

    def register_codec(self, codec: Codec) -> None:
        """Let bodies be in `codec`, by its name; raises `ConfigError` for a bad name."""
        name = codec.name
        if not (1 <= len(name) <= 32 and name.isascii() and name.isprintable()):
            raise ConfigError("codecs", f"{name!r} is not a codec name", "1 to 32 ASCII characters")
        self._codecs[name] = codec
        if name == DEFAULT_CODEC:
            self._direct = type(codec) is MsgpackCodec

    @property
    def codecs(self) -> Mapping[str, Codec]:
        """The codecs by name."""
        return MappingProxyType(self._codecs)

    def dump(self, message: object, codec: str | None = None) -> tuple[str, bytes, str | None]:
        """Return type name, body, and the value of the header "c" (or None) of a message.

        Args:
            message: plain values, or an object of a registered class.
            codec: name of the one that makes the body; None: msgpack.

        Raises:
            EncodeError: something in it cannot be sent; the path says where.
            MessageTooLarge: it is above the limits. In both cases nothing has happened.
        """
        if codec is None and self._direct:
            plan = self.registry.plain.get(type(message))
            if plan is None:
                type_name, body = "", encode_flat(message, self._limit_items)
            else:
                type_name, body = plan.name, plan.encode(message)
            if body is not None and len(body) <= self._limit_body:
                return type_name, body, None
        return self._dump(message, codec)

    def _dump(self, message: object, codec: str | None) -> tuple[str, bytes, str | None]:
        """As `dump`, for every message and codec."""
        if type(message) is EncodedMessage:
            return message.type, message.body, message.codec
        chosen = self._codecs.get(codec or DEFAULT_CODEC)
        if chosen is None:
            raise EncodeError("$", f"no codec {codec!r} is registered at this node")
        type_name, tree = "", message
        try:
            kind = type(message)
            if kind not in _PLAIN:
                type_name, tree = self._flatten(message)
            if not is_flat(tree, self.limits, named=type_name != ""):
                self._check_shape(tree)
            body = chosen.encode(tree, self.registry.lower)
            size = len(body)
        except RuntimeFault:
            raise
        except Exception as error:  # a codec may raise anything; the search names the place
            raise self._explain(tree, error) from error
        if size > self.limits.body:
            raise MessageTooLarge(size, self.limits.body)
        return type_name, body, None if chosen.name == DEFAULT_CODEC else chosen.name

    def load(self, type_name: str, body: bytes, codec: str | None = None) -> object:
        """Return the message of a received body.

        The class of a typed message is made only after all fields have been checked.

        Args:
            type_name: as received; "" for plain values.
            body: as received.
            codec: the header "c" as received.

        Raises:
            DecodeError: it cannot be read; nothing else but its subclasses is raised.
        """
        if codec is None and self._direct and 0 < len(body) <= self._limit_body:
            if type_name:
                direct = self.registry.reading(type_name)
                if direct is not None and body[0] == direct.header:
                    try:
                        return direct.decode(body)
                    except BaseException:  # noqa: S110  # the way below says what is wrong
                        pass
            elif len(body) <= LONGEST:
                value = decode_flat_untrusted(body, self._limit_items)
                if value is not NOT_FLAT:
                    return value
        return self._load(type_name, body, codec)

    def _load(self, type_name: str, body: bytes, codec: str | None) -> object:
        """As `load`, for every body and codec."""
        chosen = self._codecs.get(codec or DEFAULT_CODEC)
        if chosen is None:
            raise UnknownFormat(f"no codec {codec!r:.40} is registered at this node")
        if len(body) > self.limits.body:
            raise DecodeError(f"a body of {len(body):,} bytes, over {self.limits.body:,}")
        try:
            tree = chosen.decode_untrusted(body, self.registry.lift, self.limits)
            # Which of the two looks is cheaper depends on the size; either settles it.
            if (len(body) <= _SMALL or not is_flat(tree, self.limits)) and chosen.may_exceed(
                body, self.limits
            ):
                self._check_arrived(tree)
        except DecodeError:
            raise
        except BaseException as error:  # a codec may be a user's, and raise or exit
            raise DecodeError(f"the codec {chosen.name} failed ({line_of(error)})"[:300]) from error
        return self.registry.convert(type_name, tree) if type_name else tree

    def _flatten(self, message: object) -> tuple[str, object]:
        plan = self.registry.plan(type(message))
        if plan is None:
            return "", message
        return plan.name, plan.lower(message, self.limits)

    def _check_shape(self, tree: Any) -> None:
        problem = shape_problem(tree, self.limits, self.registry.expand)
        if problem is not None:
            raise NotEncodable(problem, everywhere=problem == self._too_many)

    def _check_arrived(self, tree: object) -> None:
        try:
            problem = shape_problem(tree, self.limits, self.registry.expand)
        except NotEncodable as refusal:
            problem = refusal.reason
        if problem is not None:
            raise DecodeError(problem)

    # Why not -----------------------------------------------------------------

    def _explain(self, tree: object, error: Exception) -> EncodeError:
        if isinstance(error, NotEncodable) and error.everywhere:
            return EncodeError("$", error.reason)
        found = find_refusal(tree, self.limits, self._refusal, self.registry.expand)
        if found is not None:
            return EncodeError(*found)
        if isinstance(error, NotEncodable):
            return EncodeError(error.path, error.reason)
        return EncodeError("$", line_of(error)[:500])

    def _refusal(self, part: Any) -> tuple[str, str] | None:
        """Where inside of `part`, and why, it cannot be sent by itself."""
        kind = type(part)
        try:
            if kind is str:
                part.encode()
            elif kind not in _PLAIN:
                if self.registry.expand(part) is None:
                    self.registry.lower(part)
            elif kind not in CONTAINERS and kind not in _NATIVE:
                self.registry.lower(part)
        except NotEncodable as refusal:
            return refusal.path[1:], refusal.reason
        except UnicodeEncodeError as error:
            return "", f"text with a lone surrogate at {error.start}, which UTF-8 has no form for"
        except Exception as error:  # a property of the object, a hook of a ref
            return "", line_of(error)[:500]
        return None


_NATIVE: Final = frozenset({type(None), bool, int, float, bytes})
