"""What users' tests have: servers that do wrong, and messages that travel within a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, ActorRef, System, message, receives
from irismq_runtime import Node
from irismq_runtime.embedded import Faults, NsqdFaults
from irismq_runtime.errors import AskTimeout, DeliveryError, EncodeError
from irismq_runtime.node import OwnBroker
from irismq_runtime.testing import all_travel, faulty, handled
from supervisors import child
from tests.support.until import until

if TYPE_CHECKING:
    from pathlib import Path


@message("faulty.note")
@dataclass
class Note:
    text: str
    tags: list[str] = field(default_factory=list)
    back: ActorRef[Any] | None = None


class Keeper(Actor):
    address = "faulty.keeper"

    def __init__(self, kept: list[Any]) -> None:
        super().__init__()
        self.kept = kept

    @receives(Note)
    def note(self, message: Note) -> Any:
        self.kept.append(message)
        return object() if message.text == "object" else message

    @receives(object)
    def any(self, message: object) -> object:
        return message


@pytest.mark.parametrize("lasting", [False, True], ids=["memory", "folder"])
async def test_a_broker_refuses_loses_confirmations_and_finishes(
    lasting: bool, tmp_path: Path
) -> None:
    kept: list[Any] = []
    soon = {"reconnect_min": 0.02, "reconnect_max": 0.1}  # each refusal ends the connection
    options: dict[str, Any] = {"publish_timeout": 3.0, "mailbox_options": soon, "dedupe_window": 0}
    async with Node.embedded(data=tmp_path if lasting else None, **options) as node:
        await node.start(child(Keeper, kept))
        ref = node.ref("faulty.keeper")
        with faulty(node, broker=NsqdFaults(refuse_publish=1.0)), pytest.raises(DeliveryError):
            await ref.tell(Note("refused"))
        await until(lambda: node.health().ready)
        with faulty(node, broker=NsqdFaults(lose_finish=1.0)):
            async with handled(node, "faulty.keeper"):
                await ref.tell(Note("once"))
            await until(lambda: requeued(node) >= 1)
        with (
            faulty(node, broker=NsqdFaults(lose_confirmation=1.0)),
            pytest.raises(DeliveryError, match="may have been carried out"),
        ):
            await ref.tell(Note("who knows"))
        await ref.tell(Note("last"))
        await until(lambda: kept[-1].text == "last")
        texts = [note.text for note in kept]
        assert texts.count("once") == 1  # it comes again and again, and is known
        assert texts.count("who knows") >= 1


def requeued(node: Node) -> int:
    (broker,) = [each for each in node.own_servers.own if isinstance(each, OwnBroker)]
    topics = {topic["topic_name"]: topic for topic in broker.stats()["topics"]}
    (channel,) = topics["faulty.keeper"]["channels"]
    return int(channel["requeue_count"])


async def test_a_relay_loses_replies_within_the_block_alone(embedded_node: Node) -> None:
    await embedded_node.start(child(Keeper, []))
    ref = embedded_node.ref("faulty.keeper")
    with faulty(embedded_node, relay=Faults(lose_replies=1.0)), pytest.raises(AskTimeout):
        await ref.ask(Note("lost"), timeout=0.2)
    assert (await ref.ask(Note("heard"))).text == "heard"


async def test_a_node_without_servers_of_its_own_is_refused(embedded_node: Node) -> None:
    at = {name: embedded_node.endpoints[name] for name in ("nsqd", "iris")}
    async with Node(name="other", **at) as other:
        with (
            pytest.raises(ValueError, match="runs no nsqd of its own"),
            faulty(other, broker=NsqdFaults()),
        ):
            pass
    with pytest.raises(ValueError, match="lose_finish"):
        NsqdFaults(lose_finish=1.5)


async def test_what_is_sent_within_a_process_travels() -> None:
    kept: list[Any] = []
    async with Node.embedded(middleware=[all_travel]) as node:
        ref = await node.start(child(Keeper, kept))
        sent = Note("tea", ["hot"], back=ref)
        answer = await ref.ask(sent)
        assert answer == sent
        assert answer is not sent
        assert kept[0].tags is not sent.tags
        assert kept[0].back is ref
        for bad in (object(), Note("object")):
            fresh = await node.start(child(Keeper, kept))
            with pytest.raises(EncodeError):
                await fresh.ask(bad)
    system = System("plain", middleware=[all_travel])
    system.attach()
    plain = system.start(Keeper, kept)
    assert await plain.ask(("a", 1)) == ("a", 1)
    await system.shutdown(timeout=0)
