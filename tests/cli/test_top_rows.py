"""What `irismq top` shows, from plain snapshots."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.cli.top.charts import CHARTS
from irismq_runtime.cli.top.command import plain
from irismq_runtime.cli.top.layout import layout, line
from irismq_runtime.cli.top.numbers import age, count, one_line, per_second, seconds
from irismq_runtime.cli.top.rows import (
    SERVICE_COLUMNS,
    TREE_COLUMNS,
    View,
    headline,
    problem_rows,
    rows,
)
from irismq_runtime.observer import EntitiesView, Point, StoreView
from tests.cli.systems import BROKER, crash, node, place, problem, service, snapshot

SHOP = node(
    "shop",
    place(
        "Tree",
        place("till", restarts=4, inbox=2, rate=1.5, address="shop.till"),
        place("store", place("rack", restarts=9), restarts=0, inbox=30, rate=40.0),
        place("door", restarts=1, inbox=7, state="restarting", last=crash()),
    ),
)


def names(view: View, *nodes: object) -> list[str]:
    shown = rows(snapshot(nodes=nodes or (SHOP,)), view)
    return [row.cells[0].replace("▾", "").replace("▸", "").split()[0] for row in shown]


def test_trees_are_in_the_order_of_their_supervisors() -> None:
    shown = rows(snapshot(nodes=(SHOP,)), View())
    assert [row.cells[0] for row in shown] == [
        "▾ shop shop-1",
        "  ▾ Tree",
        "      till shop.till",
        "    ▾ store",
        "        rack",
        "      door",
    ]
    assert shown[0].cells[1:5] == ("up", "0", "39", "0")
    assert shown[5].cells[1:] == ("restarting", "1", "7", "0", "5 s ago ValueError: no luck")
    assert len({row.key for row in shown}) == len(shown)


def test_sorting_keeps_the_tree_and_brings_up_what_is_below() -> None:
    view = View()
    orders = []
    for _ in range(5):
        view = view.sorted_by_next()
        orders.append((view.sort, names(view)))
    assert orders == [
        (0, ["shop", "Tree", "door", "store", "rack", "till"]),
        (2, ["shop", "Tree", "store", "rack", "till", "door"]),
        (3, ["shop", "Tree", "store", "rack", "door", "till"]),
        (4, ["shop", "Tree", "store", "rack", "till", "door"]),
        (None, ["shop", "Tree", "till", "store", "rack", "door"]),
    ]
    assert View(sort=2).columns[2] == "restarts▾"


def test_nodes_are_sorted_too() -> None:
    busy = node("busy", place("Tree", restarts=0), handled=9.0, restarts=3)
    assert names(View(sort=2), SHOP, busy)[0] == "busy"
    assert names(View(sort=3), busy, SHOP)[0] == "shop"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("RACK", ["shop", "Tree", "store", "rack"]),
        ("shop.till", ["shop", "Tree", "till"]),
        ("restarting", ["shop", "Tree", "door"]),
        ("shop-1", ["shop"]),
        ("worker", ["shop", "Tree", "till", "store", "rack", "door"]),
        ("nobody", []),
    ],
)
def test_a_filter_shows_what_matches_and_what_is_above_it(words: str, expected: list[str]) -> None:
    view = View(closed=frozenset({"shop-1 Tree"})).filtered(f" {words} ")
    assert names(view) == expected


def test_what_is_closed_is_one_row() -> None:
    view = View().toggled("shop-1 Tree/store")
    assert names(view) == ["shop", "Tree", "till", "store", "door"]
    shown = rows(snapshot(nodes=(SHOP,)), view)
    assert shown[3].cells[0] == "    ▸ store"
    assert names(view.toggled("shop-1 Tree/store")) == names(View())
    assert names(View().closing(["node shop-1"])) == ["shop"]


def test_what_a_node_left_out_is_counted() -> None:
    big = node("big", place("Pool", hidden=1200))
    assert [row.cells[0] for row in rows(snapshot(nodes=(big,)), View())] == [
        "▾ big big-1",
        "  ▾ Pool",
        "      and 1,200 more",
    ]


def test_how_far_a_handler_is_stands_in_the_place_of_its_state() -> None:
    shown = rows(
        snapshot(nodes=(node("a", place("Copier", progress="40 % rows\x1b[31m")),)), View()
    )
    assert shown[1].cells[1].startswith("40 % rows")
    assert "\x1b" not in shown[1].cells[1]
    assert "its handler is at 40 % rows" in shown[1].detail


def test_tones_say_how_bad_it_is() -> None:
    shown = rows(
        snapshot(
            nodes=(
                node(
                    "a",
                    place("loops", loops=True),
                    place("grows", grows=True),
                    place("waits", state="restarting"),
                    place("well"),
                ),
                node("b", place("then", loops=True), state="lost", error="no answer within 1 s"),
                node("c", state="left"),
                node("d", ready=False, reasons=("relay: gone",)),
                node("e", state="left", why="tree gave up: shutdown"),
            )
        ),
        View(),
    )
    assert [(row.tone, row.cells[1]) for row in shown] == [
        ("good", "up"),
        ("bad", "looping"),
        ("warning", "running"),
        ("warning", "restarting"),
        ("plain", "running"),
        ("bad", "lost"),
        ("faint", "looping"),
        ("faint", "left"),
        ("warning", "not ready"),
        ("bad", "gave up"),
    ]
    assert shown[9].cells[5] == "tree gave up: shutdown"
    assert "ended by itself: tree gave up: shutdown" in shown[9].detail
    assert shown[5].cells[5] == "no answer within 1 s"
    assert shown[8].cells[5] == "relay: gone"


def test_details_have_the_traceback_and_nothing_that_a_terminal_obeys() -> None:
    trace = "Traceback:\n  File 'x'\n    boom \x1b[2J\n"
    last = crash("\x1b]0;owned\x07", message_type="shop.put", traceback=trace)
    (_, row) = rows(snapshot(nodes=(node("a", place("\x1b[31mw", last=last)),)), View())
    assert "\x1b" not in "".join((*row.cells, row.detail))
    assert "handling shop.put: builtins.ValueError" in row.detail
    assert "\n  File 'x'\n    boom" in row.detail


def test_the_detail_of_a_node_tells_what_its_store_does() -> None:
    store = StoreView(url="sqlite:///shop.db", commits=12.5, messages=40.0, took=0.0021, outbox=7)
    full = msgspec.structs.replace(store, took=None, fault="the disk is full\x1b[2J")
    shown = rows(snapshot(nodes=(node("a", store=store), node("b", store=full))), View())
    said = "store sqlite:///shop.db: 12 commits/s in 2.1 ms each, 40 msg/s, 0 not committed, "
    assert f"{said}outbox 7, handled ids 0" in shown[0].detail
    assert "handled ids 0: the disk is full" in shown[1].detail
    assert "\x1b" not in shown[1].detail


def test_the_detail_of_a_node_tells_what_it_has_of_entities() -> None:
    carts = EntitiesView(address="shop.cart", shards=64, owned=21, active=9000, failing=0)
    ill = msgspec.structs.replace(carts, address="shop\x1b[2J", failing=2)
    (shown,) = rows(snapshot(nodes=(node("a", entities=(carts, ill)),)), View())
    assert "entities shop.cart: 9,000 active, 21 of 64 shards\n" in f"{shown.detail}\n"
    assert "21 of 64 shards, 2 failing" in shown.detail
    assert "\x1b" not in shown.detail


def test_services() -> None:
    found = (
        service("shop.till", "a", "b", waiting=1_200_000, in_flight=3, told=0.25, p99=0.0032),
        service("shop.door", dead=2),
        service("news", served=False, waiting=5),
        service("shop.rack", "c", grows=True),
    )
    shown = rows(snapshot(services=found), View(page="services"))
    assert shown[0].cells == (
        "shop.till", "2", "1.2M", "3", "-", "0.2", "-", "-", "-", "3.2 ms",
    )  # fmt: skip
    assert [row.tone for row in shown] == ["plain", "bad", "plain", "warning"]
    assert shown[2].cells[1] == "topic"
    assert shown[0].detail == "shop.till: a, b"
    by_waiting = rows(snapshot(services=found), View(page="services", sort=2))
    assert [row.cells[0] for row in by_waiting[:2]] == ["shop.till", "news"]
    only = rows(snapshot(services=found), View(page="services").filtered("c"))
    assert [row.cells[0] for row in only] == ["shop.rack"]
    assert View(page="services").turned("trees") == View()


def test_problems_stand_in_a_few_lines() -> None:
    found = tuple(problem(str(n), f"thing {n}", ago=n) for n in range(6))
    shown = problem_rows(snapshot(problems=found), 4)
    assert [row.cells for row in shown] == [
        ("thing 0", "0 s"),
        ("thing 1", "1 s"),
        ("thing 2", "2 s"),
        ("and 3 more", ""),
    ]
    assert len(problem_rows(snapshot(problems=found[:4]), 4)) == 4


def test_the_headline() -> None:
    seen = snapshot(
        nodes=(node("a", actors=1), node("b", state="lost", actors=7)),
        services=(service("x"), service("t", served=False)),
        point=Point(time=1.0, handled=1234.0, waiting=5, inboxes=6),
    )
    assert headline(seen) == "1 node, 1 actor, 1 service, 1.2k handled/s, 11 waiting"


def test_charts_draw_what_is_known() -> None:
    history = [Point(time=float(n), handled=float(n), p99=None) for n in range(5)]
    assert CHARTS[0].series(history, 3) == [2.0, 3.0, 4.0]
    assert CHARTS[2].series(history, 9) == [0.0] * 5
    assert CHARTS[2].label(history) == "asks p99 -"
    assert CHARTS[0].label([]) == "handled/s -"


def test_plain_text_has_everything_once() -> None:
    seen = snapshot(
        nodes=(SHOP,),
        services=(service("shop.till", "shop"),),
        problems=(problem("x", "till crashes again and again"),),
        brokers=(BROKER,),
    )
    text = plain(seen, View(), 100)
    for expected in (
        "wrong: till crashes again and again (for 3 s)",
        "shop.till",
        "restarting",
        "nsqd 127.0.0.1:4151: it answers 500",
    ):
        assert expected in text
    assert "nothing is wrong" in plain(snapshot(), View(), 80)


@given(
    st.sampled_from(["trees", "services"]),
    st.integers(40, 240),
    st.lists(st.text(max_size=120), min_size=10, max_size=10),
)
def test_a_line_is_never_wider_than_the_screen(page: str, width: int, cells: list[str]) -> None:
    columns = layout(page, width)
    assert len(line(cells, columns)) <= max(width, sum(column.width for column in columns))
    if width >= 80:
        assert sum(column.width for column in columns) <= width


@pytest.mark.parametrize("page", ["trees", "services"])
def test_eighty_columns_have_the_headings_whole(page: str) -> None:
    heads = TREE_COLUMNS if page == "trees" else SERVICE_COLUMNS
    columns = layout(page, 80)
    shown = line(heads, columns)
    assert len(shown) <= 80
    for column in columns:
        assert heads[column.at] in shown
    assert len(layout(page, 120)) == len(heads)


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (count, None, "-"),
        (count, 0, "0"),
        (count, 99_999, "99,999"),
        (count, 123_456, "123k"),
        (count, 4_500_000, "4.5M"),
        (count, 2e12, "2000G"),
        (per_second, None, "-"),
        (per_second, 0, "0"),
        (per_second, 0.04, "0.0"),
        (per_second, 9.96, "10"),
        (per_second, 999.7, "1.0k"),
        (seconds, None, "-"),
        (seconds, 0.0, "0.0 us"),
        (seconds, 0.000085, "85 us"),
        (seconds, 0.99999, "1.0 s"),
        (seconds, 12.0, "12 s"),
        (age, -3.0, "0 s"),
        (age, 59.4, "59 s"),
        (age, 7200.0, "2 h"),
        (age, 200_000.0, "2 d"),
    ],
)
def test_numbers(show: object, value: object, text: str) -> None:
    assert show(value) == text


@given(st.text(), st.integers(1, 30))
def test_a_name_is_one_printable_line(text: str, width: int) -> None:
    shown = one_line(text, width)
    assert len(shown) <= width
    assert shown.isprintable()
