"""What a class of actors offers: at which address, which messages, with which answers.

Read from the class alone, and nothing is made or run: the address, the subscriptions and the
handlers that stand in it. What a constructor decides is not known here. A message is one
that has a name on the wire; the answer is that of its `Request[R]`, or what the hints of
the handler say that it returns.
"""

from __future__ import annotations

import collections.abc
import sys
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from actors import Request
from actors.handlers import MarkedHandler, exposed_methods, marked_handlers
from actors.messages import message_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AnswerType", "Contract", "TopicContract", "contract_of", "is_ours", "version_of"]

#: What a handler that streams says that it returns.
_STREAMS: Final = frozenset(
    {
        collections.abc.AsyncIterator,
        collections.abc.AsyncGenerator,
        collections.abc.AsyncIterable,
        collections.abc.Iterator,
        collections.abc.Generator,
    }
)
_UNKNOWN: Final = object()


@dataclass(frozen=True, slots=True)
class AnswerType:
    """What an ask gets. `type`: of the value, or of each item of a stream; None without one."""

    kind: Literal["nothing", "value", "stream", "unknown"]
    type: Any = None

    def __str__(self) -> str:
        """Return it as a person writes it; "" where it is not known."""
        if self.kind == "unknown":
            return ""
        name = "None" if self.type is None else getattr(self.type, "__name__", "")
        if typing.get_args(self.type) or not name:
            name = str(self.type)
        return f"stream of {name}" if self.kind == "stream" else name


@dataclass(frozen=True, slots=True)
class TopicContract:
    """A topic that is listened to. `channel`: of a durable one, "" for the default."""

    topic: str
    is_durable: bool
    channel: str


@dataclass(frozen=True, slots=True)
class Contract:
    """What one class offers.

    `address`: "" where it has none. `messages`: by the class of the message. `exposed`: methods
    that are called through a proxy. `shards`: of entities, 0 of others.
    """

    actor_class: type
    address: str
    messages: dict[type, AnswerType]
    topics: tuple[TopicContract, ...]
    exposed: tuple[str, ...]
    shards: int

    def to_dict(self) -> dict[str, Any]:
        """As a node tells it: plain values, with the names of the messages."""
        return {
            "class": f"{self.actor_class.__module__}.{self.actor_class.__qualname__}",
            "version": version_of(self.actor_class),
            "messages": {
                message_name(kind) or "": str(answer) for kind, answer in self.messages.items()
            },
            "exposed": list(self.exposed),
        }


def contract_of(actor_class: type, address: str = "") -> Contract | None:
    """Return what a class of actors offers; None where it has no address and no topic.

    `address`: that of an actor, where a constructor has said it.
    """
    address = address or getattr(actor_class, "address", "")
    subscribed = getattr(actor_class, "subscribes", ())
    address = address if isinstance(address, str) else ""
    if not isinstance(subscribed, list | tuple):
        subscribed = (subscribed,)
    topics = tuple(
        TopicContract(each.topic, each.is_durable, each.channel)
        for each in subscribed
        if hasattr(each, "is_durable")  # a property of an instance is no list
    )
    if not address and not topics:
        return None
    shards = getattr(actor_class, "shards", 0)
    return Contract(
        actor_class=actor_class,
        address=address,
        messages=dict(sorted(_messages(actor_class), key=lambda each: message_name(each[0]) or "")),
        topics=topics,
        exposed=tuple(sorted(exposed_methods(actor_class))),
        shards=shards if isinstance(shards, int) else 0,
    )


def is_ours(kind: type) -> bool:
    """Whether a type belongs to the runtime, whose own protocol is versioned elsewhere."""
    return kind.__module__.partition(".")[0] in {"actors", "supervisors", "irismq_runtime"}


def version_of(kind: type) -> str:
    """Return the `__version__` of the package that a class is in, or ""."""
    package = sys.modules.get(kind.__module__.partition(".")[0])
    version = getattr(package, "__version__", "")
    return version if isinstance(version, str) else ""


def _messages(actor_class: type) -> Iterator[tuple[type, AnswerType]]:
    for kind, handler in marked_handlers(actor_class).items():
        if message_name(kind) is not None and not is_ours(kind):
            yield kind, _answer(kind, handler)


def _answer(kind: type, handler: MarkedHandler) -> AnswerType:
    """The answer of the class of the message, or else the one of the handler's hints."""
    found = _of_request(kind)
    if found is _UNKNOWN:
        found = _returned(handler)
    if found is _UNKNOWN or found is Any:
        return AnswerType("unknown")
    if found is None or found is types.NoneType:
        return AnswerType("nothing")
    if typing.get_origin(found) in _STREAMS:
        return AnswerType("stream", (*typing.get_args(found), Any)[0])
    return AnswerType("value", found)


def _of_request(kind: type) -> Any:
    for owner in kind.__mro__:
        for base in vars(owner).get("__orig_bases__", ()):
            if typing.get_origin(base) is Request:
                return _resolved(typing.get_args(base)[0], vars(sys.modules[owner.__module__]))
    return _UNKNOWN


def _returned(handler: MarkedHandler) -> Any:
    hint = getattr(handler.function, "__annotations__", {}).get("return", _UNKNOWN)
    if hint is _UNKNOWN or handler.in_batches:
        return _UNKNOWN  # a batch returns the answers of many
    return _resolved(hint, getattr(handler.function, "__globals__", {}))


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """The type that a hint means; unknown where a name in it is for the type checker alone."""
    holder: Any = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["hint"]
    except Exception:  # hints are the user's, and evaluate to anything
        return _UNKNOWN
