"""The topics of one connection: listeners here, subscriptions at the relay.

subscriptions.py decides what goes on the wire and when; this file carries it
out and hands events to listeners. A listener is called on the loop and must
return quickly. All of them come back by themselves after a reconnect.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actors.texts import exc_info_of
from irismq_runtime.errors import NotConnected
from irismq_runtime.protocols.iris.packets import Subscribe, Unsubscribe
from irismq_runtime.pyiris.subscriptions import (
    Ready,
    SendSubscribe,
    SendUnsubscribe,
    StartTimer,
    Subscriptions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.protocols.iris.packets import Publish
    from irismq_runtime.pyiris.current_connection import CurrentConnection
    from irismq_runtime.pyiris.subscriptions import Action

__all__ = ["Listener", "Topics"]

logger = logging.getLogger(__name__)


class Listener:
    """One listener of one topic (`ports.Handle`). Loop thread only."""

    __slots__ = ("_topics", "on_event", "topic")

    def __init__(self, topics: Topics, topic: str, on_event: Callable[[bytes], None]) -> None:
        self._topics: Topics | None = topics
        self.topic = topic
        self.on_event = on_event

    async def close(self) -> None:
        """Hear no more, from now on. Idempotent."""
        if self._topics is not None:
            self._topics.remove(self)
            self._topics = None


class Topics:
    """Listeners by topic, and the timers that the subscriptions ask for."""

    def __init__(
        self, current: CurrentConnection, clock: Clock, subscriptions: Subscriptions
    ) -> None:
        #: Events of topics to which nobody listens any more.
        self.unheard = 0
        self._current = current
        self._clock = clock
        self._subscriptions = subscriptions
        self._listeners: dict[str, list[Listener]] = {}
        self._ready: dict[str, list[asyncio.Future[None]]] = {}
        self._timers: dict[str, TimerHandle] = {}

    def __len__(self) -> int:
        """Topics that have a listener or are not yet unsubscribed."""
        return len(self._subscriptions)

    async def listen(
        self, topic: str, on_event: Callable[[bytes], None], timeout: float
    ) -> Listener:
        """Call `on_event` with each event; returns when events are sure to arrive.

        Raises `NotConnected`, and listens no more, when that takes more than
        `timeout` seconds: the relay is gone.
        """
        listener = Listener(self, topic, on_event)
        self._listeners.setdefault(topic, []).append(listener)
        ready = asyncio.get_running_loop().create_future()
        self._ready.setdefault(topic, []).append(ready)
        late = self._clock.call_later(timeout, self._too_late, ready)
        try:
            self._carry_out(self._subscriptions.listen(topic))
            await ready
        except BaseException:
            await listener.close()
            raise
        finally:
            late.cancel()
        return listener

    def remove(self, listener: Listener) -> None:
        """Take one listener away."""
        topic = listener.topic
        listeners = self._listeners[topic]
        listeners.remove(listener)
        if not listeners:
            del self._listeners[topic]
            self._ready.pop(topic, None)
        self._carry_out(self._subscriptions.leave(topic))

    def on_event(self, event: Publish) -> None:
        """An event has come: every listener of its topic gets it."""
        listeners = self._listeners.get(event.topic)
        if listeners is None:
            self.unheard += 1
            return
        for listener in tuple(listeners):
            try:
                listener.on_event(event.body)
            except BaseException as error:  # the user's: the others get the event all the same
                seen = exc_info_of(error)
                logger.exception("a listener of the topic %r failed", event.topic, exc_info=seen)

    def connected(self) -> None:
        """A new connection stands: subscribe to everything again."""
        self._carry_out(self._subscriptions.connected())

    def disconnected(self) -> None:
        """The connection is gone; listeners stay."""
        self._stop_timers()
        self._subscriptions.disconnected()

    def close(self) -> None:
        """The connection ends: nothing more is heard, and nobody waits any longer."""
        self._stop_timers()
        for waiting in self._ready.values():
            for ready in waiting:
                self._too_late(ready)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case SendSubscribe(topic):
                    self._current.send_if_up(Subscribe(topic))
                case SendUnsubscribe(topic):
                    self._current.send_if_up(Unsubscribe(topic))
                case StartTimer(topic, delay, step):
                    self._start_timer(topic, delay, step)
                case Ready(topic):
                    for ready in self._ready.pop(topic, ()):
                        if not ready.done():
                            ready.set_result(None)

    def _start_timer(self, topic: str, delay: float, step: int) -> None:
        old = self._timers.pop(topic, None)
        if old is not None:
            old.cancel()
        self._timers[topic] = self._clock.call_later(delay, self._fire, topic, step)

    def _fire(self, topic: str, step: int) -> None:
        self._timers.pop(topic, None)
        self._carry_out(self._subscriptions.timer(topic, step))

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _too_late(self, ready: asyncio.Future[None]) -> None:
        if not ready.done():
            ready.set_exception(NotConnected(self._current.peer, self._current.reason))
