"""Statistics of the topics of an address, asked from the brokers over HTTP.

Asking makes nothing at the broker, unlike a subscription, which would make topic and
channel. So a command that looks at an address asks here first whether it is known, and
which brokers have letters of it. The answers are checked field by field; what cannot be
read is an error, and never "nothing".
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.cli.doctor.directory import pairs_untrusted
from irismq_runtime.cli.http import get_json
from irismq_runtime.config import DEFAULT_LOOKUPD_HTTP_PORT, parse_endpoints
from irismq_runtime.dead_letters.reader import LetterCount
from irismq_runtime.errors import DecodeError, NotConnected
from irismq_runtime.messaging import DEAD_CHANNEL, dead_topic, mailbox_topic
from irismq_runtime.observer.reports import broker_stats_untrusted

if TYPE_CHECKING:
    from irismq_runtime.cli.brokers import Brokers
    from irismq_runtime.config import Endpoint
    from irismq_runtime.namespace import Namespace
    from irismq_runtime.observer.reports import TopicStats

__all__ = ["DeadLetterStats", "broker_pairs", "dead_letter_stats", "letters_at", "topic_at"]

#: How the topic of the dead letters of an address ends.
_DEAD: Final = dead_topic("")


@dataclass(frozen=True, slots=True)
class DeadLetterStats:
    """The dead letters of an address.

    `known`: whether any broker has its mailbox or its letters. `holding`: the brokers
    that have letters for us, "host:port" of TCP. `elsewhere`: channels that got letters
    where there is none for us.
    """

    known: bool
    holding: tuple[str, ...]
    held: LetterCount
    elsewhere: frozenset[str]


async def broker_pairs(brokers: Brokers) -> list[tuple[Endpoint, Endpoint]]:
    """Return where each broker answers NSQ's protocol, and where HTTP; of directories too.

    Raises `ConfigError`, and `NotConnected` when a directory does not say.
    """
    pairs = list(brokers.pairs)
    directories = parse_endpoints(
        brokers.lookupd, option="lookupd", default_port=DEFAULT_LOOKUPD_HTTP_PORT
    )
    for directory in directories:
        listing = await get_json(str(directory), "/nodes", tls=brokers.tls_context())
        pairs += pairs_untrusted(listing)
    return list(dict.fromkeys(pairs))


async def dead_letter_stats(brokers: Brokers, address: str) -> DeadLetterStats | None:
    """Ask all brokers for the letters of `address`.

    None when HTTP is not where it usually is, and nobody said where. Raises
    `NotConnected` where it was said, and `ConfigError`.
    """
    try:
        pairs = await broker_pairs(brokers)
        looks = await asyncio.gather(*(_look(brokers, at, address) for _, at in pairs))
    except NotConnected:
        if brokers.nsqd_http or brokers.lookupd:
            raise
        return None
    holding = tuple(
        str(broker)
        for (broker, _), (_, letters) in zip(pairs, looks, strict=True)
        if letters is not None and _held(letters).total
    )
    found = [letters for _, letters in looks if letters is not None]
    counts = [_held(letters) for letters in found]
    others = {
        channel.channel_name
        for letters in found
        for channel in letters.channels
        if not _has_ours(letters)
    }
    return DeadLetterStats(
        known=any(mailbox or letters for mailbox, letters in looks),
        holding=holding,
        held=LetterCount(sum(one.total for one in counts), sum(one.away for one in counts)),
        elsewhere=frozenset(others),
    )


async def _look(
    brokers: Brokers, at: Endpoint, address: str
) -> tuple[TopicStats | None, TopicStats | None]:
    """The topics of the mailbox and of the letters at one broker."""
    names, tls = brokers.names, brokers.tls_context()
    mailbox, letters = await asyncio.gather(
        topic_at(at, mailbox_topic(address), names=names, tls=tls),
        topic_at(at, dead_topic(address), names=names, tls=tls),
    )
    return mailbox, letters


async def topic_at(
    at: Endpoint, topic: str, *, names: Namespace, tls: Any = None
) -> TopicStats | None:
    """Return what the broker that answers HTTP `at` has of a topic; None for nothing.

    Raises `NotConnected` when it does not answer, or says something else.
    """
    topic = names.topic(topic)
    stats = await _stats_at(at, tls, topic=topic)
    return next((one for one in stats if one.topic_name == topic), None)


async def letters_at(brokers: Brokers) -> list[tuple[str, Endpoint, LetterCount]]:
    """Return which addresses have dead letters, at which broker and how many; asks for no letter.

    Raises as `broker_pairs`, and `NotConnected` when a broker does not answer.
    """
    pairs = await broker_pairs(brokers)
    tls = brokers.tls_context()
    looks = await asyncio.gather(*(_stats_at(at, tls) for _, at in pairs))
    found = [
        (name.removesuffix(_DEAD), broker, _held(topic))
        for (broker, _), topics in zip(pairs, looks, strict=True)
        for topic in topics
        if (name := brokers.names.inside(topic.topic_name) or "").endswith(_DEAD)
    ]
    return sorted((each for each in found if each[2].total), key=lambda each: each[0])


async def _stats_at(at: Endpoint, tls: Any, **query: Any) -> tuple[TopicStats, ...]:
    """The topics of a broker."""
    said = await get_json(str(at), "/stats", tls=tls, include_mem="false", **query)
    if isinstance(said, dict) and isinstance(said.get("topics"), list):
        said = {**said, "topics": [_with_lists(one) for one in said["topics"]]}
    elif isinstance(said, dict) and said.get("topics", ()) is None:
        said = {**said, "topics": []}
    try:
        stats = broker_stats_untrusted(said)
    except DecodeError as error:
        raise NotConnected(f"nsqd HTTP {at}", error.reason, remedy="see --nsqd-http") from error
    return tuple(stats.topics)


def _with_lists(topic: Any) -> Any:
    """A topic as nsqd tells it, whose channels may be null."""
    if isinstance(topic, dict) and topic.get("channels", ()) is None:
        return {**topic, "channels": []}
    return topic


def _has_ours(letters: TopicStats) -> bool:
    return any(channel.channel_name == DEAD_CHANNEL for channel in letters.channels)


def _held(letters: TopicStats) -> LetterCount:
    """How many letters the channel of the letters has, or will have when it is made."""
    if letters.channels and not _has_ours(letters):
        return LetterCount(0)
    total, away = letters.depth, 0
    for channel in letters.channels:
        if channel.channel_name == DEAD_CHANNEL:
            away = channel.in_flight_count + channel.deferred_count
            total += channel.depth + away
    return LetterCount(total, away)
