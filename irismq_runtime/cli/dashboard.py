"""What `irismq dev` shows of its two servers: a table, or lines of what changed.

Works on plain values: a `Moment` is made from the servers' statistics, and two
moments make rows with rates. Prints nothing and knows no clock. A rate counts
messages taken in, or settled for good, a second between the two moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DashboardRow", "Moment", "change_line", "rows_between", "table"]


@dataclass(frozen=True, slots=True)
class DashboardRow:
    """One line of the table. Numbers that a kind of place has not are None."""

    kind: str
    name: str
    depth: int | None = None
    in_flight: int | None = None
    deferred: int | None = None
    members: int | None = None
    taken_per_second: float | None = None
    settled_per_second: float | None = None
    note: str = ""

    @property
    def facts(self) -> tuple[object, ...]:
        """What counts as a change: everything but the rates' last digits."""
        moving = bool(self.taken_per_second or self.settled_per_second)
        return (self.depth, self.in_flight, self.deferred, self.members, moving, self.note)


@dataclass(frozen=True, slots=True)
class Moment:
    """Both servers at one time: seconds on a monotonic clock, and their statistics."""

    time: float
    nsqd: Mapping[str, Any]
    relay: Mapping[str, Any]


#: How the relay's totals are called in the table.
_TRAFFIC = (("requests", "requests"), ("broadcasts", "broadcasts"), ("events", "events"))


def rows_between(before: Moment, now: Moment) -> list[DashboardRow]:
    """The rows of `now`, with rates since `before`."""
    seconds = max(now.time - before.time, 1e-3)
    then = {topic["topic_name"]: topic for topic in before.nsqd["topics"]}
    rows: list[DashboardRow] = []
    for topic in now.nsqd["topics"]:
        rows += _topic_rows(topic, then.get(topic["topic_name"], {}), seconds)
    rows += [
        DashboardRow("cluster", name, members=n) for name, n in sorted(now.relay["members"].items())
    ]
    rows += [
        DashboardRow("live topic", name, members=n)
        for name, n in sorted(now.relay["topics"].items())
    ]
    totals, earlier = now.relay["totals"], before.relay["totals"]
    for field, name in _TRAFFIC:
        if totals[field]:
            rate = (totals[field] - earlier[field]) / seconds
            rows.append(DashboardRow("relay", name, taken_per_second=rate))
    return rows


def _topic_rows(
    topic: Mapping[str, Any], then: Mapping[str, Any], seconds: float
) -> list[DashboardRow]:
    taken = topic["message_count"] - then.get("message_count", 0)
    name = topic["topic_name"]
    rows = [
        DashboardRow(
            "topic",
            name,
            depth=topic["depth"],
            taken_per_second=taken / seconds,
            note="paused" if topic["paused"] else "",
        )
    ]
    earlier = {channel["channel_name"]: channel for channel in then.get("channels", ())}
    for channel in topic["channels"]:
        was = earlier.get(channel["channel_name"], {})
        taken = channel["message_count"] - was.get("message_count", 0)
        rows.append(
            DashboardRow(
                "channel",
                f"{name}:{channel['channel_name']}",
                depth=channel["depth"],
                in_flight=channel["in_flight_count"],
                deferred=channel["deferred_count"],
                members=channel["client_count"],
                taken_per_second=taken / seconds,
                settled_per_second=max(0, _settled(channel) - _settled(was)) / seconds,
                note="paused" if channel["paused"] else "",
            )
        )
    return rows


def _settled(channel: Mapping[str, Any]) -> int:
    """Messages that have left a channel for good."""
    held = ("depth", "in_flight_count", "deferred_count")
    return int(channel.get("message_count", 0)) - sum(int(channel.get(key, 0)) for key in held)


def table(rows: list[DashboardRow], title: str) -> Table:
    """The rows as a table of rich, with the rates of the last second."""
    shown = Table(title=title, title_justify="left", expand=False)
    shown.add_column("what")
    shown.add_column("name", overflow="fold")
    for heading in ("depth", "in flight", "deferred", "members", "in/s", "done/s"):
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for row in rows:
        counts = (row.depth, row.in_flight, row.deferred, row.members)
        rates = (row.taken_per_second, row.settled_per_second)
        cells = ["" if count is None else f"{count:,}" for count in counts]
        cells += ["" if rate is None else f"{rate:,.0f}" for rate in rates]
        shown.add_row(row.kind, row.name, *cells, row.note)
    return shown


def change_line(before: list[DashboardRow], now: list[DashboardRow]) -> str:
    """What changed, as one line; empty when nothing did."""
    then = {(row.kind, row.name): row for row in before}
    parts = [
        _words(row)
        for row in now
        if (old := then.get((row.kind, row.name))) is None or old.facts != row.facts
    ]
    present = {(row.kind, row.name) for row in now}
    parts += [f"{kind} {name} is gone" for kind, name in then if (kind, name) not in present]
    return "; ".join(parts)


def _words(row: DashboardRow) -> str:
    counts = (
        ("depth", row.depth),
        ("in flight", row.in_flight),
        ("deferred", row.deferred),
        ("members", row.members),
    )
    words = [f"{name} {count}" for name, count in counts if count is not None]
    if row.taken_per_second:
        words.append(f"in {row.taken_per_second:.0f}/s")
    if row.settled_per_second:
        words.append(f"done {row.settled_per_second:.0f}/s")
    if row.note:
        words.append(row.note)
    return f"{row.kind} {row.name}: {', '.join(words) or 'quiet'}"
