"""Subscriptions that are made while an actor runs: for its incarnation, and no longer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, ActorDeadError, message, receives
from irismq_runtime import Durable, Node, current_node, durable, live
from irismq_runtime.errors import ConfigError
from supervisors import Supervisor, child
from tests.support.until import until

if TYPE_CHECKING:
    from pathlib import Path


@message("late.said")
@dataclass(frozen=True)
class Said:
    text: str


@message("late.join")
@dataclass(frozen=True)
class Join:
    topic: str
    stored: bool = False


@message("late.leave")
@dataclass(frozen=True)
class Leave:
    topic: str
    stored: bool = False


def subscription(asked: Join | Leave) -> Any:
    return durable(asked.topic, channel="room") if asked.stored else live(asked.topic)


class Member(Actor):
    """Joins rooms, hears what is said there, and crashes on demand."""

    subscribes = live("late.always")

    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self.heard = heard

    @receives(Join)
    async def join(self, message: Join) -> None:
        await current_node().subscribe(self.actor_ref, subscription(message))

    @receives(Leave)
    async def leave(self, message: Leave) -> bool:
        return await current_node().unsubscribe(self.actor_ref, subscription(message))

    @receives(Said)
    def said(self, message: Said) -> None:
        if message.text == "crash":
            raise RuntimeError(message.text)
        self.heard.append(message.text)


@message("late.page")
@dataclass
class Page:
    lines: int = 0


class Ledger(Durable):
    address = "late.ledger"
    state: Page


async def member(node: Node, heard: list[str]) -> Any:
    tree = await node.start(Supervisor.of(child(Member, heard)))
    assert tree.is_alive()
    (slot,) = [slot for slot in node.system.slots() if slot.actor_class is Member]
    return slot.ref


@pytest.mark.parametrize("stored", [False, True], ids=["live", "durable"])
async def test_it_hears_a_topic_from_when_it_subscribed_until_it_does_not(
    embedded_node: Node, stored: bool
) -> None:
    heard: list[str] = []
    ref = await member(embedded_node, heard)
    for _ in range(2):  # again changes nothing
        await ref.ask(Join("late.room", stored))
    embedded_node.publish("late.room", Said("one"), durable=stored)
    await until(lambda: heard == ["one"])
    checks = {check.name for check in embedded_node.health().checks}
    assert ("consumer late.room" in checks) is stored
    assert await ref.ask(Leave("late.room", stored)) is True
    assert await ref.ask(Leave("late.room", stored)) is False
    embedded_node.publish("late.room", Said("two"), durable=stored)
    embedded_node.publish("late.always", Said("last"), durable=False)
    await until(lambda: heard[-1] == "last")
    assert heard == ["one", "last"]


@pytest.mark.parametrize("stored", [False, True], ids=["live", "durable"])
async def test_it_ends_with_the_incarnation(embedded_node: Node, stored: bool) -> None:
    heard: list[str] = []
    ref = await member(embedded_node, heard)
    await ref.ask(Join("late.room", stored))
    with pytest.raises(RuntimeError):
        await ref.ask(Said("crash"))
    await until(lambda: list(embedded_node.parts.late) == [])
    await ref.ask(Said("again"))
    embedded_node.publish("late.room", Said("unheard"), durable=stored)
    embedded_node.publish("late.always", Said("heard"), durable=False)
    await until(lambda: heard[-1] == "heard")
    assert heard == ["again", "heard"]
    await ref.ask(Join("late.room", stored))
    embedded_node.publish("late.room", Said("once more"), durable=stored)
    await until(lambda: heard[-1] == "once more")
    assert heard[2:] == (["unheard"] if stored else []) + ["once more"]


async def test_one_that_stands_when_the_actor_has_ended_is_closed(embedded_node: Node) -> None:
    ref = await member(embedded_node, [])
    subscribing = asyncio.ensure_future(embedded_node.subscribe(ref, live("late.room")))
    await asyncio.sleep(0)
    await ref.stop()
    with pytest.raises(ActorDeadError):
        await subscribing
    assert list(embedded_node.parts.late) == []
    ended = embedded_node.system.start(Member, [])
    await ended.stop()
    with pytest.raises(ActorDeadError):
        await embedded_node.subscribe(ended, live("late.x"))


async def test_what_cannot_subscribe_is_told(embedded_node: Node, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no ref of an actor"):
        await embedded_node.subscribe(embedded_node.ref("late.x"), live("late.x"))  # type: ignore[arg-type]  # a caller without a checker
    async with Node.embedded(store=f"sqlite:///{tmp_path / 'late.db'}") as node:
        ledger = await node.start(Ledger)
        with pytest.raises(ConfigError, match="name it in `subscribes`"):
            await node.subscribe(ledger, durable("late.x"))
        await node.subscribe(ledger, live("late.x"))


@pytest.mark.parametrize("stored", [True, False], ids=["durable", "live"])
async def test_what_nobody_can_subscribe_to_is_not_published(
    embedded_node: Node, stored: bool
) -> None:
    node = embedded_node
    for topic in ("", "rooms.*", "rooms.#", "rooms.>", "+", "irismq.in.x.room", "\ud800", None, 3):
        with pytest.raises(ConfigError, match=r"^topic: "):
            durable(topic) if stored else live(topic)  # type: ignore[arg-type]  # a caller without a checker
        with pytest.raises(ValueError, match=r"^topic: "):
            node.publish(topic, Said("lost"), durable=stored)  # type: ignore[call-overload]  # the same
        # From a thread too, where a live event has nobody else to say it.
        with pytest.raises(ValueError, match=r"^topic: "):
            await asyncio.to_thread(node.publish, topic, Said("lost"), durable=stored)  # type: ignore[call-overload]  # the same
