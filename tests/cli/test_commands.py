"""The table of commands: its lines, and what the help imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from irismq_runtime.cli import codes, runner
from irismq_runtime.cli.main import Commands, app
from irismq_runtime.errors import ConfigError
from irismq_runtime.node import EXIT_FORCED, EXIT_GAVE_UP

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
GROUP: Any = typer.main.get_command(app)


@pytest.mark.parametrize("name", Commands.table)
def test_a_line_of_the_table_is_the_first_of_the_docstring(name: str) -> None:
    command = GROUP.commands[name].load()
    assert command.help.split("\n\n")[0] == Commands.table[name][1]
    assert command.name == name


def imported_by(*arguments: str) -> set[str]:
    """The modules that a run of the command line has imported at its end."""
    program = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: sys.stderr.write(json.dumps(sorted(sys.modules))))\n"
        "from irismq_runtime.cli.main import main\n"
        f"sys.argv = ['irismq', *{arguments!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "Usage" in done.stdout
    return set(json.loads(done.stderr))


def test_the_help_imports_no_command_and_nothing_heavy() -> None:
    modules = imported_by("--help")
    heavy = {"asyncio", "textual", "tornado", "nsq", "opentelemetry", "msgpack", "pykka", "uvloop"}
    heavy |= {"rich", "pydantic"}
    assert modules & heavy == set()
    assert {name for name in modules if name.startswith("irismq_runtime.")} == {
        "irismq_runtime.cli",
        "irismq_runtime.cli.deferred",
        "irismq_runtime.cli.main",
        "irismq_runtime.cli.streams",
        "irismq_runtime.version",
    }


def test_textual_is_imported_in_one_module() -> None:
    root = Path(__file__).parents[2] / "irismq_runtime"
    importers = [path for path in root.rglob("*.py") if "import textual" in path.read_text()]
    importers += [path for path in root.rglob("*.py") if "from textual" in path.read_text()]
    assert [str(path.relative_to(root)) for path in importers] == ["cli/top/screen.py"]


def test_codes_are_those_of_the_node() -> None:
    assert (codes.GAVE_UP, codes.FORCED) == (EXIT_GAVE_UP, EXIT_FORCED)


def test_completing_an_address_and_help_import_no_node_and_no_rich() -> None:
    modules = imported_by("ask", "--help")
    heavy = {"textual", "tornado", "nsq", "opentelemetry", "irismq_runtime.node", "rich"}
    assert modules & heavy == set()


def test_a_node_is_imported_without_what_serves_pages() -> None:
    program = "import sys; from irismq_runtime import Node; print('tornado.web' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_the_help_has_the_whole_line_of_each_command() -> None:
    context = typer.Context(GROUP, info_name="irismq")
    text = " ".join(GROUP.get_help(context).split())
    for line in (line for _, line in Commands.table.values()):
        assert line in text


def test_run_hands_the_interval_of_the_directory_to_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def make_node(**options: Any) -> None:
        given.update(options)
        raise ConfigError("lookupd", "seen")

    monkeypatch.setattr(runner, "make_node", make_node)
    run = ["run", "tests.integration.service:Shop", "--lookup-interval", "2.5"]
    assert "seen" in CliRunner().invoke(app, run).output
    assert given["mailbox_options"]["lookup_interval"] == 2.5


def test_an_interval_without_meaning_is_refused_by_its_name() -> None:
    run = ["run", "tests.integration.service:Shop", "--lookup-interval", "0"]
    told = CliRunner().invoke(app, run)
    assert told.exit_code == codes.USAGE
    assert "lookup_interval: 0.0 is not a finite number of seconds" in told.output
