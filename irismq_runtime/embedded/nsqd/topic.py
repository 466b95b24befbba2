"""A topic: copies each message to every channel, or keeps it until there is one.

A topic without a channel, or a paused one, holds what is published. The first
channel gets the backlog; a channel made later gets only what comes after. The
rows in the store follow: a message has one row for each place that holds it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from irismq_runtime.protocols.nsq.names import EPHEMERAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irismq_runtime.embedded.nsqd.channel import Channel
    from irismq_runtime.embedded.nsqd.journal import Journal
    from irismq_runtime.embedded.nsqd.messages import BrokerMessage

    #: Copies messages for one more channel, in the store too.
    Copier = Callable[[Sequence[BrokerMessage], Channel], Sequence[BrokerMessage]]

__all__ = ["Topic"]


class Topic:
    """One topic. Loop thread only."""

    def __init__(
        self, name: str, place: int, *, journal: Journal, copy: Copier, limit: int
    ) -> None:
        self.name = name
        self.place = place
        self.ephemeral = name.endswith(EPHEMERAL)
        self.paused = False
        self.channels: dict[str, Channel] = {}
        self.backlog: deque[BrokerMessage] = deque()
        self.message_count = 0
        self.message_bytes = 0
        self.dropped_count = 0
        self._journal = journal
        self._copy = copy
        self._limit = limit if self.ephemeral else 0

    @property
    def depth(self) -> int:
        """Messages that no channel has got yet."""
        return len(self.backlog)

    def held(self) -> Iterator[BrokerMessage]:
        """What no channel has got yet, for inspection."""
        return iter(self.backlog)

    @property
    def holding(self) -> bool:
        """Whether what is published now stays in the backlog."""
        return self.paused or not self.channels

    def put(self, copies: Sequence[tuple[int, Sequence[BrokerMessage]]]) -> None:
        """Take published messages, as (place, its copies); they are safe already.

        The places are those that existed when the publish began. One that has
        gone meanwhile loses its copies; what was meant for the backlog goes on
        to the channels if they exist now.
        """
        first = copies[0][1]
        self.message_count += len(first)
        self.message_bytes += sum(len(message.body) for message in first)
        by_place = {channel.place: channel for channel in self.channels.values()}
        for place, messages in copies:
            if place == self.place:
                self.backlog.extend(messages)
                self._shed()
            elif place in by_place:
                by_place[place].put(messages)
            else:
                for message in messages:
                    self._journal.forget(message.row)
        self.release()

    def _shed(self) -> None:
        while self._limit and len(self.backlog) > self._limit:
            self._journal.forget(self.backlog.pop().row)
            self.dropped_count += 1

    def release(self) -> None:
        """Hand the backlog to the channels, unless the topic holds."""
        if self.holding or not self.backlog:
            return
        messages = list(self.backlog)
        self.backlog.clear()
        first, *others = self.channels.values()
        for channel in others:
            channel.put(self._copy(messages, channel))
        if self._journal.durable and not self.ephemeral and not first.ephemeral:
            self._journal.move([message.row for message in messages], first.place)
        first.put(messages)

    def empty(self) -> None:
        """Throw away the backlog (not what channels hold), as nsqd does."""
        for message in self.backlog:
            self._journal.forget(message.row)
        self.backlog.clear()
