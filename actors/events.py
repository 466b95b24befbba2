"""Events for observers: names with fields, given to whoever subscribed.

An emitter on a hot path asks `events.active` first, so that nothing is built
when nobody listens. A subscriber is called in the emitter's thread and must be
quick. One that raises is logged once and removed: watching must not break what
is watched.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from actors.texts import exc_info_of, repr_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Event", "Events", "Subscriber"]

logger = logging.getLogger("actors")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `time` is on the monotonic clock."""

    name: str
    time: float
    fields: Mapping[str, Any]


Subscriber: TypeAlias = "Callable[[Event], None]"


class Events:
    """A list of subscribers. Safe to use from any thread."""

    __slots__ = ("_lock", "_now", "_subscribers", "active")

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()
        #: True while there is a subscriber.
        self.active = False

    def emit(self, name: str, /, **fields: Any) -> None:
        """Give an event to every subscriber, in the order they came. Any thread.

        Args:
            name: The name of the event.
            fields: What it says, by name.
        """
        if not self.active:
            return
        event = Event(name, self._now(), fields)
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except BaseException as error:
                # Whatever it was: an emitter is in the middle of a turn, a start or an end,
                # and a watcher's SystemExit must not be the end of what it watches.
                self._remove(subscriber)
                logger.exception(
                    "A subscriber of events failed on %r and was removed: %s",
                    name,
                    repr_of(subscriber),
                    exc_info=exc_info_of(error),
                )

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` with every event from now on, in the thread that emits it.

        Args:
            callback: It must be quick. When it raises, that is logged once and it is removed.

        Returns:
            A function without arguments that ends the subscription.
        """
        with self._lock:
            self._subscribers = (*self._subscribers, callback)
            self.active = True
        return lambda: self._remove(callback)

    def _remove(self, callback: Subscriber) -> None:
        with self._lock:
            # By identity: what a user's object says it is equal to is not asked.
            rest = tuple(each for each in self._subscribers if each is not callback)
            self._subscribers = rest
            self.active = bool(rest)
