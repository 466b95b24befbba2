"""Talk to the others from a terminal: `python -m examples.chat.talk NAME`.

A line is said to all. `/who` asks who is here, `/history` shows what the archive
has, `/quit` or the end of the input leaves.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from irismq_runtime import Node, NoSuchService, ServiceRef, run
from supervisors import child

from .archive import ARCHIVE
from .messages import History, Notice, Said, Who
from .people import PEOPLE, SAID, Person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["talk"]


async def talk(
    node: Node, name: str, lines: AsyncIterator[str], show: Callable[[str], None]
) -> None:
    """Take part as `name` until `lines` end."""
    await node.start(child(Person, name, show))
    people: ServiceRef[Notice | Who] = node.ref(PEOPLE)
    await node.settled()
    people.tell_all(Notice(f"{name} is here"))
    async for line in lines:
        match line.strip():
            case "":
                pass
            case "/quit":
                break
            case "/who":
                gathered = await people.ask_all(Who())
                show(f"* here: {', '.join(sorted(gathered.values))}")
            case "/history":
                await _history(node, show)
            case text:
                node.publish(SAID, Said(name, text), durable=False)  # who is here hears it now
                await node.publish(SAID, Said(name, text))  # the broker has it for the archive
    people.tell_all(Notice(f"{name} has left"))


async def _history(node: Node, show: Callable[[str], None]) -> None:
    try:
        async for said in node.ref(ARCHIVE).stream(History()):
            show(f"  {said.who}: {said.text}")
    except NoSuchService as error:
        show(f"* {error}")


async def _typed() -> AsyncIterator[str]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line


async def _main(name: str) -> None:
    nsqd = os.environ.get("IRISMQ_NSQD_ADDRESS", "127.0.0.1:4150")
    iris = os.environ.get("IRISMQ_IRIS_ADDRESS", "127.0.0.1:55555")
    async with Node(name=name, nsqd=nsqd, iris=iris) as node:
        await talk(node, name, _typed(), print)


if __name__ == "__main__":
    run(_main(sys.argv[1] if len(sys.argv) > 1 else "somebody"))
