"""Subscriptions: the topics that an actor class listens to, besides its address.

    class Board(Actor):
        subscribes = (live("flights.late"), durable("orders.placed", channel="board"))

Events arrive as messages, handled as any other; `self.context.kind` is "event".
A durable topic keeps a copy for each channel; members that name the same channel
share its events, each of which goes to one of them. A live one reaches whoever
listens now.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from actors.class_options import known_option
from actors.rules import TEXT, Rule, shown
from irismq_runtime.errors import ConfigError
from irismq_runtime.namespace import ADDRESS

__all__ = ["Subscription", "check_published", "durable", "live", "subscriptions_of"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic listened to. Make it with `live` or `durable`.

    Attributes:
        topic: The name of the topic.
        is_durable: Whether the broker keeps events for the channel.
        channel: Who shares the events of a durable topic; "" for the default.

    Raises:
        ConfigError: The topic has no name, or one that looks like a pattern.
    """

    topic: str
    is_durable: bool
    channel: str = ""

    def __post_init__(self) -> None:
        if found := _problem(self.topic, "subscribe"):
            raise ConfigError("topic", *found)
        if complaint := TEXT.complaint(self.channel):
            raise ConfigError("channel", complaint, "give a name, or leave it out")


#: Parts of a topic that mean more than themselves elsewhere (AMQP, MQTT, NATS).
_WILDCARDS: Final = frozenset({"#", "+", ">"})


def _problem(topic: Any, verb: str) -> tuple[str, str] | None:
    """What is wrong with a topic, and what to do; None when it will do."""
    if complaint := ADDRESS.complaint(topic):
        return complaint, 'give a name, e.g. "flights.late"'
    if any(part in _WILDCARDS or "*" in part for part in topic.split(".")):
        problem = f"{shown(topic)} looks like a pattern, and topics are known by name alone"
        return problem, f"{verb} to each topic by its name"
    return None


@lru_cache(maxsize=4096)
def check_published(topic: Any) -> None:
    """Raise `ValueError` for what nobody could subscribe to; looked at once, as it is hot."""
    if found := _problem(topic, "publish"):
        raise ValueError(f"topic: {'; '.join(found)}")


def live(topic: str) -> Subscription:
    """Listen to a live topic: best effort, what is published while the actor lives.

    Args:
        topic: The name of the topic.

    Raises:
        ConfigError: As `Subscription`.
    """
    return Subscription(topic, is_durable=False)


def durable(topic: str, *, channel: str = "") -> Subscription:
    """Consume a durable topic, each event at least once.

    Args:
        topic: The name of the topic.
        channel: The name of those who share the events, each of which goes to one of them;
            by default the actor's address, or else the name of its class.

    Raises:
        ConfigError: As `Subscription`.
    """
    return Subscription(topic, is_durable=True, channel=channel)


def subscriptions_of(actor: object) -> tuple[Subscription, ...]:
    """Return what the actor, or its class, subscribes to. Raises `ConfigError`."""
    listed = getattr(actor, "subscribes", ())
    if isinstance(listed, Subscription):
        return (listed,)
    if not _are_subscriptions(listed):
        raise ConfigError(
            f"{type(actor).__name__}.subscribes",
            f"{shown(listed)} is not a list of subscriptions",
            'write subscribes = (live("topic"), durable("topic", channel="name"))',
        )
    return tuple(listed)


def _are_subscriptions(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(entry, Subscription) for entry in value
    )


def _looks_like_subscribing(value: Any) -> bool:
    return isinstance(value, Subscription) or (bool(value) and _are_subscriptions(value))


known_option("subscribes", Rule("subscriptions", _looks_like_subscribing), alike=0.7)
