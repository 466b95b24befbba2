"""Where text leaves the process: found by reading the code, each with what filters it there.

`tests/observe/test_safe_output.py` feeds escapes and passwords to each exit. It can do so
for those it knows of; that there is no other one is seen here. An exit is whatever
writes for people or their programs: the standard streams, a console, a handler of
logging, a page. Connections of protocols are none: what they carry is data.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.architecture.sources import PRODUCT, ROOT, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What prints, wherever it comes from: the dotted name, or the start of it before a `*`.
WRITERS = (
    "print",
    "sys.stdout",
    "sys.stderr",
    "sys.__stdout__",
    "sys.__stderr__",
    "os.write",
    "traceback.print_*",
    "faulthandler.*",
    "logging.*Handler",
    "logging.handlers.*",
    "logging.Formatter",
    "typer.echo",
    "typer.secho",
    "typer.confirm",
    "typer.prompt",
    "click.*",
    "rich.print",
    "rich.print_json",
    "rich.get_console",
    "rich.console.Console",
    "rich.live.Live",
    "rich.progress.Progress",
    "rich.prompt.*",
    "rich.logging.*",
    "tornado.web.RequestHandler",
    "http.server.*",
    "socket.socket",
)
#: The functions that text passes on its way out: see irismq_runtime/safe_text.py.
FILTERS = {"safe", "safe_lines", "visible", "visible_json", "without_logins"}

#: File -> exit -> (how often it stands there, what filters it).
EXITS: dict[str, dict[str, tuple[int, str]]] = {
    "actors/_forked.py": {"sys.stderr": (2, "says the number of a process, and no text")},
    "irismq_runtime/cli/console.py": {
        "sys.stdout": (3, "whether it is a terminal; a document of `visible_json`; its flush"),
        "sys.stderr": (2, "a line that is `visible`, and its flush"),
        "typer.confirm": (1, "a question that is `safe`"),
    },
    "irismq_runtime/cli/foreground.py": {"rich.live.Live": (1, "on the console `out`")},
    "irismq_runtime/cli/main.py": {
        "logging.Formatter": (1, "it is the filter of a log for people"),
        "logging.StreamHandler": (1, "formats by the filter of a log for people"),
        "sys.stderr": (2, "the stream of that handler; an error text of the system"),
        "sys.stdout": (1, "the version of the package"),
    },
    "irismq_runtime/cli/pipe.py": {"os.write": (1, "what tail was asked for: message_format")},
    "irismq_runtime/cli/process_exit.py": {"sys.stdout": (1, "its flush")},
    "irismq_runtime/cli/streams.py": {
        "os.write": (2, "below `sys.stderr`: what was written there"),
        "sys.stdout": (2, "the stream is set up, and forgotten"),
        "sys.stderr": (6, "the stream is set up, flushed and forgotten"),
    },
    "irismq_runtime/cli/terminal.py": {
        "rich.console.Console": (1, "the base of the consoles that make all visible"),
    },
    "irismq_runtime/cli/top/command.py": {
        "sys.stdout": (3, "whether it is a terminal; JSON of the observer, or `safe`; its flush"),
    },
    "irismq_runtime/demo/demonstration.py": {"rich.progress.Progress": (1, "on a console given")},
    "irismq_runtime/cli/workers/notices.py": {"socket.socket": (1, "it is read from alone")},
    "irismq_runtime/embedded/accepting.py": {"socket.socket": (1, "listens")},
    "irismq_runtime/embedded/nsqd/http_api.py": {
        "tornado.web.RequestHandler": (1, "nsqd's API: JSON, names that were checked"),
    },
    "irismq_runtime/embedded/nsqd/server.py": {"socket.socket": (1, "listens")},
    "irismq_runtime/node/process/systemd.py": {"socket.socket": (1, "`safe` in each line")},
    "irismq_runtime/simulation/isolation.py": {"socket.socket": (1, "a simulation refuses it")},
    "irismq_runtime/observe/json_lines.py": {"logging.Formatter": (1, "it is a filter")},
    "irismq_runtime/observe/status_server.py": {
        "tornado.web.RequestHandler": (1, "health and metrics, which are clean when made"),
    },
    "irismq_runtime/observer/handlers.py": {
        "tornado.web.RequestHandler": (1, "`to_json` of the observer, and its own files"),
    },
}


def _names(tree: ast.Module) -> dict[str, str]:
    """What the names that a module imports stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`sys.stdout` of an expression, with the names of imports put in; "" for another."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, names)
        return before and f"{before}.{node.attr}"
    return ""


@functools.cache
def _writes(dotted: str) -> bool:
    return any(
        fnmatch.fnmatchcase(dotted, writer) if "*" in writer else dotted == writer
        for writer in WRITERS
    )


def _is_clean(value: ast.expr) -> bool:
    """Whether a text is a constant, or each part of it that is none has passed a filter."""
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in FILTERS
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return value.func.attr == "encode" and _is_clean(value.func.value)
    if isinstance(value, ast.BinOp):
        return _is_clean(value.left) and _is_clean(value.right)
    if isinstance(value, ast.JoinedStr):
        return all(_is_clean(part) for part in value.values)
    return isinstance(value, ast.FormattedValue) and _is_clean(value.value)


def _exits(tree: ast.Module) -> Iterator[str]:
    """The exits in a module but those that are clean where they stand."""
    names = _names(tree)
    left_out: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _is_clean(node.args[-1]):
            name = _dotted(node.func, names)
            if name in {"sys.stdout.write", "sys.stderr.write", "os.write", "print"}:
                left_out.update(ast.walk(node.func))
        for field in ("annotation", "returns"):
            if (note := getattr(node, field, None)) is not None:
                left_out.update(ast.walk(note))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and node not in left_out:
            dotted = _dotted(node, names)
            if _writes(dotted):
                yield dotted


def _found() -> dict[str, Counter[str]]:
    counts = {str(path.relative_to(ROOT)): Counter(_exits(tree_of(path))) for path in PRODUCT}
    return {name: count for name, count in counts.items() if count}


def test_each_exit_is_known_and_says_what_filters_it():
    known = {
        name: {exit_: count for exit_, (count, _) in listed.items()}
        for name, listed in EXITS.items()
    }
    assert _found() == known, (
        "text leaves elsewhere: print by irismq_runtime.cli.console or terminal, or take "
        "it through safe_text; then feed it in tests/observe/test_safe_output.py, list it here"
    )


@pytest.mark.parametrize(
    ("text", "exits"),
    [
        ("print(1 + x)", ["print"]),
        ("print('done')", []),
        ("import sys\nsys.stderr.write(f'{x}\\n')", ["sys.stderr"]),
        ("import sys\nsys.stderr.write(f'irismq: {safe(x)}' + '\\n')", []),
        ("import os\nos.write(2, safe(x).encode())", []),
        ("import os\nos.write(2, x.encode())", ["os.write"]),
        ("from sys import stderr as there\nwrite = there.write", ["sys.stderr"]),
        ("from rich.console import Console\nout = Console()", ["rich.console.Console"]),
        ("from rich.console import Console\ndef f(out: Console) -> None: pass", []),
        ("import traceback\ntraceback.print_exc()", ["traceback.print_exc"]),
        ("import logging as l\nl.FileHandler('x')", ["logging.FileHandler"]),
        ("import typer\nprint_it = typer.echo", ["typer.echo"]),
        (
            "from tornado import web\nclass Page(web.RequestHandler): pass",
            ["tornado.web.RequestHandler"],
        ),
    ],
)
def test_an_exit_is_found_under_any_name(text: str, exits: list[str]):
    assert list(_exits(ast.parse(text))) == exits
