"""The recipes hold through a crash in their middle, and not only where all goes well.

171: each handler of a stored message crashes once, after its effect and before it has
returned: the message comes again, and what the page promises has to be so nevertheless.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import pathlib
import re
from typing import TYPE_CHECKING, Any

from actors import default_system
from irismq_runtime import Node
from tests.docs.blocks import blocks_of
from tests.docs.running import fresh_names, namespace_of, run_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "guide" / "recipes.md"


class Crashes:
    """A decorator of handlers: the first call of each crashes when it has done its work."""

    def __init__(self) -> None:
        self.crashed: list[str] = []

    def __call__(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        name = handler.__qualname__

        def crash() -> None:
            if name not in self.crashed:
                self.crashed.append(name)
                raise RuntimeError("in the middle")

        @functools.wraps(handler)
        async def awaits(actor: Any, message: Any) -> Any:
            answer = await handler(actor, message)
            crash()
            return answer

        @functools.wraps(handler)
        def returns(actor: Any, message: Any) -> Any:
            answer = handler(actor, message)
            crash()
            return answer

        return awaits if inspect.iscoroutinefunction(handler) else returns


@contextlib.asynccontextmanager
async def played(crashes: Crashes, *headings: str) -> AsyncIterator[dict[str, Any]]:
    """The names of the page when the first blocks and those below `headings` have run."""
    text = PAGE.read_text()
    starts = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)]
    spans = {
        text[start:end].partition("\n")[0][3:]: (
            text.count("\n", 0, start),
            text.count("\n", 0, end),
        )
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True)
    }
    first = text.count("\n", 0, starts[0])
    wanted = [(0, first), *(spans[heading] for heading in headings)]
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(fresh_names())
        names = stack.enter_context(namespace_of("recipes"))
        stack.push_async_callback(default_system().shutdown)
        names["node"] = await stack.enter_async_context(Node.embedded(drain=1.0))
        names["crashes"] = crashes
        for block in blocks_of(PAGE):
            if any(low <= block.line <= high for low, high in wanted):
                crashing = re.sub(r"( +)(@receives\()", r"\1@crashes\n\1\2", block.text)
                await run_async(dataclasses.replace(block, text=crashing), names)
        yield names


async def test_something_every_minute_happens_once_each_through_crashes():
    crashes = Crashes()
    async with played(crashes, "Something every minute") as names:
        done, first = names["DONE"], names["FIRST"]
        await names["until"](lambda: set(range(first, first + 8)) <= set(done))
        await names["until"](lambda: len(crashes.crashed) == 2)
        assert sorted(crashes.crashed) == ["Reporter.report", "Schedule.tick"]
        assert len(done) == len(set(done))


async def test_a_pool_of_workers_does_everything_through_a_crash():
    crashes = Crashes()
    async with played(crashes, "A pool of workers") as names:
        assert names["DONE"] == {f"{n}.png" for n in range(10)}
        assert crashes.crashed == ["Resizer.resize"]


class StoredAlone(Crashes):
    """What is stored crashes: an ask is at most once, and its asker is told."""

    def __call__(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        crashing = super().__call__(handler)

        @functools.wraps(handler)
        def chosen(actor: Any, message: Any) -> Any:
            return (crashing if actor.context.kind == "tell" else handler)(actor, message)

        return chosen


async def test_a_message_that_is_handled_twice_counts_once():
    crashes = StoredAlone()
    async with played(crashes, "Handle a message once") as names:
        till, pay = names["node"].ref("recipes.till"), names["Pay"]
        for invoice in ("2026-8", "2026-9"):
            await till.tell(pay(invoice, 500))
        await names["until"](lambda: {"2026-8", "2026-9"} <= set(names["PAID"]))
        await names["until"](lambda: crashes.crashed == ["Till.pay"])
        assert await till.ask(pay("2026-1", 500)) == 1500
