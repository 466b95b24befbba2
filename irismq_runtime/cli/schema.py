"""`irismq schema lock|check|export`: the types, for those who read them.

`lock` and `check`: are they still those that others and the store know?
The types are those that `@message` has registered once the tree and the modules named
are imported. The lock is a file that is kept with the code; `check` compares with it, or
with the one of a revision of git, and ends with 1 where something breaks.
"""

from __future__ import annotations

import subprocess
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import fail, print_json, remark, verdict
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.options import Imports, import_modules
from irismq_runtime.cli.service_classes import actor_classes, classes_of
from irismq_runtime.cli.terminal import out
from irismq_runtime.errors import ConfigError
from irismq_runtime.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irismq_runtime.schema import Schema

__all__ = ["app"]

app = command_group(
    "Keep the types of messages and states readable by what runs and what is stored."
)


class Form(StrEnum):
    """What `export` writes."""

    ASYNCAPI = "asyncapi"
    JSON_SCHEMA = "json-schema"


_T = TypeVar("_T")
_LOCK: Final = "messages.lock.json"
#: What the types of a service are known by.
Modules = Annotated[
    list[str], typer.Argument(help="Modules whose types are meant, as shop.service.")
]


@app.command("lock")
def lock(
    modules: Modules,
    imports: Imports = [],
    file: Annotated[Path, typer.Option("--file", help="Where the lock is written.")] = Path(_LOCK),
) -> None:
    """Write the lock: every registered type with its fields, their types and defaults.

    Example: `irismq schema lock shop.service`
    """

    def write() -> int:
        schema = _schema_of(modules, imports)
        file.write_text(schema.to_json(), encoding="utf-8")
        return len(schema.types)

    count = _told("--file", write)
    remark(f"{file}: {count} types")


@app.command("export")
def export(
    modules: Annotated[
        list[str],
        typer.Argument(help="What is described: MODULE:TREE, MODULE:CLASS, or a whole MODULE."),
    ],
    form: Annotated[Form, typer.Option("--format", help="What is written.")] = Form.ASYNCAPI,
    title: Annotated[str, typer.Option("--title", help="The name of the service.")] = "",
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Where it is written.", show_default="standard output"),
    ] = None,
) -> None:
    """Write the addresses, messages, answers and topics of a service as AsyncAPI or JSON Schema.

    Example: `irismq schema export shop.service:Tree --file asyncapi.json`
    """
    from irismq_runtime.schema import Title, asyncapi, contract_of, json_schema, version_of

    def describe() -> dict[str, Any]:
        classes = classes_of(modules)
        contracts = [found for each in classes if (found := contract_of(each)) is not None]
        if not contracts:
            problem = "no class there has an address or subscribes to a topic"
            raise ConfigError("MODULES", problem, "name the tree of a service, or its module")
        of = Title(title or modules[0], version_of(contracts[0].actor_class))
        return (asyncapi if form is Form.ASYNCAPI else json_schema)(contracts, of)

    document = _told("--file", describe)
    if file is None:
        print_json(document)
        return
    text = f"{json_text(document, indent=2)}\n"
    _told("--file", lambda: file.write_text(text, encoding="utf-8"))
    remark(f"{file}: {form}")


@app.command("check")
def check(
    modules: Modules,
    imports: Imports = [],
    against: Annotated[
        str,
        typer.Option("--against", metavar="FILE|git:REV", help="The lock to compare with."),
    ] = _LOCK,
) -> None:
    """Compare the types with a lock; a line for each break, and code 1 when there is one.

    Example: `irismq schema check shop.service --against git:main`
    """
    from irismq_runtime.schema import breaks_between, read_schema_untrusted

    def compare() -> list[str]:
        new = _schema_of(modules, imports)
        old = read_schema_untrusted(_bytes_of(against), against)
        return [each.line for each in breaks_between(old, new)]

    lines = _told("--against", compare)
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if not lines:
        remark(f"nothing breaks against {against}")
    raise typer.Exit(codes.FAILED if lines else codes.OK)


def _told(option: str, work: Callable[[], _T]) -> _T:
    """Do `work`; a mistake of the caller ends the command with its line.

    `option`: the one that names the file of the work.
    """
    try:
        return work()
    except (ConfigError, OSError) as error:
        if isinstance(error, OSError):
            fail(f"{option}: {error.filename}: {error.strerror}", codes.USAGE)
        found = verdict(error)
        fail(*found if found is not None else (str(error), codes.USAGE))


def _schema_of(modules: list[str], imports: list[str]) -> Schema:
    from actors.messages import message_types
    from irismq_runtime.schema import describe, is_ours

    import_modules(modules, option="MODULES")
    import_modules(imports)
    ours = {name: kind for name, kind in message_types().items() if not is_ours(kind)}
    return describe(ours, set(_states()))


def _states() -> Iterator[type]:
    """The types that durable actors keep, of all classes that are imported by now."""
    for kind in actor_classes():
        state = vars(kind).get("__state_type__")
        if isinstance(state, type):
            yield state


def _bytes_of(against: str) -> bytes:
    """The lock in a file, or in a revision of the repository around this folder."""
    revision = against.removeprefix("git:")
    if revision == against:
        return Path(against).read_bytes()
    if revision.startswith("-"):
        raise ConfigError("--against", f"{revision!r} is no revision", "write git:REVISION")
    asked = subprocess.run(  # noqa: S603  # no shell, and no option in the place of a revision
        ["git", "show", f"{revision}:./{_LOCK}"],  # noqa: S607  # the git of the user
        capture_output=True,
        check=False,
    )
    if asked.returncode:
        said = asked.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise ConfigError("--against", f"git has no {_LOCK} there: {said}", "commit the lock")
    return asked.stdout
