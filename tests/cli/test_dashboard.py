"""What `irismq dev` shows, from plain statistics."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from irismq_runtime.cli.dashboard import Moment, change_line, rows_between, table

TOTALS = {"requests": 0, "broadcasts": 0, "events": 0}


def nsqd(count: int, depth: int, in_flight: int = 0, *, paused: bool = False) -> dict[str, Any]:
    channel = {
        "channel_name": "c",
        "depth": depth,
        "in_flight_count": in_flight,
        "deferred_count": 0,
        "client_count": 1,
        "message_count": count,
        "paused": paused,
    }
    topic = {
        "topic_name": "t",
        "depth": 0,
        "message_count": count,
        "paused": False,
        "channels": [channel],
    }
    return {"topics": [topic]}


def relay(members: dict[str, int], **totals: int) -> dict[str, Any]:
    return {"members": members, "topics": {}, "totals": {**TOTALS, **totals}}


NOTHING = Moment(0.0, {"topics": []}, relay({}))


def test_rates_are_what_came_and_went_between_two_moments():
    before = Moment(10.0, nsqd(100, 40, 10), relay({"a": 2}, requests=5))
    now = Moment(12.0, nsqd(160, 30, 10), relay({"a": 3}, requests=11))
    rows = {(row.kind, row.name): row for row in rows_between(before, now)}
    channel = rows["channel", "t:c"]
    assert (channel.depth, channel.in_flight, channel.members) == (30, 10, 1)
    assert (channel.taken_per_second, channel.settled_per_second) == (30.0, 35.0)
    assert rows["topic", "t"].taken_per_second == 30.0
    assert rows["cluster", "a"].members == 3
    assert rows["relay", "requests"].taken_per_second == 3.0


def test_a_new_topic_and_an_emptied_channel_have_no_negative_rates():
    full = Moment(1.0, nsqd(10, 10), relay({}))
    (_, first) = rows_between(NOTHING, full)
    assert first.taken_per_second == 10.0
    (_, again) = rows_between(full, Moment(2.0, nsqd(0, 0), relay({})))
    assert again.settled_per_second == 0.0


def test_a_line_names_what_changed_and_nothing_else():
    quiet = rows_between(NOTHING, NOTHING)
    first = Moment(1.0, nsqd(1, 1), relay({"a": 1}))
    one = rows_between(NOTHING, first)
    assert "channel t:c: depth 1" in change_line(quiet, one)
    settled = rows_between(first, Moment(2.0, nsqd(1, 1), relay({"a": 1})))
    assert change_line(settled, settled) == ""
    paused = rows_between(first, Moment(2.0, nsqd(1, 1, paused=True), relay({})))
    line = change_line(settled, paused)
    assert line == (
        "channel t:c: depth 1, in flight 0, deferred 0, members 1, paused; cluster a is gone"
    )


def test_the_table_holds_every_row():
    now = Moment(1.0, nsqd(1234, 1200, 4), relay({"flights": 7}, requests=3))
    shown = Console(width=120)
    with shown.capture() as text:
        shown.print(table(rows_between(NOTHING, now), "irismq dev"))
    for expected in ("t:c", "1,200", "flights", "requests", "irismq dev"):
        assert expected in text.get()
