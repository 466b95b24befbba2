"""The python blocks of a page, made into code that checks what the page says.

A block is everything between a line "```python" and the next "```". Blocks of a
page run in order and share one namespace. Two comments are promises, and held:

    expression  # -> value          repr() of it is `value`; of `print(...)`, the text
    statement   # raises Error      it raises exactly this class; `Error: text` also
                                    wants `text` in the message

A block "```text" right behind it is what it prints, all of it. A block with a title
is a file or a shell of the reader's, and not run here (see consoles.py).

Such a comment stands at the end of a statement, or on the line after one that has
a body. Anywhere else it is an error: no promise goes unread. Nothing here runs a
loop.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pathlib
    from types import CodeType

__all__ = ["Block", "Shown", "blocks_of", "compiled", "fences"]

_FENCE = re.compile(r"^```(\w*)( [^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISE = re.compile(r"#\s*(->|raises)\s+(.+?)\s*$")


@dataclass(frozen=True)
class Block:
    """One python block: its text, the line of the page on which it begins, what it prints."""

    page: str
    line: int
    text: str
    output: str | None = None


def fences(text: str) -> list[tuple[str, int, str]]:
    """Language, line and content of every fenced block; one with a title has none."""
    return [
        (
            "" if match.group(2) else match.group(1),
            text.count("\n", 0, match.start(3)) + 1,
            match.group(3),
        )
        for match in _FENCE.finditer(text)
    ]


def blocks_of(page: pathlib.Path) -> list[Block]:
    """The python blocks of `page`, in order."""
    text = page.read_text()
    found = fences(text)
    lines = text.splitlines()
    blocks = []
    for (language, line, content), behind in zip(found, [*found[1:], ("", 0, "")], strict=False):
        if language == "python":
            end = line + content.count("\n")
            adjoins = behind[0] == "text" and not any(lines[end : behind[1] - 2])
            blocks.append(Block(str(page), line, content, behind[2] if adjoins else None))
    return blocks


def compiled(block: Block) -> CodeType:
    """Code that runs the block and holds its promises; a coroutine if it awaits at the top."""
    tree = ast.parse(block.text)
    promises = _promises(block)
    tree = ast.fix_missing_locations(_Holder(promises).visit(tree))
    if promises:
        raise AssertionError(f"{block.page}: promises that end no statement: {promises}")
    ast.increment_lineno(tree, block.line - 1)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(tree, block.page, "exec", flags=flags, dont_inherit=True)


def _promises(block: Block) -> dict[tuple[int, bool], tuple[str, str]]:
    """By line of the statement's end, and whether the statement has a body."""
    found: dict[tuple[int, bool], tuple[str, str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(block.text).readline):
        if token.type == tokenize.COMMENT and (match := _PROMISE.match(token.string)):
            alone = token.line.lstrip().startswith("#")
            found[token.start[0] - alone, alone] = (match.group(1), match.group(2))
    return found


class _Holder(ast.NodeTransformer):
    """Wraps the statements that carry a promise; takes the promise off the list."""

    def __init__(self, promises: dict[tuple[int, bool], tuple[str, str]]) -> None:
        self._promises = promises

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt):
            key = (node.end_lineno or 0, hasattr(node, "body"))
            if promise := self._promises.pop(key, None):
                kind, text = promise
                return self._raises(node, text) if kind == "raises" else self._shows(node, text)
        return super().generic_visit(node)

    @staticmethod
    def _shows(node: ast.AST, text: str) -> ast.stmt:
        if not isinstance(node, ast.Expr):
            raise TypeError(f"line {node.lineno}: `# ->` belongs behind an expression")  # type: ignore[attr-defined]  # as above
        value = node.value
        name = "shows"
        args = [value]
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "print":
            name, args = "prints", value.args
        call = ast.Attribute(ast.Name("__shown__", ast.Load()), name, ast.Load())
        return ast.copy_location(ast.Expr(ast.Call(call, [ast.Constant(text), *args], [])), node)

    @staticmethod
    def _raises(node: Any, text: str) -> ast.stmt:
        attribute = ast.Attribute(ast.Name("__shown__", ast.Load()), "raises", ast.Load())
        item = ast.withitem(ast.Call(attribute, [ast.Constant(text)], []))
        return ast.copy_location(ast.With([item], [node]), node)


class Shown:
    """What the wrapped statements call: the name `__shown__` of a page."""

    @staticmethod
    def shows(expected: str, value: object) -> None:
        """`value` looks as the page says."""
        if repr(value) != expected:
            raise AssertionError(f"the page says {expected}, but it is {value!r}")

    @staticmethod
    def prints(expected: str, *values: object) -> None:
        """`print(*values)` prints what the page says."""
        text = " ".join(map(str, values))
        if text != expected:
            raise AssertionError(f"the page says {expected}, but it prints {text}")

    class raises:  # noqa: N801  # reads as the comment does
        """The statement inside raises what the page says."""

        def __init__(self, expected: str) -> None:
            self._name, _, self._text = expected.partition(": ")

        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
            if error is None:
                raise AssertionError(f"the page says that it raises {self._name}")
            if type(error).__name__ != self._name or self._text not in str(error):
                said = f"{self._name}: {self._text}" if self._text else self._name
                raise AssertionError(f"the page says {said}, but it raises {error!r}") from error
            return True
