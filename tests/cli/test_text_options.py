"""Every text that a command takes is refused by the name of its option, or is put to use.

174: options and arguments are found by introspection. Nothing leaves this process: where
a command would connect or listen, it has taken what it was given, and is ended. One test
tries every value, and says of which ones it does not hold.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sqlite3
import ssl
import typing
from pathlib import Path
from typing import Any

import pytest

from actors import messages
from irismq_runtime import loop
from irismq_runtime.cli import codes, schema
from irismq_runtime.durability import shards_state
from irismq_runtime.stores.sqlite import statements
from tests.cli.test_options import ARGUMENTS, ROOT, commands

#: None of it is a place, a file or a name; a shell can give all of it.
NONSENSE = [
    "",
    "\udcff",  # a byte that is no UTF-8
    "nats://joe:hunter2@",
    "host:99999",
    "no/such/file",
    "x" * 5000,
]


#: What a command wants besides, before it looks at any other option.
_STORE = "--store=sqlite:///there.db"
MORE = {
    ("dead", "replay"): ["--all"],
    ("dead", "drop"): ["--all"],
    ("store", "accept"): ["--yes"],
    ("topic",): ["--yes"],
    ("schedule", "remove"): ["--yes"],
    ("entity", "end"): ["--yes", _STORE],
    ("entity", "list"): [_STORE],
    ("entity", "move"): [_STORE, "--back", "--wait=0"],
    ("entity", "shards"): [_STORE],
    ("entity", "show"): [_STORE],
    ("outbox", "list"): [_STORE],
    ("outbox", "move"): [_STORE, "--all"],
    ("outbox", "drop"): [_STORE, "--all"],
}
#: How a command ends that has taken its options: well, or at a port, or it goes on.
PUT_TO_USE = {codes.OK, codes.UNREACHABLE, None}


class _Reached(asyncio.SelectorEventLoop):
    """A loop that ends where the world outside begins."""

    async def _end(self, *_: object, **__: object) -> Any:
        self.stop()
        await self.create_future()

    create_connection = create_server = create_unix_connection = getaddrinfo = _end  # type: ignore[assignment]  # whatever they return


def _taken(*_: object) -> None:
    raise OSError(errno.EADDRINUSE, "it is taken")


@pytest.fixture(autouse=True)
def nothing_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loop, "_factory", lambda: _Reached)
    monkeypatch.setattr(socket.socket, "bind", _taken)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)  # it takes long
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("there.db") as connection:
        statements.prepare(connection, "", bytes(16))
        row = ("x", "", bytes(16), shards_state(4), 1)
        connection.execute(
            "INSERT INTO irismq_state (address, key, commit_id, state, version) "
            "VALUES (?, ?, ?, ?, ?)",
            row,
        )
    connection.close()
    # Types and states that other tests have made in this process are of no module that is named.
    monkeypatch.setattr(messages, "message_types", dict)
    monkeypatch.setattr(schema, "actor_classes", list)


def _takes_text(parameter: Any) -> bool:
    annotation = parameter.type_descriptor.annotation
    return bool({annotation, *typing.get_args(annotation)} & {str, Path})


TEXTS = [
    pytest.param(path, command, each, id=f"{' '.join(path)} {each.opts[0]}")
    for path, command in commands(ROOT)
    for each in command.params
    if _takes_text(each)
]


def _line(command: Any, parameter: Any, value: str, more: list[str]) -> list[str]:
    """The arguments up to the one that is meant, all that are required, and `more`."""
    named = [each for each in command.params if each.param_type_name == "argument"]
    last = named.index(parameter) if parameter in named else -1
    arguments = [
        value if each is parameter else ARGUMENTS.get(each.name, "x")
        for place, each in enumerate(named)
        if each.required or place <= last
    ]
    option = [] if parameter in named else [f"{parameter.opts[0]}={value}"]
    others = [each for each in more if each.partition("=")[0] not in parameter.opts]
    return [*option, *others, "--", *arguments]


def _end_of(command: Any, line: list[str]) -> int | None:
    """The code with which a command ends; None when it would have gone on."""
    try:
        command.main(line, prog_name="irismq")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else codes.FAILED
    except RuntimeError as error:
        if "stopped before" not in str(error):
            raise
        return None
    return codes.OK


def _is_named(parameter: Any, said: str) -> bool:
    names = {parameter.opts[0].lstrip("-"), parameter.metavar or parameter.name}
    said = said.replace("-", "_").lower()
    return any(name.replace("-", "_").lower() in said for name in names)


@pytest.mark.parametrize(("path", "command", "parameter"), TEXTS)
def test_a_text_without_meaning_is_refused_by_the_name_of_its_option_or_put_to_use(
    path: tuple[str, ...], command: Any, parameter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: dict[str, str] = {}
    for value in NONSENSE:
        try:
            code = _end_of(command, _line(command, parameter, value, MORE.get(path, [])))
        except Exception as error:  # it would be called an error of irismq itself
            wrong[value[:30]] = repr(error)
            continue
        said = "".join(capsys.readouterr())
        if code not in PUT_TO_USE and not _is_named(parameter, said):
            wrong[value[:30]] = f"{code}: {said}"
    assert wrong == {}
