"""Runs the blocks of one page, on the loop of the test or without a loop.

A page none of whose blocks awaits at the top is a page for plain programs: its
blocks run without a loop. All others run on one. A page with the comment
`<!-- node -->` is given the name `node`, a running embedded node, and one with
`<!-- node with a store -->` one that has a store as well. What a page
starts in the default system is shut down behind it.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import types
from typing import TYPE_CHECKING, Any

from actors import default_system
from actors import messages as registered
from irismq_runtime import Node, durability, embedded, schedules
from tests.docs.blocks import Block, Shown, blocks_of, compiled

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

__all__ = [
    "awaits",
    "fresh_names",
    "namespace_of",
    "run_async",
    "run_page",
    "run_page_on_loop",
    "run_plain",
]

# Imported here, because importing reads files and a page runs on a loop.
EMBEDDED = (embedded.EmbeddedNsqd, embedded.EmbeddedRelay)
# As above, and it registers messages of its own, which are no page's.
LASTING = (durability.Durable, schedules)

WANTS_NODE = "<!-- node -->"
WANTS_STORE = "<!-- node with a store -->"


@contextlib.contextmanager
def fresh_names() -> Iterator[None]:
    """Let a page use message names that other pages and tests use as well."""
    tables: list[dict[Any, Any]] = [
        registered._types,
        registered._names,
        registered._readable,
        registered._aliases,
    ]
    kept = [dict(table) for table in tables]
    for name, kind in [*registered._readable.items()]:
        if not name.startswith("irismq."):
            del registered._readable[name]
            registered._types.pop(name, None)
            registered._names.pop(kind, None)
    try:
        yield
    finally:
        for table, before in zip(tables, kept, strict=True):
            table.clear()
            table.update(before)


@contextlib.contextmanager
def namespace_of(name: str) -> Iterator[dict[str, Any]]:
    """The globals of a page: a module, so that classes made there can be looked up."""
    module = types.ModuleType(f"page_{name}")
    sys.modules[module.__name__] = module
    module.__dict__["__shown__"] = Shown
    try:
        yield module.__dict__
    finally:
        del sys.modules[module.__name__]


def awaits(block: Block) -> bool:
    """Whether the block awaits at the top."""
    return bool(compiled(block).co_flags & inspect.CO_COROUTINE)


@contextlib.contextmanager
def _printing(block: Block) -> Iterator[None]:
    if block.output is None:
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        yield
    assert printed.getvalue() == block.output


def run_plain(block: Block, names: dict[str, Any]) -> None:
    """Run a block that awaits nothing at the top."""
    with _printing(block):
        exec(compiled(block), names)  # noqa: S102  # our own page


async def run_async(block: Block, names: dict[str, Any]) -> None:
    """Run a block on the running loop."""
    with _printing(block):
        result = eval(compiled(block), names)  # noqa: S307  # our own page
        if result is not None:
            await result


def run_page(page: pathlib.Path) -> None:
    """Run a page for plain programs."""
    with fresh_names(), namespace_of(page.stem) as names:
        try:
            for block in blocks_of(page):
                run_plain(block, names)
        finally:
            default_system().close()


async def run_page_on_loop(page: pathlib.Path) -> None:
    """Run a page on the running loop."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(fresh_names())
        names = stack.enter_context(namespace_of(page.stem))
        system = default_system()
        stack.push_async_callback(system.shutdown)
        if WANTS_NODE in page.read_text():
            names["node"] = await stack.enter_async_context(Node.embedded(name="guide", drain=1.0))
        if WANTS_STORE in page.read_text():
            node = Node.embedded(name="guide", drain=1.0, store="memory:")
            names["node"] = await stack.enter_async_context(node)
        for block in blocks_of(page):
            await run_async(block, names)
