"""`irismq topic VERB TOPIC`: pause, empty, create or delete a topic or a channel at the brokers.

An address is a topic, its mailbox the channel `mailbox`, its dead letters the topic
`ADDRESS.dead`. nsqd does these things over HTTP. Each broker is looked at first: one that
does not have what is meant is left alone, and what would lose messages is done when a
person, or `--yes`, has said so. Nodes know nothing of it: they make again what they need.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.completion import topics
from irismq_runtime.cli.console import confirm, execute, fail
from irismq_runtime.cli.http import post
from irismq_runtime.cli.options import Json, Ndjson  # noqa: TC001  # typer reads them
from irismq_runtime.cli.terminal import print_listing
from irismq_runtime.cli.topic_stats import broker_pairs, topic_at
from irismq_runtime.errors import ConfigError
from irismq_runtime.namespace import ADDRESS
from irismq_runtime.protocols.nsq import InvalidName, channel_name, topic_name

if TYPE_CHECKING:
    from irismq_runtime.observer.reports import TopicStats

__all__ = ["topic"]


class Verb(StrEnum):
    """What is done."""

    CREATE = "create"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    EMPTY = "empty"
    DELETE = "delete"


#: What loses the messages that wait.
_LOSES: Final = frozenset({Verb.EMPTY, Verb.DELETE})


@takes_brokers
def topic(
    verb: Annotated[Verb, typer.Argument(help="What to do.")],
    name: Annotated[
        str,
        typer.Argument(metavar="TOPIC", help="An address, or ADDRESS.dead.", autocompletion=topics),
    ],
    channel: Annotated[
        str, typer.Option(help="Do it to this channel alone; that of a mailbox is `mailbox`.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    brokers: Brokers = Brokers(),
    as_json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """Create, pause, unpause, empty or delete a topic, or a channel of it, at each broker.

    Example: `irismq topic pause shop.inventory --channel mailbox`
    """
    rows = execute(_found(brokers, verb, name, channel))
    what = f"channel {channel!r} of {name!r}" if channel else f"topic {name!r}"
    if not rows:
        fail(f"no broker has the {what}")
    if verb in _LOSES and not yes:
        waiting = sum(row["messages"] for row in rows)
        confirm(f"{verb} the {what}{brokers.within}, with {waiting:,} messages, for good?")
    execute(_do(brokers, verb, rows))
    print_listing(rows, tuple(rows[0]), as_json=as_json, ndjson=ndjson)


async def _found(brokers: Brokers, verb: Verb, name: str, channel: str) -> list[dict[str, Any]]:
    """What is there to be done, a row for each broker. Raises `ConfigError`, `NotConnected`."""
    for option, check, value in (("TOPIC", topic_name, name), ("--channel", channel_name, channel)):
        try:
            if value or option == "TOPIC":
                check(value)
        except InvalidName as error:
            raise ConfigError(option, str(error)) from error
    if complaint := ADDRESS.complaint(name):
        raise ConfigError("TOPIC", complaint, "name the namespace with --namespace")
    rows = []
    for _, at in await broker_pairs(brokers):
        stats = await topic_at(at, name, names=brokers.names, tls=brokers.tls_context())
        messages = _messages(stats, channel)
        if messages is not None or verb is Verb.CREATE:
            row = {"nsqd": str(at), "topic": name, "channel": channel, "done": str(verb)}
            rows.append({**row, "messages": messages or 0})
    return rows


def _messages(stats: TopicStats | None, channel: str) -> int | None:
    """How many wait in what is meant; None: the broker does not have it."""
    if stats is None:
        return None
    held = {
        each.channel_name: each.depth + each.in_flight_count + each.deferred_count
        for each in stats.channels
    }
    return held.get(channel) if channel else stats.depth + sum(held.values())


async def _do(brokers: Brokers, verb: Verb, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        at: str = row["nsqd"]
        query: dict[str, Any] = {"topic": brokers.names.topic(row["topic"])}
        if row["channel"]:
            if verb is Verb.CREATE:  # nsqd makes no channel of a topic that is not there
                await post(at, "/topic/create", tls=brokers.tls_context(), **query)
            query["channel"] = row["channel"]
        path = f"/{'channel' if row['channel'] else 'topic'}/{verb}"
        await post(at, path, tls=brokers.tls_context(), **query)
