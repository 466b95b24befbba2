"""What an actor class listens to, besides its address.

    class Board(Actor):
        subscribes = (live("flights.late"), durable("orders.placed", channel="board"))

Events arrive as messages, handled as any other; `self.context.kind` is "event".
A durable topic keeps a copy for each channel; members that name the same channel
share its events, each of which goes to one of them. A live one reaches whoever
listens now.
"""

from __future__ import annotations

from dataclasses import dataclass

from irismq_runtime.errors import ConfigError

__all__ = ["Subscription", "durable", "live", "subscriptions_of"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic listened to. Make it with `live` or `durable`."""

    topic: str
    is_durable: bool
    channel: str = ""


def live(topic: str) -> Subscription:
    """Listen to the live topic `topic`: best effort, from now on."""
    return Subscription(topic, is_durable=False)


def durable(topic: str, *, channel: str = "") -> Subscription:
    """Consume the durable topic `topic` through `channel`, at least once each.

    `channel` names those who share the events; by default the actor's address,
    or else the name of its class.
    """
    return Subscription(topic, is_durable=True, channel=channel)


def subscriptions_of(actor_class: type) -> tuple[Subscription, ...]:
    """Return what the class subscribes to. Raises `ConfigError`."""
    listed = getattr(actor_class, "subscribes", ())
    if isinstance(listed, Subscription):
        return (listed,)
    if not isinstance(listed, list | tuple) or not all(
        isinstance(entry, Subscription) for entry in listed
    ):
        raise ConfigError(
            f"{actor_class.__name__}.subscribes",
            f"{listed!r} is no list of subscriptions",
            'write subscribes = (live("topic"), durable("topic", channel="name"))',
        )
    return tuple(listed)
