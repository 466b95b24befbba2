"""Entities whose owners are processes: stopped, killed and restarted, each message counts once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

from actors import AskTimeout
from irismq_runtime.cli import codes
from tests.integration.entity_owner import ADDRESS, LEASE, SHARDS, Pulse, Seen, Where
from tests.integration.processes import running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from irismq_runtime import EntityRef, Node
    from tests.integration.processes import Process

KEYS = [f"k{number}" for number in range(16)]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(180)]

#: Seconds that an ask has: more than a takeover takes on any machine.
DEADLINE = 60.0


@pytest.fixture
def owner(servers: Any, tmp_path: Path) -> Callable[[str], AbstractAsyncContextManager[Process]]:
    """Starts a node that shares the keys with the others."""
    store = f"sqlite:///{tmp_path / 'state.db'}"

    def start(name: str) -> AbstractAsyncContextManager[Process]:
        return running(
            *("run", "tests.integration.entity_owner:Meter", "--name", name, "--store", store),
            *(*servers.flags, "--drain", "10", "--lease", "1"),
            **{LEASE: "2"},
        )

    return start


def refs_on(client: Node) -> list[EntityRef]:
    return [client.entity(ADDRESS, key, shards=SHARDS) for key in KEYS]


async def answers(refs: list[EntityRef], message: object) -> list[Any]:
    """What each says; an ask that went to a process that does not answer is asked anew."""

    async def answer(ref: EntityRef) -> Any:
        while True:
            with contextlib.suppress(AskTimeout):
                return await ref.ask(message, timeout=1.0)

    return await asyncio.gather(*map(answer, refs))


async def both_own(refs: list[EntityRef], processes: list[Process]) -> None:
    wanted = {process.process.pid for process in processes}
    while set(await answers(refs, Where())) != wanted:
        await asyncio.sleep(0)


async def all_have(refs: list[EntityRef], numbers: list[int]) -> None:
    """Wait until each key has seen all of `numbers`, each once."""
    while any(len(set(each)) < len(numbers) for each in await answers(refs, Seen())):
        await asyncio.sleep(0)
    assert [sorted(each) for each in await answers(refs, Seen())] == [numbers] * len(refs)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
async def test_what_an_owner_held_that_is_stopped_or_killed_counts_once(servers, owner, how):
    async with servers.node("client") as client, owner("one") as one:
        refs = refs_on(client)
        await one.says("runs")
        async with owner("two") as two:
            await two.says("runs")
            await both_own(refs, [one, two])
            for number in range(20):
                for ref in refs:
                    ref.tell(Pulse(number))
                if number == 10:
                    one.signal(how)
            assert set(await answers(refs, Where())) == {
                two.process.pid
            }  # by its beat alone, if stopped
            await all_have(refs, list(range(20)))
            if how is signal.SIGKILL:
                return
            one.signal(signal.SIGCONT)  # with all that it had in hand, and its lease long over
            await both_own(refs, [one, two])
            for ref in refs:
                ref.tell(Pulse(20))
            await all_have(refs, list(range(21)))


async def test_owners_restart_one_after_another_and_no_tell_and_no_ask_fails(servers, owner):
    asks: list[asyncio.Task[Any]] = []
    receipts: list[Any] = []

    async with servers.node("client") as client, contextlib.AsyncExitStack() as stack:
        refs = refs_on(client)
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def end_flow() -> None:
            timers[-1].cancel()

        stack.callback(end_flow)

        def flow(number: int) -> None:
            """An ask of one key and a tell of another, again and again."""
            asking = refs[number % len(refs)].ask(Pulse(2 * number), timeout=DEADLINE)
            asks.append(asyncio.ensure_future(asking))
            receipts.append(refs[-1 - number % len(refs)].tell(Pulse(2 * number + 1)))
            timers[:] = [loop.call_later(0.02, flow, number + 1)]

        old = [await stack.enter_async_context(owner(f"old-{n}")) for n in range(2)]
        for process in old:
            await process.says("runs")
        await both_own(refs, old)
        flow(0)
        new: list[Process] = []
        for number, process in enumerate(old):
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK, process.said
            new.append(await stack.enter_async_context(owner(f"new-{number}")))
            await new[-1].says("runs")
            await both_own(refs, [*old[number + 1 :], *new])
        end_flow()
        ended = await asyncio.gather(*asks, *receipts, return_exceptions=True)
        assert [error for error in ended if isinstance(error, BaseException)] == []
        numbers = set(range(2 * len(asks)))
        while {number for each in await answers(refs, Seen()) for number in each} != numbers:
            await asyncio.sleep(0)
        assert sorted(number for each in await answers(refs, Seen()) for number in each) == sorted(
            numbers
        )
