"""Which classes have a name on the wire, and how refs and objects are lowered.

Names come from `@message` (actors.messages). A registry holds nothing else but
what it found out about classes, so every node of a process may have its own,
with its own hooks for refs. Filling the caches twice is harmless: threads need
no lock.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgpack
import msgspec

from actors.messages import message_name, readable_types
from actors.texts import class_name, line_of, text_of
from irismq_runtime.errors import DecodeError, UnknownFormat, UnknownType, ValidationError
from irismq_runtime.pydantic_models import Make, declared, model_maker, problem_of
from irismq_runtime.wire.crafted import key_guard
from irismq_runtime.wire.direct import Direct, direct_reading
from irismq_runtime.wire.naive import naive_finder
from irismq_runtime.wire.plans import TypePlan, make_plan
from irismq_runtime.wire.shape import refuse_crafted_untrusted
from irismq_runtime.wire.values import MARKED, REF, SCALARS, NotEncodable, Tagged

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.wire.crafted import KeyGuard
    from irismq_runtime.wire.limits import WireLimits
    from irismq_runtime.wire.naive import Find

__all__ = ["Registry"]

#: What looks at fields before, what they are checked as, what looks after, what makes a model.
_Looks: TypeAlias = "tuple[KeyGuard | None, type, Find | None, Make | None]"

_SCALARS_BY_TYPE: Final = {scalar.type: scalar for scalar in SCALARS}
_SCALARS_BY_NAME: Final = {scalar.name: scalar for scalar in SCALARS}

_TYPES: Final = readable_types()

_ADVICE: Final[dict[type, str]] = {
    bytearray: "a bytearray would arrive as bytes; send bytes(value)",
    memoryview: "a memoryview would arrive as bytes; send bytes(value)",
    msgpack.ExtType: "an extension value of msgpack; their codes belong to the runtime",
    msgpack.Timestamp: "a msgpack timestamp; send an aware datetime",
    complex: "a complex number; send its parts as a tuple",
}


class Registry:
    """Lowers what codecs do not know to `Tagged` values, and lifts it again.

    `lower` and `lift` are what a `Codec` gets as hooks. Both may be called from
    any thread, and while another call is under way.
    """

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._plans: dict[type, TypePlan] = {}
        #: The plans seen so far whose `encode` serves, by class.
        self.plain: dict[type, TypePlan] = {}
        self._readings: dict[type, Direct | None] = {}
        self._looked: dict[type, _Looks] = {}
        self._refs: list[tuple[Callable[[object], str | None], Callable[[str], object]]] = []

    def register_ref(
        self, pack: Callable[[object], str | None], unpack: Callable[[str], object]
    ) -> None:
        """Let refs travel inside messages.

        `pack` gives the text of a ref, or None for what is not a ref of its kind.
        `unpack` makes a ref of such a text; it may raise ValueError.
        """
        self._refs.append((pack, unpack))

    def plan(self, kind: type) -> TypePlan | None:
        """The plan of a registered class, None for any other.

        Raises `NotEncodable` when the fields of the class cannot be resolved.
        """
        try:
            return self._plans[kind]
        except KeyError:
            name = message_name(kind)
            if name is None:
                return None  # not kept: it may be registered later
            plan = self._plans[kind] = make_plan(kind, name, _is_named)
            if plan.plain and 2 * plan.size <= self._limits.items:
                self.plain[kind] = plan
            return plan

    # Outbound ----------------------------------------------------------------

    def lower(self, value: Any) -> Tagged:
        """What stands for `value`, which no codec knows.

        Raises `NotEncodable` with the reason when nothing may stand for it.
        """
        kind = type(value)
        scalar = _SCALARS_BY_TYPE.get(kind)
        if scalar is not None:
            return Tagged(scalar.name, scalar.to_text(value))
        if kind in _COLLECTIONS:
            return Tagged(kind.__name__, value)
        plan = self.plan(kind)
        if plan is not None:
            fields = plan.lower(value, self._limits)
            return Tagged("object", [plan.name, fields])
        for pack, _ in self._refs:
            text = pack(value)
            if text is not None:
                return Tagged(REF[0], text)
        raise NotEncodable(_why_not(value))

    def expand(self, value: Any) -> dict[str, Any] | list[Any] | None:
        """The fields inside a registered object, lowered; None for any other value."""
        kind = type(value)
        if kind in _ADVICE:
            raise NotEncodable(_ADVICE[kind])
        plan = self.plan(kind)
        return None if plan is None else plan.lower(value, self._limits)

    # Inbound -----------------------------------------------------------------

    def lift(self, name: str, payload: Any) -> object:
        """The value that `Tagged(name, payload)` stands for.

        Raises `DecodeError` alone, whatever the payload is.
        """
        try:
            scalar = _SCALARS_BY_NAME.get(name)
            if scalar is not None:
                return scalar.from_text(_text(payload))
            if name == REF[0]:
                return self._lift_ref(_text(payload))
            if name in MARKED:
                return self._lift_marked(name, payload)
        except DecodeError:
            raise
        except BaseException as error:  # parsers, and the code of users' classes, may do anything
            raise DecodeError(f"malformed {name} ({class_name(error)})") from error
        raise UnknownFormat(f"unknown extension type {name[:40]!r}")

    def _lift_marked(self, name: str, payload: Any) -> object:
        if not isinstance(payload, list):
            raise DecodeError(f"malformed {name}: not a list")
        if name == "object":
            type_name, fields = payload
            return self.convert(type_name, fields)
        if name != "tuple":
            refuse_crafted_untrusted(payload)
        return _COLLECTIONS_BY_NAME[name](payload)

    def _lift_ref(self, text: str) -> object:
        for _, unpack in self._refs:
            return unpack(text)
        raise DecodeError("a ref, but this node takes none")

    def reading(self, type_name: str) -> Direct | None:
        """The short cut for bodies of the class registered as `type_name`, if it has one."""
        kind = _TYPES.get(type_name)
        if kind is None:
            return None
        try:
            return self._readings[kind]
        except KeyError:
            made = self._readings[kind] = direct_reading(kind)
            return made

    def convert(self, type_name: object, fields: object) -> object:
        """An instance of the class registered as `type_name`, checked field by field.

        Raises `UnknownType`, `ValidationError` with the path of what is wrong, or
        `DecodeError` for keys made to have one hash.
        """
        if not isinstance(type_name, str) or (kind := _TYPES.get(type_name)) is None:
            raise UnknownType(str(type_name)[:200])
        guard, shape, find, make = self._looked.get(kind) or self._looks(kind, type_name)
        if guard is not None:
            guard(fields)
        try:
            made: object = msgspec.convert(fields, shape)
            place = None if find is None else find(made)
            if make is not None and place is None:
                made = make(made)
        except msgspec.ValidationError as error:
            problem, _, path = text_of(error).partition(" - at `")
            raise ValidationError(path.rstrip("`") or "$", problem, type_name=type_name) from error
        except BaseException as error:  # __post_init__, which may exit; hints without a meaning
            raise ValidationError(*problem_of(error), type_name=type_name) from error
        if place is not None:
            problem = "a datetime without a zone names no instant; give it an offset"
            raise ValidationError(f"${place}", problem, type_name=type_name)
        return made

    def _looks(self, kind: type, type_name: str) -> _Looks:
        """Find out what looks at the fields of a class before (`crafted`) and after (`naive`).

        Raises `ValidationError` for a model that cannot be a message.
        """
        try:
            shape = declared(kind)
            made = self._looked[kind] = (
                key_guard(shape),
                shape,
                naive_finder(shape),
                model_maker(kind),
            )
        except BaseException as error:  # what a class says of itself is the user's
            raise ValidationError("$", line_of(error)[:500], type_name=type_name) from error
        return made


_COLLECTIONS: Final = frozenset({tuple, set, frozenset})
_COLLECTIONS_BY_NAME: Final[dict[str, type]] = {kind.__name__: kind for kind in _COLLECTIONS}


def _is_named(kind: type) -> bool:
    return message_name(kind) is not None


def _text(payload: Any) -> str:
    if type(payload) is not str:
        raise DecodeError("an extension value that is not text")
    return payload


def _why_not(value: Any) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        return f"{name} is an enum outside a field declared as one; send its value"
    for base in (str, bytes, bool, int, float, dict, list, tuple, set, frozenset):
        if isinstance(value, base):
            return f"{name} would arrive as a plain {base.__name__}; convert it before"
    return (
        f"{name} has no form on the wire; give its class @message with declared fields, "
        "or send what it holds"
    )
