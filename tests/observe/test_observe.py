"""Looking at a node: rate-limited logs, health, metrics, and the HTTP page."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import pytest

from actors.testing import ManualClock
from irismq_runtime.errors import ConfigError
from irismq_runtime.observe import (
    Check,
    Health,
    RateLimitedLog,
    Sample,
    StatusServer,
    prometheus_text,
    shorten,
)


def texts(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_flood_becomes_one_line_a_second_with_its_count(caplog):
    clock = ManualClock()
    log = RateLimitedLog("irismq", clock)
    caplog.set_level(logging.WARNING, "irismq")
    for second in range(5):
        for _ in range(1000):
            log.note("cut", f"cut in second {second}")
        clock.advance(1.0)
    assert len(texts(caplog)) == 6
    assert texts(caplog)[0] == "cut in second 0"
    assert texts(caplog)[1] == "cut in second 0 (999 like this)"
    assert texts(caplog)[2] == "cut in second 1 (1000 like this)"


def test_kinds_do_not_hide_each_other_and_a_quiet_kind_is_forgotten(caplog):
    clock = ManualClock()
    log = RateLimitedLog("irismq", clock)
    log.note("a", "first")
    log.fault("b", "second")
    clock.advance(1.0)
    log.note("a", "third")
    assert texts(caplog) == ["first", "second", "third"]


def test_closing_writes_what_was_counted(caplog):
    log = RateLimitedLog("irismq", ManualClock())
    log.note("a", "x")
    log.note("a", "x")
    log.close()
    assert texts(caplog) == ["x", "x (1 like this)"]


def test_long_texts_are_cut_and_kept_on_one_line():
    assert shorten("a\nb" + "c" * 1000) == "a b" + "c" * 296 + "…"


def test_live_and_ready_are_apart():
    away = Check("relay", ok=False, reason="away")
    dead = Check("tree", ok=False, reason="gave up", vital=True)
    assert (Health((away,)).live, Health((away,)).ready) == (True, False)
    assert (Health((dead,)).live, Health((dead,)).ready) == (False, False)
    assert Health((away, dead)).reasons == ("relay: away", "tree: gave up")
    assert Health(()).ready
    noted = Check("directory", ok=False, reason="away", advisory=True)
    assert (Health((noted,)).live, Health((noted,)).ready) == (True, True)
    assert Health((noted,)).reasons == ("directory: away",)
    assert not Health((noted, away)).ready


def test_metrics_are_in_the_format_that_prometheus_reads():
    samples = [
        Sample("finished_total", 3, "counter", "handled"),
        Sample("in_flight", 2, labels={"topic": 'a"b\\c\nd'}),
        Sample("in_flight", 1.5, labels={"topic": "e"}),
    ]
    assert prometheus_text(samples).splitlines() == [
        "# HELP irismq_finished_total handled",
        "# TYPE irismq_finished_total counter",
        "irismq_finished_total 3.0",
        "# HELP irismq_in_flight ",
        "# TYPE irismq_in_flight gauge",
        r'irismq_in_flight{topic="a\"b\\c\nd"} 2.0',
        'irismq_in_flight{topic="e"} 1.5',
    ]


def test_metrics_without_their_extra_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"irismq-runtime\[metrics\]"):
        prometheus_text([])


@pytest.fixture
async def page():
    state = {"health": Health(())}
    page = StatusServer(health=lambda: state["health"], metrics=lambda: "irismq_x 1\n")
    await page.start()
    page.state = state
    yield page
    await page.stop()


async def get(page, words):
    reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
    writer.write(words.replace(b"\r\n\r\n", b"\r\nHost: x\r\nConnection: close\r\n\r\n", 1))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


async def test_the_page_answers_probes_by_the_health_of_the_moment(page):
    assert (await get(page, b"GET /ready HTTP/1.1\r\n\r\n"))[0] == 200
    page.state["health"] = Health((Check("relay", ok=False, reason="away"),))
    status, body = await get(page, b"GET /ready?x=1 HTTP/1.1\r\n\r\n")
    assert (status, json.loads(body)["reasons"]) == (503, ["relay: away"])
    assert (await get(page, b"GET /live HTTP/1.1\r\n\r\n"))[0] == 200
    assert await get(page, b"GET /metrics HTTP/1.1\r\n\r\n") == (200, b"irismq_x 1\n")


async def test_the_page_turns_down_everything_else(page):
    assert (await get(page, b"GET /secret HTTP/1.1\r\n\r\n"))[0] == 404
    status, text = await get(page, b"POST /live HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    assert (status, text) == (405, b"only GET is answered here\n")
    assert await get(page, b"HEAD /live HTTP/1.1\r\n\r\n") == (200, b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
    writer.write(b"x" * 20_000)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
