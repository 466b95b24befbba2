"""`irismq new NAME`: a small service to begin with, its tests, and a page about it.

All files or none: they are written into a folder beside the target, which is then
renamed. Nothing that exists is ever written to.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import keyword
import os
import re
import shutil
import string
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import fail, remark
from irismq_runtime.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["name_problem", "new", "render"]

#: Template -> where it goes; `$` names stand in both.
_FILES: Final = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "Dockerfile.in": "Dockerfile",
    "dockerignore.in": ".dockerignore",
    "compose.yaml.in": "compose.yaml",
    "__init__.py.in": "$package/__init__.py",
    "messages.py.in": "$package/messages.py",
    "service.py.in": "$package/service.py",
    "test_actor.py.in": "tests/test_actor.py",
    "test_service.py.in": "tests/test_service.py",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*\Z")
_LONGEST: Final = 40
#: Characters of the name of a node.
_LONGEST_NODE: Final = 32
#: Names of the template itself, and of packages that a service imports.
_TAKEN: Final = frozenset({"actors", "irismq", "irismq_runtime", "supervisors", "tests"})


def new(
    name: Annotated[
        str, typer.Argument(help="The service's name: its folder, package and address.")
    ],
    into: Annotated[
        Path, typer.Option("--into", metavar="FOLDER", help="Where its folder is made.")
    ] = Path(),
) -> None:
    """Write a small service with its tests into a new folder.

    Example: `irismq new price-feed && cd price-feed && cat README.md`
    """
    problem = name_problem(name)
    if problem:
        fail(f"{name!r} is not a name for a service: {problem}", codes.USAGE)
    target = into / name
    try:
        if target.is_symlink() or target.exists():
            said = f"{target} exists already, and nothing is overwritten; give another name"
            fail(said, codes.USAGE)
        _write(target, render(name))
    except OSError as error:
        problem = f"{target} cannot be written: {error.strerror or error}"
        fail(f"{problem}; give another folder with --into", codes.FAILED)
    remark(f"made {target}: cd {target} && cat README.md")


def name_problem(name: str) -> str:
    """Return what is wrong with a name for a service, or ""."""
    if not _NAME.match(name):
        return "use a-z, 0-9 and single - or _ between them, a letter first"
    if len(name) > _LONGEST:
        return f"it has {len(name)} characters, {_LONGEST} are the most"
    package = _package(name)
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        return "Python has this word for itself"
    if package in sys.stdlib_module_names or package in _TAKEN:
        return f"import {package} means something else already"
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:  # a mere folder is not a package
        return f"a package {package} can be imported here already, and one would hide the other"
    return ""


def render(name: str) -> Mapping[str, str]:
    """Return path -> text of every file of the service `name`."""
    package = _package(name)
    values = {
        "name": name,
        "package": package,
        "address": package,
        "node_name": name[:_LONGEST_NODE],
        "class_name": "".join(part.capitalize() for part in package.split("_")),
        "version": __version__,
    }
    folder = importlib.resources.files("irismq_runtime.cli") / "template"
    return {
        string.Template(place).substitute(values): string.Template(
            (folder / template).read_text(encoding="utf-8")
        ).substitute(values)
        for template, place in _FILES.items()
    }


def _package(name: str) -> str:
    return name.replace("-", "_")


def _write(target: Path, files: Mapping[str, str]) -> None:
    """Make `target` with everything in it, or nothing. Raises `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for place, text in files.items():
            path = draft / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        draft.chmod(0o777 & ~_umask())
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _umask() -> int:
    """Return the process' umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
