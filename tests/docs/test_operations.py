"""The tables of docs/operations.md say what the code does."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import importlib
import inspect
import pathlib
import re
import typing
from typing import Any

import pytest
import typer

import irismq_runtime.embedded.nsqd  # read from disk before a loop runs
import irismq_runtime.mailbox
import irismq_runtime.wire
from actors import Actor, Refused, System
from actors.exits import ExitReason
from irismq_runtime import Entity, Node, NodeConfig, pyiris
from irismq_runtime.cli import codes
from irismq_runtime.cli.main import app
from irismq_runtime.node import shutdown
from irismq_runtime.node.binding.binder import DOWN, DRAINING
from supervisors import Supervisor
from supervisors.reports import TEMPLATES
from tests.support.walk import walked

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SUPERVISORS = (ROOT / "docs" / "guide" / "supervisors.md").read_text()

OWNERS: dict[str, Any] = {
    "NodeConfig": NodeConfig,
    "MailboxConfig": irismq_runtime.mailbox.MailboxConfig,
    "wire.WireLimits": irismq_runtime.wire.WireLimits,
    "pyiris.Options": pyiris.Options,
    "pyiris.Backoff": pyiris.Backoff,
    "pyiris.Limits": pyiris.Limits,
    "System": System,
    "Actor": Actor,
    "Supervisor": Supervisor,
}
UNITS = {
    "": 1,
    "ms": 0.001,
    "s": 1,
    "min": 60,
    "h": 3600,
    "KiB": 1024,
    "MiB": 1024 * 1024,
}
WORDS = {"empty": "", "none": None, "on": True, "off": False}


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose header row begins with `heading`, backticks kept."""
    found: list[list[str]] = []
    for table in re.findall(
        rf"^\| {re.escape(heading)} \|.*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE
    ):
        for line in table.splitlines():
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def section(heading: str) -> str:
    """The text below a heading of the page, up to the next one of its level."""
    match = re.search(
        rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert match is not None, heading
    return match.group(2)


LIMITS = [
    (cells[0].strip("`"), cells[1])
    for heading in ("option", "limit")
    for cells in rows(section("Limits and defaults"), heading)
]


def number(text: str) -> float:
    match = re.fullmatch(r"([\d,.]+) ?(\w*)", text)
    assert match is not None, text
    return float(match.group(1).replace(",", "")) * UNITS[match.group(2)]


def default_of(name: str) -> Any:
    owner, _, field = name.rpartition(".")
    if owner == "System":
        return inspect.signature(System).parameters[field].default
    if (known := OWNERS.get(owner)) is None:
        root = (
            owner if owner.split(".")[0] in {"actors", "supervisors"} else f"irismq_runtime.{owner}"
        )
        return getattr(importlib.import_module(root), field)
    if dataclasses.is_dataclass(known):
        return next(f.default for f in dataclasses.fields(known) if f.name == field)
    return getattr(known, field)


@walked(("name", "said"), LIMITS)
def test_a_limit_is_what_the_code_says(name: str, said: str) -> None:
    default = default_of(name)
    if isinstance(default, pyiris.Allowance):
        count, size = said.split(" and ")
        assert (number(count), number(size)) == (default.count, default.size)
    elif said in WORDS:
        assert default is WORDS[said]
    else:
        assert number(said) == pytest.approx(default)


@pytest.mark.parametrize(
    "owner", [name for name, kind in OWNERS.items() if dataclasses.is_dataclass(kind)]
)
def test_every_number_has_a_row(owner: str) -> None:
    numbers = {
        f"{owner}.{field.name}"
        for field in dataclasses.fields(OWNERS[owner])
        if isinstance(field.default, int | float | pyiris.Allowance)
    }
    assert numbers - {name for name, _ in LIMITS} == set()


def test_the_phases_of_the_end_have_the_limits_of_the_code() -> None:
    said = [cells[2] for cells in rows(section("Signals and the end"), "phase")]
    short, long = shutdown.SHORT, shutdown.SHORT + shutdown.GRACE
    drain = f"drain + {shutdown.GRACE:g} s"
    assert said == [
        f"{short:g} s",
        drain,
        f"{long:g} s",
        drain,
        drain,
        f"{long:g} s",
        f"{long:g} s",
    ]
    fixed = short + 3 * long + 3 * shutdown.GRACE
    assert f"{fixed + 3 * NodeConfig().drain:g} s by default" in section("Signals and the end")
    recommended = re.search(
        r"kills after (\d+) s.*?`--drain (\d+)`", section("Signals and the end")
    )
    assert recommended is not None
    assert fixed - long + 3 * int(recommended.group(2)) <= int(recommended.group(1))


def test_exit_codes() -> None:
    said = {int(cells[0]) for cells in rows(PAGE, "code")}
    assert said == {getattr(codes, name) for name in codes.__all__}


COMMANDS: Any = typer.main.get_command(app)
COMMANDS.load_all()


def test_commands() -> None:
    said = {re.search(r"irismq ([\w-]+)", cells[0]).group(1) for cells in rows(PAGE, "command")}  # type: ignore[union-attr]  # else it fails
    assert said == set(COMMANDS.commands)


def test_options_of_run() -> None:
    said = {
        cells[0].strip("`"): (cells[1].strip("`") or None, cells[2].strip("`"))
        for cells in rows(section("The command line"), "option")
    }
    real = {}
    for option in COMMANDS.commands["run"].params:
        if option.param_type_name == "option" and option.name != "help":
            default = option.default
            shown = ",".join(default) if isinstance(default, list) else default
            variable = option.envvar
            real[option.opts[0]] = (
                variable[0] if isinstance(variable, list) else variable,
                "" if shown in {None, False} else str(shown),
            )
    assert said == real


def _variables(command: Any) -> set[str]:
    found = {option.envvar for option in command.params if option.envvar}
    for below in getattr(command, "commands", {}).values():
        found |= _variables(below)
    return found


def test_every_environment_variable_is_named() -> None:
    read = set(
        re.findall(r'environ\.get\("(\w+)"', (ROOT / "irismq_runtime/cli/options.py").read_text())
    )
    assert _variables(COMMANDS) | read <= set(re.findall(r"`(IRISMQ_\w+)`", PAGE))


def _emitted() -> set[str]:
    """The names of events that the code emits, as far as they stand there in words."""
    found: set[str] = set()
    for package in ("actors", "supervisors", "irismq_runtime"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {
                    "emit",
                    "_emit",
                    "_tell",
                }:
                    found |= {
                        argument.value
                        for argument in node.args[:1]
                        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                    }
    return found


def test_events() -> None:
    trees = (ROOT / "docs/guide/trees.md").read_text()
    system = (ROOT / "docs/guide/system.md").read_text()
    said = {cells[0].strip("`") for text in (PAGE, system, trees) for cells in rows(text, "event")}
    made = {"presence.joined", "presence.left"}
    made |= {f"supervisor.{event}" for event in _report_events()}
    assert said == _emitted() | made


def _report_events() -> set[str]:
    return set(TEMPLATES)


def test_exit_reasons() -> None:
    reasons = set(typing.get_args(ExitReason))
    failure = (ROOT / "docs/guide/failure.md").read_text()
    for text in (SUPERVISORS, failure):
        assert {
            cells[0].strip("`").split("`")[0] for cells in rows(text, "`Exit.reason`")
        } == reasons


async def test_metrics_and_health() -> None:
    class Bound(Actor):
        address = "ops.bound"

    class Keyed(Entity):
        address = "ops.keyed"
        shards = 1

    async with Node.embedded(name="ops", drain=0.5, store="memory:") as node:
        ref = await node.start(Bound)
        await node.start(Keyed)
        with contextlib.suppress(Refused):
            await node.ref("ops.bound").ask(1)
        ref.tell("nobody handles this")
        while not node.system.dead_letters.total:
            await asyncio.sleep(0)
        named = re.findall(r"^(irismq_\w+)", node.metrics(), re.MULTILINE)
        metrics = {re.sub("_(bucket|count|sum)$", "", name) for name in named}
        checks = {check.name.split()[0] for check in node.health().checks}
    said = {name for cells in rows(PAGE, "metric") for name in re.findall(r"`(\w+)`", cells[0])}
    assert said == metrics
    assert {cells[0].strip("`").split()[0] for cells in rows(PAGE, "check")} == checks | {
        "draining",
        "directory",
    }


def _said(function: ast.FunctionDef) -> list[str]:
    """The texts that a function returns, with N for what is filled in."""
    texts = []
    for node in ast.walk(function):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "N" for v in node.values]
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    doc = ast.get_docstring(function, clean=False)
    return [text for text in texts if text != doc]


def test_every_reason_of_a_consumer_is_in_the_table():
    """149."""
    table = rows(PAGE, "reason | ready")
    listed = [row[0].strip("`").replace("HOST:PORT", "N").replace("...", "N") for row in table]
    said = []
    for module in ("consumer", "rdy"):
        tree = ast.parse((ROOT / f"irismq_runtime/mailbox/consume/{module}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.lstrip("_").startswith("why_"):
                said += _said(node)
    whole = [text for text in said if len(text.strip("; N")) > 3]  # not what joins two
    assert len(whole) >= 6
    for text in whole:
        start = text.partition(" N")[0].partition(",")[0]
        assert any(start in reason or reason.startswith(start) for reason in listed), text
    for holder in (DOWN, DRAINING, "full"):
        assert f"paused: {holder}" in listed
