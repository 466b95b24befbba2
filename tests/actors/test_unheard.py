"""An ask that fails while nobody awaits it says so, once it is certain that nobody will (173)."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from actors import Actor, AskTimeout, Refused, System, unheard


class Clerk(Actor):
    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, asyncio.Event):
            await message.wait()
        raise Refused(f"not {message}")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    gc.collect()  # asks that other tests have left say so now
    unheard._said.clear()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    gc.collect()
    return [text for text in caplog.messages if "nobody awaits it" in text]


async def handled(system: System, clerk: Any) -> None:
    """All that was sent to the clerk has been answered."""
    with pytest.raises(Refused):
        await clerk.ask("that")


async def test_a_refusal_that_nobody_awaits_is_a_line(actor_system: System, caplog) -> None:
    clerk = actor_system.start(Clerk)
    clerk.ask("this")
    await handled(actor_system, clerk)
    (line,) = said(caplog)
    assert "An ask of str to " in line
    assert "Clerk" in line
    assert "Refused: not this" in line
    assert "use tell" in line


async def test_what_fails_at_once_or_in_time_is_a_line_too(actor_system: System, caplog) -> None:
    clerk = actor_system.start(Clerk)
    released = asyncio.Event()
    clerk.ask(released, timeout=0.01)
    with pytest.raises(AskTimeout):
        await clerk.ask("this", timeout=0.05)
    released.set()
    gone = actor_system.start(Clerk)
    await gone.stop()
    gone.ask("this")
    lines = said(caplog)
    assert [name for name in ("AskTimeout", "ActorDeadError") if name in "".join(lines)] == [
        "AskTimeout",
        "ActorDeadError",
    ]


def fetched(ask: Any) -> None:
    with pytest.raises(Refused):
        ask.get()


@pytest.mark.parametrize(
    "look",
    [
        "await",
        "late",
        "gather",
        "callback",
        "late callback",
        "thread",
        "cancelled",
    ],
)
async def test_who_looks_at_it_in_time_has_heard(actor_system: System, caplog, look: str) -> None:
    clerk = actor_system.start(Clerk)
    released = asyncio.Event()
    ask = clerk.ask("this" if look != "cancelled" else released)
    if look == "callback":
        ask.add_done_callback(lambda _: None)
    if look in {"late", "late callback", "thread"}:
        await handled(actor_system, clerk)
    if look in {"await", "late"}:
        with pytest.raises(Refused):
            await ask
    elif look == "gather":
        (error,) = await asyncio.gather(ask, return_exceptions=True)
        assert isinstance(error, Refused)
        del error
    elif look == "late callback":
        ask.add_done_callback(lambda _: None)
    elif look == "thread":
        await asyncio.to_thread(fetched, ask)
    elif look == "cancelled":
        ask.cancel()
    else:
        await handled(actor_system, clerk)
    del ask
    assert said(caplog) == []


async def test_failures_that_are_alike_are_a_line_a_second(
    actor_system: System, caplog, monkeypatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(unheard.time, "monotonic", lambda: now[0])
    clerk = actor_system.start(Clerk)
    for _ in range(500):
        clerk.ask("this")
    await handled(actor_system, clerk)
    assert len(said(caplog)) == 1
    now[0] += 2.0
    clerk.ask("this")
    await handled(actor_system, clerk)
    assert "(500 like this)" in said(caplog)[-1]
    assert len(said(caplog)) == 2
