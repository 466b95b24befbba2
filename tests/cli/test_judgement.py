"""What is said of a machine and of strangers' bytes, from plain facts."""

from __future__ import annotations

import email.utils
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.cli import codes
from irismq_runtime.cli.doctor.command import exit_code
from irismq_runtime.cli.doctor.directory import producers_untrusted
from irismq_runtime.cli.doctor.judgement import judge_machine
from irismq_runtime.cli.doctor.machine import Machine
from irismq_runtime.cli.server_identification import (
    Finding,
    Level,
    Openings,
    ServerIdentity,
    ServerKind,
    judge,
    judge_clock,
    recognize_untrusted,
)
from irismq_runtime.config import Endpoint
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import RELAY_MAGIC, Deny, RelayInit

WELL: dict[str, Any] = {
    "python": "3.11.7",
    "home": "/site",
    "origins": {"actors": "/site/actors/__init__.py"},
    "versions": {"uvloop": "0.21", "msgpack": "1.1", "nats-py": "2.9"},
    "loop": "uvloop.loop",
    "msgpack": "msgpack._cmsgpack",
    "open_files": (65536, 65536),
}


def findings(*, nats: bool = False, **changes: Any) -> dict[str, Finding]:
    found = judge_machine(Machine(**{**WELL, **changes}), nats=nats)
    assert len({finding.line for finding in found}) == len(found)
    assert all("\n" not in finding.line for finding in found)
    return {finding.about: finding for finding in found}


def test_a_machine_without_faults() -> None:
    assert {finding.level for finding in findings(nats=True).values()} == {Level.OK}


@pytest.mark.parametrize(
    ("changes", "about", "level", "words"),
    [
        ({"origins": {"actors": None}}, "actors", Level.BAD, "cannot be found"),
        ({"origins": {"actors": "/app/actors.py"}}, "actors", Level.BAD, "which is not ours"),
        ({"origins": {"actors": "/sites/actors.py"}}, "actors", Level.BAD, "/sites/actors.py"),
        ({"claimed": {"actors": ("actors",)}}, "actors", Level.BAD, "pip uninstall actors"),
        ({"claimed": {"pyiris": ("pyiris",)}}, "pyiris", Level.NOTE, "irismq_runtime.pyiris"),
        ({"local": ("/app/actors/__init__.py",)}, "actors", Level.WARN, "hides our package actors"),
        ({"loop": "asyncio.unix_events"}, "uvloop", Level.WARN, "is installed, but"),
        ({"loop": "asyncio", "versions": {}}, "uvloop", Level.WARN, "is not installed"),
        ({"msgpack": "msgpack.fallback"}, "msgpack", Level.WARN, "without its C part"),
        ({"open_files": (256, 4096)}, "files", Level.WARN, "ulimit -n 4096"),
        ({"open_files": (1024, 2048)}, "files", Level.NOTE, "raise the hard limit"),
        ({"open_files": (1024, -1)}, "files", Level.NOTE, "ulimit -n"),
        ({"open_files": (-1, -1)}, "files", Level.OK, "not limited"),
        ({"open_files": (4096, 4096)}, "files", Level.OK, "4,096 files"),
        ({"versions": {}}, "nats-py", Level.BAD, "irismq-runtime[nats]"),
        ({"environment": {"IRISMQ_IRIS": "a:1"}}, "IRISMQ_IRIS", Level.WARN, "_ADDRESS"),
    ],
)
def test_a_fault_is_one_finding(changes: Any, about: str, level: Level, words: str) -> None:
    found = findings(nats=True, **changes)
    assert found[about].level is level
    assert words in found[about].line


def test_a_program_named_for_the_tests_is_no_fault() -> None:
    assert "IRISMQ_NSQD" not in findings(environment={"IRISMQ_NSQD": "/usr/local/bin/nsqd"})


def test_a_file_that_shadows_already_is_named_once() -> None:
    path = "/app/actors.py"
    found = judge_machine(Machine(**{**WELL, "origins": {"actors": path}, "local": (path,)}))
    assert sum(path in finding.line for finding in found) == 1


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ([], codes.OK),
        ([(Level.NOTE, "server")], codes.OK),
        ([(Level.WARN, "server")], codes.FAILED),
        ([(Level.WARN, "server"), (Level.BAD, "installation")], codes.USAGE),
        ([(Level.BAD, "installation"), (Level.BAD, "server")], codes.UNREACHABLE),
    ],
)
def test_the_exit_code_is_that_of_the_worst(kinds: Any, code: int) -> None:
    assert exit_code([Finding(level, "x", "x", kind=kind) for level, kind in kinds]) == code


def http(body: str, *, date: float | None = None) -> bytes:
    stamp = "" if date is None else f"Date: {email.utils.formatdate(date, usegmt=True)}\r\n"
    return f"HTTP/1.1 200 OK\r\n{stamp}\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        (
            Openings(nsq=b'\0\0\0\x40\0\0\0\0{"max_rdy_count":2500,"version":"1.3.0"}'),
            ServerIdentity(ServerKind.NSQD, version="1.3.0"),
        ),
        (
            Openings(iris=encode_packet(RelayInit(RELAY_MAGIC, "v1.0-draft2"))),
            ServerIdentity(ServerKind.IRIS, version="v1.0-draft2"),
        ),
        (
            Openings(iris=encode_packet(Deny(RELAY_MAGIC, "v1.0 is too new"))),
            ServerIdentity(ServerKind.IRIS, "that it refuses: v1.0 is too new"),
        ),
        (
            Openings(ping=http("OK"), info=http('{"version":"1.3.0","tcp_port":4150}')),
            ServerIdentity(ServerKind.NSQD_HTTP, version="1.3.0"),
        ),
        (
            Openings(ping=http("OK"), info=http('{"version":"1.2.1"}')),
            ServerIdentity(ServerKind.LOOKUPD, version="1.2.1"),
        ),
        (Openings(ping=http("OK")), ServerIdentity(ServerKind.NSQD_HTTP)),
        (
            Openings(ping=http("OK"), info=b"HTTP/1.0 404 Not Found\r\n\r\nno such page"),
            ServerIdentity(ServerKind.HTTP, first="HTTP/1.1 200 OK"),
        ),
        (Openings(ping=http("hello")), ServerIdentity(ServerKind.HTTP, first="HTTP/1.1 200 OK")),
        (Openings(nsq=b"\0\0\0\x0eE_BAD_PROTOCOL"), ServerIdentity(ServerKind.LOOKUPD_TCP)),
        (Openings(ping=b"\0\0\0\x12\0\0\0\x01E_BAD_PROTOCOL"), ServerIdentity(ServerKind.NSQD)),
        (Openings(nsq=b'INFO {"version":"2.10"}'), ServerIdentity(ServerKind.NATS, version="2.10")),
        (Openings(), ServerIdentity(ServerKind.SILENT)),
        (Openings(iris=b"-ERR\x1b[2J"), ServerIdentity(ServerKind.OTHER, first=r"'-ERR\x1b[2J'")),
    ],
)
def test_who_answers(answers: Openings, answer: ServerIdentity) -> None:
    assert recognize_untrusted(answers) == answer


@given(st.builds(Openings, *[st.binary(max_size=80)] * 4))
def test_any_bytes_make_one_printable_line(answers: Openings) -> None:
    for role in (ServerKind.NSQD, ServerKind.IRIS):
        line = judge(role, "a:1", recognize_untrusted(answers)).line
        assert line.isprintable()
        assert line.isascii()


@given(st.binary(max_size=60))
def test_any_date_is_a_clock_or_none(date: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nDate: " + date + b"\r\n\r\nOK"
    recognize_untrusted(Openings(ping=answer))


@pytest.mark.parametrize(
    ("told", "took", "level", "words"),
    [
        (0, 0.0, Level.OK, "agrees with ours"),
        (2, 0.0, Level.OK, "agrees with ours"),
        (60, 0.0, Level.WARN, "is 60 s ahead of ours"),
        (-7200, 0.0, Level.WARN, "is 7,200 s behind ours"),
        (0, 300.0, Level.OK, "agrees with ours"),  # the answer was slow, the clock is right
        (300, 300.0, Level.OK, "agrees with ours"),
        (310, 300.0, Level.WARN, "is 10 s ahead of ours"),
        (-10, 300.0, Level.WARN, "is 10 s behind ours"),
    ],
)
def test_a_clock(told: int, took: float, level: Level, words: str) -> None:
    asked = 1_700_000_000.5
    date = http("OK", date=int(asked) + told)
    answers = Openings(ping=date, asked=asked, answered=asked + took)
    finding = judge_clock("a:1", recognize_untrusted(answers))
    assert finding is not None
    assert (finding.level, words in finding.line) == (level, True), finding.line


def test_a_server_that_tells_no_time_is_not_judged_by_it() -> None:
    assert judge_clock("a:1", recognize_untrusted(Openings(ping=http("OK")))) is None


@pytest.mark.parametrize(
    "listing", [None, [], {}, {"producers": 3}, {"producers": [None, {}, {"tcp_port": "x"}]}]
)
def test_a_directory_may_say_anything(listing: Any) -> None:
    assert producers_untrusted(listing) == []


def test_a_directory_lists_each_broker_once() -> None:
    entry = {"broadcast_address": "b1", "tcp_port": 4150}
    assert producers_untrusted({"producers": [entry, entry]}) == [Endpoint("b1", 4150)]
