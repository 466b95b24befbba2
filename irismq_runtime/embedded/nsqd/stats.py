"""What the broker holds, as the value and the text of nsqd's /stats. Pure reading.

The shapes are nsqd's, so that its tools read them. There is no disk queue, so
`backend_depth` is 0 everywhere; end-to-end latencies are not measured.
"""

from __future__ import annotations

import gc
import resource
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from irismq_runtime.embedded.nsqd.options import VERSION

if TYPE_CHECKING:
    from irismq_runtime.embedded.nsqd.channel import Channel
    from irismq_runtime.embedded.nsqd.client_connection import ClientConnection
    from irismq_runtime.embedded.nsqd.context import ServerContext
    from irismq_runtime.embedded.nsqd.topic import Topic

__all__ = ["health", "stats_text", "stats_value"]


def health(context: ServerContext) -> str:
    """`OK`, or `NOK - ` and the reason."""
    fault = context.broker.journal.fault
    return f"NOK - {fault}" if fault else "OK"


def stats_value(
    context: ServerContext,
    *,
    topic: str = "",
    channel: str = "",
    clients: bool = True,
    memory: bool = True,
) -> dict[str, Any]:
    """The statistics as nsqd's JSON value; filters that are empty take all."""
    chosen = [context.broker.topics[name] for name in sorted(context.broker.topics)]
    if topic:
        chosen = [found for found in chosen if found.name == topic]
    if channel:
        chosen = [found for found in chosen if channel in found.channels]
    value: dict[str, Any] = {
        "version": VERSION,
        "health": health(context),
        "start_time": int(context.started_at),
        "topics": [_topic(context, found, topic, channel, clients=clients) for found in chosen],
    }
    if memory:
        value["memory"] = _memory()
    producers = [c for c in context.connections.values() if c.session.publish_counts]
    value["producers"] = [_client(c, topic) for c in producers] if clients else None
    return value


def _topic(
    context: ServerContext, topic: Topic, topic_filter: str, channel_filter: str, *, clients: bool
) -> dict[str, Any]:
    names = [channel_filter] if channel_filter else sorted(topic.channels)
    return {
        "topic_name": topic.name,
        "channels": [
            _channel(context, topic.channels[name], topic_filter, clients=clients) for name in names
        ],
        "depth": topic.depth,
        "backend_depth": 0,
        "message_count": topic.message_count,
        "message_bytes": topic.message_bytes,
        "paused": topic.paused,
        "e2e_processing_latency": {"count": 0, "percentiles": None},
    }


def _channel(
    context: ServerContext, channel: Channel, topic_filter: str, *, clients: bool
) -> dict[str, Any]:
    connections = [
        context.connections[client_id]
        for client_id in channel.subscribers
        if client_id in context.connections
    ]
    return {
        "channel_name": channel.name,
        "depth": channel.depth,
        "backend_depth": 0,
        "in_flight_count": channel.in_flight_count,
        "deferred_count": channel.deferred_count,
        "message_count": channel.message_count,
        "requeue_count": channel.requeue_count,
        "timeout_count": channel.timeout_count,
        "client_count": len(channel.subscribers),
        "clients": [_client(c, topic_filter) for c in connections] if clients else None,
        "paused": channel.paused,
        "e2e_processing_latency": {"count": 0, "percentiles": None},
    }


def _client(connection: ClientConnection, topic_filter: str) -> dict[str, Any]:
    session = connection.session
    grant, subscriber = session.grant, session.subscriber
    counts = [
        {"topic": name, "count": number}
        for name, number in session.publish_counts.items()
        if not topic_filter or name == topic_filter
    ]
    value: dict[str, Any] = {
        "client_id": grant.client_id,
        "hostname": grant.hostname,
        "version": "V2",
        "remote_address": session.remote_address,
        "state": int(session.decoder.state),
        "ready_count": subscriber.ready if subscriber else 0,
        "in_flight_count": len(subscriber.in_flight) if subscriber else 0,
        "message_count": subscriber.message_count if subscriber else 0,
        "finish_count": subscriber.finish_count if subscriber else 0,
        "requeue_count": subscriber.requeue_count if subscriber else 0,
        "connect_ts": int(connection.connected_at),
        "sample_rate": grant.sample_rate,
        "deflate": grant.deflate,
        "snappy": False,
        "user_agent": grant.user_agent,
        "topology_zone": "",
        "topology_region": "",
        **connection.tls_facts(),
        **session.auth_facts(),
    }
    if counts:
        value["pub_counts"] = counts[:1]
    return value


def _memory() -> dict[str, int]:
    return {
        "heap_objects": gc.get_count()[0],
        "heap_idle_bytes": 0,
        "heap_in_use_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "heap_released_bytes": 0,
        "gc_pause_usec_100": 0,
        "gc_pause_usec_99": 0,
        "gc_pause_usec_95": 0,
        "next_gc_bytes": 0,
        "gc_total_runs": sum(generation["collections"] for generation in gc.get_stats()),
    }


def stats_text(value: dict[str, Any], *, now: float) -> str:
    """The same value as nsqd's text, for people."""
    start = datetime.fromtimestamp(value["start_time"], UTC)
    lines = [
        f"nsqd v{value['version']}",
        f"start_time {start.isoformat().replace('+00:00', 'Z')}",
        f"uptime {timedelta(seconds=int(now - value['start_time']))}",
        "",
        f"Health: {value['health']}",
    ]
    if "memory" in value:
        lines += ["", "Memory:"]
        lines += [f"   {name:<25}\t{number}" for name, number in value["memory"].items()]
    lines += ["", "Topics:" if value["topics"] else "Topics: None"]
    for topic in value["topics"]:
        lines += _topic_lines(topic, now)
    lines += ["", "Producers:" if value["producers"] else "Producers: None"]
    lines += [f"   {_client_line(client, now)}" for client in value["producers"] or ()]
    return "\n".join(lines) + "\n"


def _topic_lines(topic: dict[str, Any], now: float) -> list[str]:
    mark = "*P" if topic["paused"] else "  "
    head = (
        f"{mark} [{topic['topic_name']:<15}] depth: {topic['depth']:<5} "
        f"be-depth: {topic['backend_depth']:<5} msgs: {topic['message_count']:<8} e2e%: "
    )
    lines = ["", head]
    for channel in topic["channels"]:
        mark = "*P" if channel["paused"] else "  "
        lines.append(
            f"   {mark} [{channel['channel_name']:<25}] depth: {channel['depth']:<5} "
            f"be-depth: {channel['backend_depth']:<5} inflt: {channel['in_flight_count']:<4} "
            f"def: {channel['deferred_count']:<4} re-q: {channel['requeue_count']:<5} "
            f"timeout: {channel['timeout_count']:<5} msgs: {channel['message_count']:<8} e2e%: "
        )
        lines += [f"        {_client_line(c, now)}" for c in channel["clients"] or ()]
    return lines


def _client_line(client: dict[str, Any], now: float) -> str:
    port = client["remote_address"].rpartition(":")[2]
    who = f"{client['hostname']}:{port} {client['user_agent']}"
    connected = f"connected: {timedelta(seconds=int(now - client['connect_ts']))}"
    if counts := client.get("pub_counts"):
        total = sum(entry["count"] for entry in counts)
        topics = ",".join(f"{entry['topic']}={entry['count']}" for entry in counts)
        return f"[V2 {who:<21}] msgs: {total:<8} topics: {topics} {connected}"
    return (
        f"[V2 {who:<21}] state: {client['state']} inflt: {client['in_flight_count']:<4} "
        f"rdy: {client['ready_count']:<4} fin: {client['finish_count']:<8} "
        f"re-q: {client['requeue_count']:<8} msgs: {client['message_count']:<8} {connected}"
    )
