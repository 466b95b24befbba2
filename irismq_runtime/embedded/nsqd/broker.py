"""The broker without its sockets: topics, channels, publishing, administration.

Everything is decided here, on the loop, with the clock, the randomness and the
journal it was given. With a store a message is delivered, and its publish
confirmed, only after its commit; without one both happen at once.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from irismq_runtime.embedded.nsqd.channel import Channel
from irismq_runtime.embedded.nsqd.journal import JournalRecord
from irismq_runtime.embedded.nsqd.messages import BrokerMessage, IdSource
from irismq_runtime.embedded.nsqd.topic import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from actors.clock import Clock
    from irismq_runtime.embedded.nsqd.journal import Journal
    from irismq_runtime.embedded.nsqd.options import NsqdOptions
    from irismq_runtime.embedded.nsqd.store import Store
    from irismq_runtime.embedded.nsqd.subscriber import Subscriber

    Done = Callable[[Exception | None], None]

__all__ = ["Broker", "TooManyConsumers", "TopicGone"]


class TopicGone(Exception):
    """The topic was deleted while a publish to it was being made safe."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(f"topic {topic} was deleted meanwhile")


class TooManyConsumers(Exception):
    """A channel has as many subscribers as `max_channel_consumers` allows."""

    def __init__(self, topic: str, channel: str, limit: int) -> None:
        super().__init__(f"consumers for {topic}:{channel} exceeds limit of {limit}")


class Broker:
    """All topics of one server. Loop thread only, nothing here blocks."""

    def __init__(
        self, *, clock: Clock, rng: Random, journal: Journal, options: NsqdOptions
    ) -> None:
        self.topics: dict[str, Topic] = {}
        self.journal = journal
        self._clock = clock
        self._rng = rng
        self._options = options
        self._ids = IdSource(clock.time())
        # Not 1, which SQLite stores shorter: a move to another place then keeps the
        # length of a row, and does not write its body again.
        self._places = count(2)
        self._rows = count(1)
        self._restored: list[tuple[Topic | tuple[Topic, Channel] | None, BrokerMessage]] = []

    def recover(self, store: Store) -> None:
        """Take over what a store holds, before anybody is connected.

        Blocking: call it in a thread. All channels exist before any message is
        in its place; a message of a place that is gone is forgotten.
        """
        places: dict[int, Topic | tuple[Topic, Channel]] = {}
        for stored in store.places():
            if not stored.channel:
                topic = self.restore_topic(stored.topic, stored.place)
                topic.paused = bool(stored.paused)
                places[stored.place] = topic
            elif stored.topic in self.topics:
                topic = self.topics[stored.topic]
                channel = self.restore_channel(topic, stored.channel, stored.place)
                channel.paused = bool(stored.paused)
                places[stored.place] = (topic, channel)
        wall, now = self._clock.time(), self._clock.monotonic()
        for row in store.rows():
            message = BrokerMessage(row.id, row.timestamp, row.body, row=row.row)
            message.attempts = row.attempts
            message.due = max(0.0, now + row.due / 1e9 - wall) if row.due else 0.0
            self._restored.append((places.get(row.place), message))
        self._ids = IdSource(wall)
        self._ids = IdSource(wall, above=store.reserve_ids(self._ids.next_id))
        self._places = count(max(store.last_place(), 1) + 1)
        self._rows = count(store.last_row() + 1)

    def place_restored(self) -> None:
        """Put what `recover` read into its places. On the loop: it orders timers."""
        restored, self._restored = self._restored, []
        for place, message in restored:
            if place is None:
                self.journal.forget(message.row)
            elif isinstance(place, Topic):
                place.backlog.append(message)
                place.message_count += 1
            else:
                topic, channel = place
                topic.message_count += 1
                channel.restore(message)
        for topic in self.topics.values():
            topic.release()

    # -- topics and channels ------------------------------------------------

    def topic(self, name: str) -> Topic:
        """The topic of this (valid) name, made if there is none."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.restore_topic(name, next(self._places))
            if not topic.ephemeral:
                self.journal.define(topic.place, name, "", paused=False)
        return topic

    def channel(self, topic_name: str, name: str) -> Channel:
        """The channel of this (valid) name, made if there is none.

        The first channel of a topic gets the topic's backlog.
        """
        topic = self.topic(topic_name)
        channel = topic.channels.get(name)
        if channel is None:
            channel = self.restore_channel(topic, name, next(self._places))
            if not (topic.ephemeral or channel.ephemeral):
                self.journal.define(channel.place, topic_name, name, paused=False)
            topic.release()
        return channel

    def restore_topic(self, name: str, place: int) -> Topic:
        """Make a topic that the store knows already."""
        topic = Topic(
            name,
            place,
            journal=self.journal,
            copy=self._copy,
            limit=self._options.mem_queue_size,
        )
        self.topics[name] = topic
        return topic

    def restore_channel(self, topic: Topic, name: str, place: int) -> Channel:
        """Make a channel that the store knows already."""
        channel = Channel(
            name,
            place,
            clock=self._clock,
            rng=self._rng,
            journal=self.journal,
            mem_queue_size=self._options.mem_queue_size,
        )
        topic.channels[name] = channel
        return channel

    def delete_topic(self, name: str) -> bool:
        """Delete a topic with its channels; their subscribers are closed."""
        topic = self.topics.pop(name, None)
        if topic is None:
            return False
        for channel in topic.channels.values():
            self._end(channel)
        topic.channels.clear()
        topic.backlog.clear()
        if not topic.ephemeral:
            self.journal.remove(topic.place)
        return True

    def delete_channel(self, topic: Topic, name: str) -> bool:
        """Delete a channel; its subscribers are closed."""
        channel = topic.channels.pop(name, None)
        if channel is None:
            return False
        self._end(channel)
        if topic.ephemeral and not topic.channels and self.topics.get(topic.name) is topic:
            self.delete_topic(topic.name)
        return True

    def _end(self, channel: Channel) -> None:
        subscribers = list(channel.subscribers.values())
        channel.empty()
        channel.close()
        channel.subscribers.clear()
        if not channel.ephemeral:
            self.journal.remove(channel.place)
        for subscriber in subscribers:
            subscriber.session.close()

    def pause_topic(self, topic: Topic, *, paused: bool) -> None:
        """Hold what is published, or hand it on again."""
        topic.paused = paused
        if not topic.ephemeral:
            self.journal.define(topic.place, topic.name, "", paused=paused)
        topic.release()

    def pause_channel(self, topic: Topic, channel: Channel, *, paused: bool) -> None:
        """Stop delivering, or go on."""
        if not (topic.ephemeral or channel.ephemeral):
            self.journal.define(channel.place, topic.name, channel.name, paused=paused)
        channel.set_paused(paused=paused)

    # -- subscribers ----------------------------------------------------------

    def subscribe(self, topic_name: str, channel_name: str, subscriber: Subscriber) -> Channel:
        """Add a subscriber. Raises `TooManyConsumers`."""
        channel = self.channel(topic_name, channel_name)
        limit = self._options.max_channel_consumers
        if limit and len(channel.subscribers) >= limit:
            raise TooManyConsumers(topic_name, channel_name, limit)
        channel.add(subscriber)
        return channel

    def unsubscribe(self, topic_name: str, channel: Channel, subscriber: Subscriber) -> None:
        """A subscriber has gone. The last one of an ephemeral channel takes it along."""
        channel.leave(subscriber)
        topic = self.topics.get(topic_name)
        if (
            channel.ephemeral
            and not channel.subscribers
            and topic is not None
            and topic.channels.get(channel.name) is channel
        ):
            self.delete_channel(topic, channel.name)

    # -- publishing -----------------------------------------------------------

    def publish(self, topic_name: str, bodies: Sequence[bytes], delay: float, done: Done) -> None:
        """Take messages; `done(None)` once they are safe, `done(error)` if refused."""
        topic = self.topics.get(topic_name) or self.topic(topic_name)
        timestamp = int(self._clock.time() * 1e9)
        due = self._clock.monotonic() + delay if delay > 0 else 0.0
        ids = self._ids.take(len(bodies))
        if not self.journal.durable or topic.ephemeral:
            done(None)
            self._publish_now(topic, list(zip(ids, bodies, strict=True)), timestamp, due)
            return
        self._publish_stored(topic, list(zip(ids, bodies, strict=True)), timestamp, due, done)

    def _publish_now(
        self,
        topic: Topic,
        messages: Sequence[tuple[bytes, bytes]],
        timestamp: int,
        due: float,
    ) -> None:
        targets: list[tuple[int, list[BrokerMessage]]] = []
        for place in self._targets(topic):
            copies = [
                BrokerMessage(message_id, timestamp, body, due) for message_id, body in messages
            ]
            targets.append((place, copies))
        topic.put(targets)

    @staticmethod
    def _targets(topic: Topic) -> list[int]:
        if topic.holding:
            return [topic.place]
        return [channel.place for channel in topic.channels.values()]

    def _publish_stored(
        self,
        topic: Topic,
        messages: Sequence[tuple[bytes, bytes]],
        timestamp: int,
        due: float,
        done: Done,
    ) -> None:
        unstored = {c.place for c in topic.channels.values() if c.ephemeral}
        wall_due = self._wall_ns(due)
        records: list[JournalRecord] = []
        targets: list[tuple[int, list[BrokerMessage]]] = []
        for place in self._targets(topic):
            copies: list[BrokerMessage] = []
            stored = place not in unstored
            for message_id, body in messages:
                row = next(self._rows) if stored else 0
                copies.append(BrokerMessage(message_id, timestamp, body, due, row))
                if stored:
                    records.append(JournalRecord(row, place, message_id, timestamp, wall_due, body))
            targets.append((place, copies))

        def committed(error: Exception | None) -> None:
            if error is None and self.topics.get(topic.name) is not topic:
                for record in records:
                    self.journal.forget(record.row)
                error = TopicGone(topic.name)
            done(error)
            if error is None:
                topic.put(targets)

        if records:
            self.journal.append(records, committed)
        else:
            committed(None)

    def _copy(self, messages: Sequence[BrokerMessage], channel: Channel) -> Sequence[BrokerMessage]:
        """Copies for one more channel, stored in the commit that moves the originals."""
        stored = self.journal.durable and not channel.ephemeral
        copies = [message.copy(next(self._rows) if stored else 0) for message in messages]
        if stored:
            self.journal.copy(
                [
                    JournalRecord(
                        m.row, channel.place, m.id, m.timestamp, self._wall_ns(m.due), m.body
                    )
                    for m in copies
                ]
            )
        return copies

    def _wall_ns(self, due: float) -> int:
        if not due:
            return 0
        return int((self._clock.time() + due - self._clock.monotonic()) * 1e9)

    def close(self) -> None:
        """Stop every timer."""
        for topic in self.topics.values():
            for channel in topic.channels.values():
                channel.close()
