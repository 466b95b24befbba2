"""Commands that are imported when they are called, so that `irismq --help` is quick.

A table says for each command where it stands and what its line in the help is;
the help and the completion of names are made from the table alone. Running a
command, its own help and the completion of its options import its module.
The lines of the table are the first lines of the docstrings: a test compares them.

Help is plain text: to draw it in boxes takes rich, and longer than all the rest of it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import typer
import typer.core
import typer.main

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DeferredCommand", "DeferredGroup", "command_group"]


class WholeLineGroup(typer.core.TyperGroup):
    """A group in whose help the line of a command is whole, however long."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands below the options; click cuts what does not fit its line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(sys.maxsize))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def command_group(help_line: str) -> typer.Typer:
    """Return what the commands of a group are added to; called without one it shows its help."""
    return typer.Typer(
        help=help_line,
        cls=WholeLineGroup,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
    )


class DeferredCommand(typer.core.TyperCommand):
    """The name and the help line of a command; `load` gives the command itself."""

    def __init__(self, name: str, target: str, help_line: str) -> None:
        super().__init__(name, help=help_line)
        self.target = target

    def load(self) -> Any:
        """Import `target` ("module:function", or a whole `typer.Typer`) and make the command."""
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception:
            _explain_names()
            raise
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(self.name)(found)
            found = app
        command = typer.main.get_command(found)
        command.name = self.name
        return command


def _explain_names() -> None:
    """End with a line for each of our packages whose name leads elsewhere, if any does.

    A file `actors.py`, or PyPI's unrelated `actors`, makes every command fail with an
    error that says nothing of it.
    """
    from irismq_runtime.cli import codes
    from irismq_runtime.cli.doctor.judgement import judge_names
    from irismq_runtime.cli.doctor.machine import look_at_names
    from irismq_runtime.cli.server_identification import Level
    from irismq_runtime.safe_text import safe

    bad = [finding for finding in judge_names(look_at_names()) if finding.level is Level.BAD]
    for finding in bad:
        sys.stderr.write(f"irismq: {safe(finding.line)}\n")
    if bad:
        raise SystemExit(codes.USAGE)


class DeferredGroup(WholeLineGroup):
    """A group whose commands stand in `table`: name -> (target, help line)."""

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, (target, line) in self.table.items():
            self.add_command(DeferredCommand(name, target, line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and its arguments; the command is loaded here."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, DeferredCommand) else command, rest

    def load_all(self) -> None:
        """Put the commands themselves in the places of their lines."""
        for name, command in list(self.commands.items()):
            if isinstance(command, DeferredCommand):
                self.commands[name] = command.load()
