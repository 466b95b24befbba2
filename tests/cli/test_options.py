"""Every option of a command that takes a number is refused by its name, or taken.

174, 175: the options are found by introspection; the user's folder is where things are.
"""

from __future__ import annotations

import asyncio
import os
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.main import app
from tests.integration.processes import irismq
from tests.support.walk import walked

ROOT = typer.main.get_command(app)
#: What a required argument may be; none of it is looked at before the options.
ARGUMENTS = {
    "tree": "actors:Actor",
    "type_name": "-",
    "body": "1",
    "modules": "irismq_runtime.demo.service",
    "verb": "pause",
}
WRONG = ["nan", "inf", "-inf", "10MB", "", "1e400"]


def commands(group: Any, *path: str):
    group = group.load() if hasattr(group, "load") else group
    if hasattr(group, "list_commands"):
        context = group.context_class(group)
        for name in group.list_commands(context):
            yield from commands(group.get_command(context, name), *path, name)
    else:
        yield path, group


def _counts(option: Any) -> bool:
    """Whether what it takes is a number."""
    annotation = option.type_descriptor.annotation
    return bool({annotation, *typing.get_args(annotation)} & {int, float})


NUMBERS = [
    pytest.param(path, command, option, id=f"{' '.join(path)} {option.opts[0]}")
    for path, command in commands(ROOT)
    for option in command.params
    if option.param_type_name == "option" and _counts(option)
]


@pytest.mark.parametrize(("path", "command", "option"), NUMBERS)
@walked("value", WRONG)
def test_a_number_without_meaning_is_refused_by_the_name_of_its_option(
    path, command, option, value, capsys
):
    arguments = [
        ARGUMENTS.get(each.name, "x")
        for each in command.params
        if each.param_type_name == "argument" and each.required
    ]
    with pytest.raises(SystemExit) as ended:
        command.main([*arguments, f"{option.opts[0]}={value}"], prog_name="irismq")
    said = "".join(capsys.readouterr())
    assert ended.value.code == codes.USAGE, said
    assert option.opts[0].lstrip("-").replace("-", "_") in said.replace("-", "_")
    assert "Traceback" not in said


def test_every_command_that_lists_has_an_array_and_an_object_a_line():
    options = {
        " ".join(path): {each.opts[0] for each in command.params}
        for path, command in commands(ROOT)
    }
    lists = {name for name, of in options.items() if "--ndjson" in of}
    assert lists == {
        *("dead list", "outbox list", "schedule list", "entity list", "entity shards"),
        *("mailbox", "topic", "tree"),
    }
    assert {name for name in lists if "--json" not in options[name]} == set()
    assert {name for name in options if name.endswith(" list")} <= lists


async def _run(folder, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import actors, supervisors; from irismq_runtime.cli.main import main; main()",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONSAFEPATH": "1", "COLUMNS": "200"},
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("name", ["actors", "supervisors"])
async def test_a_package_of_ones_own_with_a_name_of_ours_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("class Tree: pass\n")
    code, output = await _run(tmp_path, "run", f"{name}:Tree", "--embedded")
    assert code == codes.USAGE
    assert str(tmp_path / name) in output
    assert "has the name of a package of irismq" in output


async def test_a_module_may_run_a_loop_and_leave_its_folder_while_it_is_imported(tmp_path):
    (tmp_path / "later.py").write_text("raise ValueError('found in its old folder')\n")
    (tmp_path / "mine.py").write_text(
        "import asyncio, os\n"
        "from actors import Actor\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "class Tree(Actor):\n"
        "    def on_start(self):\n"
        "        os.chdir('/')\n"
        "        import later\n"
    )
    code, output = await _run(tmp_path, "run", "mine:Tree", "--embedded")
    assert code == codes.FAILED
    assert "found in its old folder" in output
    assert "error of irismq itself" not in output


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("doctor", "--timeout", "2"), codes.UNREACHABLE),
        (("check", "--timeout", "2"), codes.UNREACHABLE),
        (("run", "mine:Tree", "--embedded"), codes.USAGE),
        (("ask", "shop", "t.job", "{}", "--import", "mine"), codes.USAGE),
        (("new", "shop"), codes.FAILED),
        (("--help",), codes.OK),
    ],
)
async def test_in_a_folder_that_was_removed_a_command_says_what_is_so(
    command: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), sys.executable, "-P", "-m"),
        *("irismq_runtime.cli", *command),
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "IRISMQ_NSQD_ADDRESS": "127.0.0.1:1",
            "IRISMQ_NSQD_HTTP_ADDRESS": "127.0.0.1:1",
            "IRISMQ_IRIS_ADDRESS": "127.0.0.1:1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    output = out.decode()
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert "error of irismq itself" not in output


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IRISMQ_SIGNATURE_WINDOW", "10MB"),
        ("IRISMQ_OLD_SIGNATURES_UNTIL", "2026-12-24T00:00:00"),
        ("IRISMQ_KEYS", "zz"),
        ("IRISMQ_KEYS", "a=00"),
    ],
)
@pytest.mark.parametrize(
    "command", [("dead", "replay", "shop", "--all"), ("ask", "shop", "t.job", "{}")]
)
async def test_a_variable_without_meaning_is_said_by_its_name(
    variable: str, value: str, command: tuple[str, ...]
) -> None:
    code, out, said = await irismq(*command, "--nsqd", "127.0.0.1:1", **{variable: value})
    assert (code, out) == (codes.USAGE, ""), said
    assert said.startswith("irismq: ")
    assert variable in said or "keys" in said
    assert "zz" not in said
    assert "Traceback" not in said
