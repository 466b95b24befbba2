"""`irismq mailbox [ADDRESS]`: what waits for an address, or for all, and who takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.completion import addresses
from irismq_runtime.cli.console import execute, fail, remark
from irismq_runtime.cli.http import get_json
from irismq_runtime.cli.options import Json, Ndjson  # noqa: TC001  # typer reads them
from irismq_runtime.cli.terminal import print_as_json, print_rows
from irismq_runtime.cli.topic_stats import broker_pairs
from irismq_runtime.config import need_address
from irismq_runtime.errors import NotConnected
from irismq_runtime.messaging import dead_topic, mailbox_topic

if TYPE_CHECKING:
    from irismq_runtime.namespace import Namespace

__all__ = ["mailbox"]

_REMEDY: Final = "give nsqd's HTTP address with --nsqd-http (4151 by default)"
_COLUMNS: Final = ("nsqd", "topic", "channel", "depth", "in flight", "deferred", "consumers")


@takes_brokers
def mailbox(
    address: Annotated[
        str | None,
        typer.Argument(
            help="The address, e.g. shop.inventory.",
            show_default="all topics of the brokers",
            autocompletion=addresses,
        ),
    ] = None,
    brokers: Brokers = Brokers(),
    alone: Annotated[
        bool, typer.Option("--unattended", help="Only channels that nobody consumes.")
    ] = False,
    as_json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """Show depth, in flight, deferred and consumers of a mailbox, from nsqd."""
    rows = execute(_rows(address, brokers))
    known = bool(rows)
    rows = [row for row in rows if not (alone and row["consumers"])]
    if not print_as_json(rows, as_json=as_json, ndjson=ndjson) and rows:
        print_rows(_COLUMNS, map(_cells, rows))
    if known and not rows:
        remark("each channel has somebody who consumes it")
    elif not known and address is None:
        remark(f"no broker has a topic{brokers.within}")
    elif not known and address is not None:
        fail(f"no broker knows a topic {mailbox_topic(address)!r}: nothing was ever told to it")


async def _rows(address: str | None, brokers: Brokers) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = [{}]
    if address is not None:
        need_address(address)
        both = mailbox_topic(address), dead_topic(address)
        asked = [{"topic": brokers.names.topic(topic)} for topic in both]
    tls = brokers.tls_context()
    endpoints = brokers.http
    if brokers.lookupd:
        endpoints = [str(at) for _, at in await broker_pairs(brokers)]
    rows: list[dict[str, Any]] = []
    for endpoint in endpoints:
        for query in asked:
            stats = await get_json(endpoint, "/stats", tls=tls, **query)
            rows += _rows_untrusted(endpoint, stats, brokers.names)
    return rows


def _rows_untrusted(endpoint: str, stats: Any, names: Namespace) -> list[dict[str, Any]]:
    """The rows of a namespace in a broker's statistics. Raises `NotConnected` if they are none."""
    try:
        listed = stats.get("topics") or ()
        return [
            row
            for topic in listed
            if (name := names.inside(topic["topic_name"])) is not None
            for row in _topic_rows(endpoint, name, topic)
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise NotConnected(
            f"nsqd HTTP {endpoint}", "what it says is not nsqd's statistics", remedy=_REMEDY
        ) from error


def _topic_rows(endpoint: str, name: str, topic: dict[str, Any]) -> list[dict[str, Any]]:
    channels = topic.get("channels") or ()
    if not channels:
        row = {"nsqd": endpoint, "topic": name, "channel": "-", "depth": topic["depth"]}
        return [{**row, "in_flight": 0, "deferred": 0, "requeued": 0, "consumers": []}]
    return [
        {
            "nsqd": endpoint,
            "topic": name,
            "channel": channel["channel_name"],
            "depth": channel["depth"] + topic["depth"],
            "in_flight": channel["in_flight_count"],
            "deferred": channel["deferred_count"],
            "requeued": channel["requeue_count"],
            "consumers": [client["client_id"] for client in channel.get("clients") or ()],
        }
        for channel in channels
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    """What `_COLUMNS` show of a row."""
    counts = (f"{row[name]:,}" for name in ("depth", "in_flight", "deferred"))
    consumers = ", ".join(row["consumers"]) or "none"
    return [row["nsqd"], row["topic"], row["channel"], *counts, consumers]
