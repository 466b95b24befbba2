"""What to tell the relay about topics, and when: counted, serialised, settled.

The relay drops a connection that subscribes twice or unsubscribes from what it
does not know, handles the packets of one connection in no order, acknowledges
neither, and may lose an event that comes right after a subscribe. So, for each
topic of a connection:

* the first listener subscribes, the last one to leave unsubscribes, and the
  packets in between never reach the wire;
* an unsubscribe waits for `linger` seconds, in which a new listener costs nothing;
* after either packet the topic is left alone until it has settled: nobody is
  told "ready" before, and no second packet follows before.

The decision only: `Subscriptions` takes what happened and returns what to do.
Timers carry the number of the step they belong to, so a stale one does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

__all__ = [
    "Action",
    "Ready",
    "SendSubscribe",
    "SendUnsubscribe",
    "StartTimer",
    "SubscriptionState",
    "Subscriptions",
]


class SubscriptionState(Enum):
    """Where one topic stands on the wire."""

    OFF = "off"
    JOINING = "joining"
    ON = "on"
    LINGERING = "lingering"
    LEAVING = "leaving"


class SendSubscribe(NamedTuple):
    """Send a subscribe packet now."""

    topic: str


class SendUnsubscribe(NamedTuple):
    """Send an unsubscribe packet now."""

    topic: str


class StartTimer(NamedTuple):
    """Call `timer(topic, step)` after `delay` seconds."""

    topic: str
    delay: float
    step: int


class Ready(NamedTuple):
    """Events of the topic are sure to arrive from now on."""

    topic: str


Action: TypeAlias = SendSubscribe | SendUnsubscribe | StartTimer | Ready


@dataclass(slots=True)
class _TopicState:
    listeners: int = 0
    step: SubscriptionState = SubscriptionState.OFF
    number: int = 0


@dataclass(slots=True)
class Subscriptions:
    """The topics of one connection. `linger` and `settle` are seconds."""

    linger: float = 1.0
    settle: float = 0.05
    up: bool = False
    _topics: dict[str, _TopicState] = field(default_factory=dict)
    _steps: int = 0

    def listen(self, topic: str) -> list[Action]:
        """One more listener of `topic`."""
        state = self._topics.setdefault(topic, _TopicState())
        state.listeners += 1
        if state.step is SubscriptionState.LINGERING:
            self._enter(state, SubscriptionState.ON)
        if state.step is SubscriptionState.OFF and self.up:
            return self._subscribe(topic, state)
        return [Ready(topic)] if state.step is SubscriptionState.ON else []

    def leave(self, topic: str) -> list[Action]:
        """One listener less of `topic`."""
        state = self._topics[topic]
        state.listeners -= 1
        if state.listeners:
            return []
        if state.step is SubscriptionState.ON:
            return self._wait(topic, state, SubscriptionState.LINGERING, self.linger)
        if state.step is SubscriptionState.OFF:
            del self._topics[topic]
        return []

    def timer(self, topic: str, step: int) -> list[Action]:
        """A timer that `StartTimer` asked for has come due."""
        state = self._topics.get(topic)
        if state is None or state.number != step:
            return []
        if state.step is SubscriptionState.JOINING:
            return self._joined(topic, state)
        if state.step is SubscriptionState.LINGERING:
            return [
                SendUnsubscribe(topic),
                *self._wait(topic, state, SubscriptionState.LEAVING, self.settle),
            ]
        if state.listeners:  # LEAVING, and somebody came back meanwhile
            return self._subscribe(topic, state)
        del self._topics[topic]
        return []

    def connected(self) -> list[Action]:
        """A new connection stands, on which the relay knows no topic of ours."""
        self.up = True
        return [
            action
            for name, state in self._topics.items()
            for action in self._subscribe(name, state)
        ]

    def disconnected(self) -> None:
        """The connection is gone, and every subscription with it."""
        self.up = False
        for name, state in list(self._topics.items()):
            self._enter(state, SubscriptionState.OFF)
            if not state.listeners:
                del self._topics[name]

    def step(self, topic: str) -> SubscriptionState:
        """Where `topic` stands."""
        state = self._topics.get(topic)
        return SubscriptionState.OFF if state is None else state.step

    def __len__(self) -> int:
        return len(self._topics)

    def _enter(self, state: _TopicState, step: SubscriptionState) -> None:
        self._steps += 1
        state.step = step
        state.number = self._steps

    def _wait(
        self, topic: str, state: _TopicState, step: SubscriptionState, delay: float
    ) -> list[Action]:
        self._enter(state, step)
        return [StartTimer(topic, delay, state.number)]

    def _subscribe(self, topic: str, state: _TopicState) -> list[Action]:
        return [
            SendSubscribe(topic),
            *self._wait(topic, state, SubscriptionState.JOINING, self.settle),
        ]

    def _joined(self, topic: str, state: _TopicState) -> list[Action]:
        self._enter(state, SubscriptionState.ON)
        if state.listeners:
            return [Ready(topic)]
        return self._wait(topic, state, SubscriptionState.LINGERING, self.linger)
