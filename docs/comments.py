# ruff: noqa: INP001  # the folder of the pages is no package
"""Lets the reference show what a `#:` comment says of the attribute below it.

An extension of griffe, named in mkdocs.yml. The comments are the house's way to
document constants and fields; without this the reference would leave them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from griffe import Attribute, Docstring, Extension

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Comments"]


class Comments(Extension):
    """Takes the lines that begin with `#:` right above an attribute for its docstring."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[Path, list[str]] = {}

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """See griffe."""
        path = attr.filepath
        if attr.docstring is not None or attr.lineno is None or isinstance(path, list):
            return
        if path not in self._lines:
            self._lines[path] = path.read_text(encoding="utf-8").splitlines()
        lines = self._lines[path]
        first = last = attr.lineno - 1
        while first > 0 and lines[first - 1].lstrip().startswith("#:"):
            first -= 1
        if first < last:
            words = " ".join(line.strip().removeprefix("#:").strip() for line in lines[first:last])
            attr.docstring = Docstring(words, parent=attr)
