"""What leaves the process: no raw control character and no login of a URL, at every exit.

One text holds every character that a terminal or a page could obey, and a password in a
URL; it is given to each exit as what an actor, a peer or a server said.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import socket
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from actors import Actor, receives
from actors.testing import ManualClock
from actors.texts import sendable
from irismq_runtime import Node
from irismq_runtime.cli import console, terminal
from irismq_runtime.cli.main import _Lines
from irismq_runtime.cli.top.numbers import one_line
from irismq_runtime.demo.demonstration import Demonstration, Worker
from irismq_runtime.dispatch.dead import dead_record
from irismq_runtime.errors import NotConnected
from irismq_runtime.node.process.systemd import ServiceManager
from irismq_runtime.observe import Check, Health, JsonLines, RateLimitedLog, Sample, prometheus_text
from irismq_runtime.observe.logs import shorten
from irismq_runtime.observe.records import plain
from irismq_runtime.observer.model import to_json
from irismq_runtime.safe_text import safe, safe_lines, visible, visible_json, without_logins
from irismq_runtime.wire.faults import FaultBody
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTROLS = (
    "\x00\x07\x08\x0b\x1b[31m\x1b]0;t\x07\x7f\x80\x85\x9b31m\x9f"
    "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    "\u2028\u2029\ud800 \udfff \udc9b\U000e0001\ufff9\u061c"
)
URLS = [
    "nats://joe:hunter2@h:4222",
    "tls://hunter2@h",
    "postgres://joe:hunter2@db/x?sslmode=no",
    "nats://a:1,nats://joe:hunter2@b,tls://k:hunter2@c",
    "https://joe:hunter2/x@h",
    "amqp://joe:a@hunter2@h/",
]
HOSTILE = f"before {CONTROLS} after {' '.join(URLS)} end"


def is_clean(text: str, keep: str = "\n\t") -> bool:
    """Whether a text may leave."""
    raw = {c for c in text if not c.isprintable() and c not in keep}
    assert raw == set()
    assert "hunter2" not in text
    text.encode()
    return "before" in text and "after" in text


@dataclass
class Told(Exception):
    text: str

    def __str__(self) -> str:
        return self.text


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc = (type(error), error, None) if error is not None else None
    return logging.LogRecord("irismq.x", logging.ERROR, "f.py", 1, message, args, exc)  # type: ignore[arg-type]  # it takes any arguments


def text_log() -> str:
    return _Lines("%(levelname)s %(message)s").format(record("%s", HOSTILE, error=Told(HOSTILE)))


def json_log() -> str:
    made = record("%s", HOSTILE, error=Told(HOSTILE))
    made.extra_field = [HOSTILE, {"deep": HOSTILE}]
    line = JsonLines().format(made)
    json.loads(line)
    return line


def health() -> str:
    found = Health((Check("c", ok=False, reason=HOSTILE),))
    return found.reasons[0] + json.dumps(found.to_dict(), ensure_ascii=False)


def metrics() -> str:
    return prometheus_text([Sample("x", 1.0, labels={"actor": HOSTILE})])


def fault() -> str:
    made = FaultBody.of(Told(HOSTILE), crashed=True)
    return f"{made.text}\n{made.traceback}"


EXITS: dict[str, Callable[[], str]] = {
    "a log for people": text_log,
    "a log in JSON": json_log,
    "a short reason": lambda: shorten(HOSTILE),
    "health": health,
    "an event's text": lambda: plain(HOSTILE),
    "an event's error": lambda: plain(Told(HOSTILE)),
    "an event's list": lambda: str(plain([HOSTILE])[0]),
    "metrics": metrics,
    "a cell of top": lambda: one_line(HOSTILE, 10_000),
    "an error that is sent": fault,
    "the observer's JSON": lambda: to_json({"a": HOSTILE, "b": [HOSTILE]}).decode(),
}


@pytest.mark.parametrize("name", EXITS)
def test_no_control_and_no_login_leaves(name: str):
    assert is_clean(EXITS[name]())


def test_the_notes_of_transports_are_clean(caplog, manual_clock):
    RateLimitedLog("irismq.exits", manual_clock).note("kind", HOSTILE)
    assert is_clean(caplog.messages[-1])


def test_a_dead_letter_says_why_cleanly():
    packer = SimpleNamespace(node_id="n", dead=lambda made: made)
    incoming: Any = SimpleNamespace(clock=ManualClock(), packer=packer)
    stored: Any = SimpleNamespace(body=b"x", attempts=5)
    made: Any = dead_record(incoming, "a", stored, None, reason=HOSTILE, error=Told(HOSTILE))
    assert is_clean(made.reason)
    assert is_clean(made.error)
    assert is_clean(made.traceback)


def test_systemd_is_told_one_clean_line(tmp_path: Path):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        bad = Health((Check("c", ok=False, reason=f"{HOSTILE}\nREADY=1"),))
        manager = ServiceManager(
            lambda: bad, ManualClock(), environment={"NOTIFY_SOCKET": name}, pid=1
        )
        with manager:
            manager.stopping(HOSTILE)
            told = [systemd.recv(4096).decode() for _ in range(3)]
    assert all(is_clean(f"{line} before after", keep="") for line in told)


def test_a_trace_holds_the_error_cleanly():
    from opentelemetry.sdk.trace import TracerProvider

    from irismq_runtime.observe import otel

    span = TracerProvider().get_tracer("t").start_span("s")
    otel._fail(span, Told(HOSTILE))
    said: Any = span
    assert is_clean(said.status.description)
    for each in ("exception.message", "exception.stacktrace"):
        assert is_clean(said.events[0].attributes[each])


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def printed(request, monkeypatch) -> Callable[[Callable[[], None]], str]:
    """What a function prints, on a terminal and into a pipe, without rich's own codes."""

    def run(print_it: Callable[[], None]) -> str:
        kept = io.StringIO()
        monkeypatch.setenv("FORCE_COLOR", "1" if request.param else "")
        for one in (terminal.out, terminal.err):
            monkeypatch.setattr(one, "_color_system", None)
            monkeypatch.setattr(one, "_file", kept)
        monkeypatch.setattr(sys, "stdout", kept)
        monkeypatch.setattr(sys, "stderr", kept)
        monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
        print_it()
        return re.sub(r"\x1b\[[0-9;]*m", "", kept.getvalue())

    return run


def fails() -> None:
    with pytest.raises(typer.Exit):
        console.fail(HOSTILE)


def fails_by_error() -> None:
    async def main() -> None:
        raise NotConnected(HOSTILE, HOSTILE, remedy=HOSTILE)

    with pytest.raises(typer.Exit):
        console.execute(main())


def asks() -> None:
    with pytest.raises(typer.Abort):
        console.confirm(HOSTILE)


PRINTS: dict[str, Callable[[], None]] = {
    "fail": fails,
    "a question": asks,
    "an error": fails_by_error,
    "JSON": lambda: console.print_json({"before": [HOSTILE], HOSTILE: 1}),
    "rows": lambda: terminal.print_rows(["a", "b"], [[safe(HOSTILE), HOSTILE]]),
}


@pytest.mark.parametrize("name", PRINTS)
def test_no_command_prints_a_control_or_a_login(printed, name: str):
    text = printed(PRINTS[name])
    assert is_clean(re.sub(r"\s+", " ", text), keep=" ")


def test_the_demonstration_shows_the_logs_of_its_nodes_cleanly(printed, tmp_path: Path):
    worker = Worker("node [a", tmp_path)
    worker.log.write_bytes(HOSTILE.encode(errors="backslashreplace"))
    shown = Demonstration([], paced=False, nats=False, console=terminal.out)
    text = printed(lambda: shown._show_logs([worker]))
    assert is_clean(re.sub(r"\s+", " ", text), keep=" ")


def test_whatever_is_printed_by_rich_is_visible(printed):
    """The texts that no command had escaped by itself."""
    table = Table("x")
    table.add_row(Text(CONTROLS))
    branch = Tree("t")
    branch.add(Text(CONTROLS))

    def all_of_it() -> None:
        for each in (table, branch, Text(CONTROLS), escape(CONTROLS)):
            terminal.out.print(each)
            terminal.err.print(each, markup=False)

    text = printed(all_of_it)
    assert {c for c in text if not c.isprintable()} <= {"\n"}


def test_data_that_was_asked_for_keeps_its_urls_and_its_value(printed):
    text = printed(lambda: console.print_json({"x": HOSTILE}, data=True))
    assert {c for c in text if not c.isprintable()} <= {"\n"}
    assert json.loads(text) == {"x": sendable(HOSTILE)}


@pytest.mark.parametrize("slip", [f"nats://{'x' * 200_000}", "://@" * 50_000, "a://" * 50_000])
def test_a_long_text_costs_linear_time(slip: str):
    """A square of its length would be minutes, and end by the test's time limit."""
    assert without_logins(f"{slip}@").endswith("***@") or "@" not in slip


def test_escaping_twice_changes_nothing():
    assert visible(visible(HOSTILE)) == visible(HOSTILE)
    assert safe(safe(HOSTILE)) == safe(HOSTILE)
    document = json.dumps(HOSTILE, ensure_ascii=False)
    assert visible_json(visible_json(document)) == visible_json(document)
    assert json.loads(visible_json(document)) == HOSTILE


def test_a_text_with_line_ends_makes_no_record_of_its_own():
    assert safe_lines("a\nERROR forged\r\nb").splitlines() == ["a", "    ERROR forged\\r", "    b"]


@pytest.mark.parametrize("url", URLS)
def test_what_is_no_secret_stays(url: str):
    shown = without_logins(f"no route to {url} today")
    assert "hunter2" not in shown
    assert shown.startswith("no route to ")
    assert shown.endswith(" today")
    for plain_text in ("mail a@b.c", "https://h/x?y=1", "nats://h:1,h:2", "a@b at nats://h"):
        assert without_logins(plain_text) == plain_text


async def test_what_a_node_tells_others_of_a_crash_is_clean():
    class Crashing(Actor):
        @receives(str)
        def crash(self, message: str) -> None:
            raise Told(HOSTILE)

    async with Node.embedded() as node:
        await node.start(Supervisor.of(child(Crashing, restart="temporary", significant=False)))
        (actor,) = [each for each in node.system.actors() if each.actor_class is Crashing]
        crashed = asyncio.Event()
        node.on_event(lambda event: crashed.set() if event.NAME == "actor.crashed" else None)
        actor.tell("go")
        await crashed.wait()
        told = json.dumps(node.tree(), ensure_ascii=False)
    assert {c for c in told if not c.isprintable()} == set()
    assert "hunter2" not in told
