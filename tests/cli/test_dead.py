"""`irismq dead` in processes of its own: all letters, malformed ones, events, and typing errors."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor
from irismq_runtime import Node, durable
from irismq_runtime.cli import codes
from irismq_runtime.cli.http import get_json
from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.messaging import Packer, dead_topic, mailbox_topic
from irismq_runtime.ports.state_store import (
    ABSENT,
    OwnedRight,
    StagedMessage,
    StateCommit,
    StateKey,
)
from irismq_runtime.stores import open_store
from irismq_runtime.wire import (
    DeadRecord,
    Envelope,
    KeyRing,
    Kind,
    Serializer,
    decode_envelope_untrusted,
    encode_dead,
    encode_envelope,
    new_id,
)
from supervisors import child
from tests.integration.processes import irismq
from tests.support.certificates import make_certificate
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
ADDRESS = "shop.inventory"
KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


class Broker:
    """An nsqd with letters, and what it has at the end."""

    def __init__(self, server: Any, mailbox: NsqMailbox) -> None:
        self.http = f"127.0.0.1:{server.http_port}"
        self.flags = ("--nsqd", f"127.0.0.1:{server.port}", "--nsqd-http", self.http)
        self.mailbox = mailbox

    async def bury(self, *records: bytes, address: str = ADDRESS) -> None:
        await self.mailbox.publish_many(dead_topic(address), list(records))

    async def dead(self, *arguments: str) -> tuple[int, str, str]:
        verb, address, *more = arguments
        return await irismq("dead", verb, address, *self.flags, *more)

    async def topics(self) -> dict[str, dict[str, int]]:
        """Topic -> {channel, or "" for none: messages}, once nobody holds one."""
        while True:
            stats = await get_json(self.http, "/stats")
            found = {topic["topic_name"]: topic for topic in stats["topics"] or ()}
            channels = [one for topic in found.values() for one in topic["channels"] or ()]
            if not any(one["in_flight_count"] for one in channels):
                break
        return {
            name: {
                one["channel_name"]: one["depth"] + one["deferred_count"]
                for one in topic["channels"] or ()
            }
            | ({"": topic["depth"]} if topic["depth"] else {})
            for name, topic in found.items()
        }


@pytest.fixture(params=KINDS)
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    async with nsqd_server(request.param) as server:
        mailbox = NsqMailbox([f"127.0.0.1:{server.port}"])
        await mailbox.start()
        yield Broker(server, mailbox)
        await mailbox.close(1.0)


def told(kind: Kind = Kind.TELL) -> bytes:
    return encode_envelope(Envelope(kind, new_id(), "shop.put", b"\x80", {}))


def letter(reason: str = "crashed: KeyError: 1", *, body: bytes = b"", **fields: Any) -> bytes:
    body = body or told()
    message_id = DeadRecord(body=body).message().id  # type: ignore[union-attr]  # an envelope
    record = DeadRecord(body=body, id=message_id, reason=reason, attempts=5, **fields)
    return encode_dead(record, max_size=2**20)


def malformed() -> bytes:
    return encode_envelope(Envelope(Kind.DEAD, new_id(), "", b"\x81\xa4time\xa4late", {}))


async def test_a_dropped_letter_of_a_durable_actor_takes_its_row_with_it(
    broker: Broker, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    store = open_store(url)
    await store.open("irismq")
    rows = [StagedMessage(new_id(), StateKey(to), b"") for to in (ADDRESS, ADDRESS, "other")]
    sender = StateCommit(StateKey("shop.orders"), ABSENT, new_id(), staged=rows)
    await store.commit([sender])
    for row, to in zip((rows[0], rows[2]), (ADDRESS, "other"), strict=True):
        aside = [OwnedRight(row.id, aside=True)]
        await store.commit([StateCommit(StateKey(to), ABSENT, new_id(), rights=aside)])
    mark = {"o": f"{store.info.id.hex()}.1.0"}
    for row in rows:
        body = encode_envelope(Envelope(Kind.TELL, row.id, "shop.put", b"\x80", mark))
        await broker.bury(letter(body=body))
    code, _, said = await broker.dead("drop", ADDRESS, "--all")
    assert code != codes.OK
    assert "0 letters dropped" in said
    assert "3 letters are of a durable actor" in said
    code, _, said = await broker.dead("drop", ADDRESS, "--all", "--store", url)
    assert (code, said.splitlines()[-1]) == (codes.OK, "3 letters dropped")
    left = {row.id for row in await store.rows([row.id for row in rows])}
    await store.close()
    # What waits to be handled is nobody's to drop here, and neither is another address' row.
    assert left == {rows[1].id, rows[2].id}


DECLARES = """
from dataclasses import dataclass
from actors import message

@message("shop.put")
@dataclass
class Put:
    count: int
"""


async def test_an_edited_letter_is_replayed_under_its_id_as_it_was_changed(
    broker: Broker, tmp_path: Path
) -> None:
    serializer = Serializer()
    (tmp_path / "edit_types.py").write_text(DECLARES)
    body = serializer.dump({"count": "x"})[1]
    given = Envelope(Kind.TELL, new_id(), "shop.put", body, {"tag": 1})
    await broker.bury(letter(), letter(body=encode_envelope(given)), letter())

    async def edit(*arguments: str, **environment: str) -> tuple[int, str]:
        line = ("dead", "edit", ADDRESS, given.id.hex(), *broker.flags, *arguments)
        code, _, said = await irismq(*line, PYTHONPATH=str(tmp_path), **environment)
        return code, said

    line = ("dead", "edit", ADDRESS, given.id.hex()[:20], *broker.flags)
    code, _, said = await irismq(*line)
    assert (code, "more than one id begins with" in said) == (codes.FAILED, True)
    typed = ("--import", "edit_types")
    for wrong, expected in (
        (["{", *typed], "JSON: it is not JSON"),
        (['{"count": "x"}', *typed], "it is not a shop.put: Expected `int`, got `str`"),
        (["[1]"], "the fields of a message are an object"),
    ):
        code, said = await edit(*wrong)
        assert (code, expected in said) == (codes.USAGE, True), said
    unchanged = "nothing was changed, and the letter is where it was\n"
    assert await edit(*typed, EDITOR="true") == (codes.OK, unchanged)
    for editor, problem in (("false", "ended with 1"), ("/no/editor", "cannot be run")):
        code, said = await edit(*typed, EDITOR=editor, TMPDIR=str(tmp_path))
        assert (code, problem in said, "is kept" in said) == (codes.USAGE, True, False)
    assert not list(tmp_path.glob("irismq-letter-*"))
    code, said = await edit(*typed, EDITOR="sed -i s/.x./y/", TMPDIR=str(tmp_path))
    assert (code, "what was written is kept: " in said) == (codes.USAGE, True)
    assert "y" in next(tmp_path.glob("irismq-letter-*/message.json")).read_text()
    assert (await broker.topics())[dead_topic(ADDRESS)] == {"dead": 3}
    code, said = await edit(*typed, EDITOR="sed -i s/.x./7/")
    assert (code, said) == (codes.OK, "1 letter replayed\n")
    assert await broker.topics() == {ADDRESS: {"mailbox": 1}, dead_topic(ADDRESS): {"dead": 2}}
    code, said = await edit("{}")
    assert (code, "no dead letter whose id begins" in said) == (codes.FAILED, True)
    inside = await stored(broker)
    assert (inside.id, inside.type, inside.headers) == (given.id, "shop.put", {"tag": 1})
    assert serializer.load("", inside.body) == {"count": 7}


async def test_a_beginning_that_means_several_letters_is_refused_and_names_them(
    broker: Broker,
) -> None:
    ids = [bytes([0xAB, number]).ljust(16, b"\0") for number in range(7)]
    bodies = [encode_envelope(Envelope(Kind.TELL, each, "shop.put", b"\x80", {})) for each in ids]
    await broker.bury(*[letter(body=body) for body in bodies])
    first = ids[0].hex()
    commands: list[tuple[str, ...]] = [("show",), ("drop", "--id"), ("replay", "--id")]
    for verb, *flag in commands:
        code, _, said = await broker.dead(verb, ADDRESS, *flag, "ab")
        assert (code, "more than one id begins with 'ab'" in said) == (codes.FAILED, True)
        assert sum(each.hex() in said for each in ids) == 5
        assert "..." in said
        code, _, said = await broker.dead(verb, ADDRESS, *flag, "")
        assert (code, "an empty id" in said) == (codes.USAGE, True)
    assert (await broker.topics())[dead_topic(ADDRESS)] == {"dead": 7}
    code, out, _ = await broker.dead("show", ADDRESS, "ab00")
    assert (code, json.loads(out)["id"]) == (codes.OK, first)
    for given in ("ab00", ids[1].hex()):
        code, _, said = await broker.dead("drop", ADDRESS, "--id", given)
        assert (code, said) == (codes.OK, "1 letter dropped\n")
    assert (await broker.topics())[dead_topic(ADDRESS)] == {"dead": 5}


async def test_an_edited_letter_is_signed_for_nodes_with_keys(broker: Broker) -> None:
    await broker.bury(signed("plain"))
    ((row,),) = [json.loads((await broker.dead("list", ADDRESS))[1])]
    line = ("dead", "edit", ADDRESS, row["id"], '"mended"', *broker.flags)
    code, _, said = await irismq(*line)
    assert (code, "cannot be signed anew: signed, and there is no key" in said) == (1, True)
    code, _, said = await irismq(*line, IRISMQ_KEYS=f"one={SECRET}")
    assert (code, said) == (codes.OK, "1 letter replayed\n")
    packer = Packer("n2", Serializer(), keys=KeyRing.of(KEYS))
    inside = await stored(broker, packer)
    assert packer.serializer.load(inside.type, inside.body) == "mended"


async def stored(broker: Broker, packer: Packer | None = None) -> Envelope:
    """The first message in the mailbox; `packer`: by which it must be signed."""
    got: list[Any] = []
    reading = await broker.mailbox.consume(mailbox_topic(ADDRESS), "mailbox", got.append, window=10)
    await until(lambda: got, "the message")
    body, place = got[0].body, ("store", mailbox_topic(ADDRESS))
    found = (
        decode_envelope_untrusted(body) if packer is None else packer.open_untrusted(body, *place)
    )
    await reading.stop(0.0)
    assert isinstance(found, Envelope)
    return found


async def test_all_is_all_and_not_what_one_connection_may_hold(broker: Broker) -> None:
    await broker.bury(*(letter() for _ in range(3000)))
    code, _, said = await broker.dead("replay", ADDRESS, "--all")
    assert code == codes.OK, said
    assert said.splitlines()[-1] == "3000 letters replayed"
    assert await broker.topics() == {
        ADDRESS: {"mailbox": 3000},
        dead_topic(ADDRESS): {"dead": 0},
    }


async def test_what_is_meant_is_found_behind_any_number_of_others(broker: Broker) -> None:
    others = [letter("crashed: KeyError") for _ in range(2700)]
    await broker.bury(*others, letter("decode: cut short"))
    code, _, said = await broker.dead("drop", ADDRESS, "--reason", "decode")
    assert (code, said.splitlines()[-1]) == (codes.OK, "1 letter dropped")
    assert (await broker.topics())[dead_topic(ADDRESS)] == {"dead": len(others)}


async def test_a_list_says_what_it_leaves_out(broker: Broker) -> None:
    await broker.bury(*(letter() for _ in range(30)))
    code, out, said = await broker.dead("list", ADDRESS, "--limit", "10")
    assert (code, len(json.loads(out))) == (codes.OK, 10)
    assert "20 of 30 letters were not looked at: give --limit" in said
    code, out, said = await broker.dead("list", ADDRESS)
    assert (code, len(json.loads(out)), said) == (codes.OK, 30, "")


async def test_without_an_address_those_that_have_letters_are_listed(broker: Broker) -> None:
    code, out, _ = await irismq("dead", "list", *broker.flags)
    assert (code, json.loads(out)) == (codes.OK, [])
    await broker.bury(letter(), letter(), address="shop.second")
    await broker.bury(letter(), address="shop.first")
    await broker.mailbox.publish("shop.alive", b"x")
    code, out, said = await irismq("dead", "list", *broker.flags)
    assert (code, said) == (codes.OK, "")
    nsqd = broker.flags[1]
    assert json.loads(out) == [
        {"address": "shop.first", "nsqd": nsqd, "letters": 1, "away": 0},
        {"address": "shop.second", "nsqd": nsqd, "letters": 2, "away": 0},
    ]
    _, lines, _ = await irismq("dead", "list", "--ndjson", *broker.flags)
    assert [json.loads(line) for line in lines.splitlines()] == json.loads(out)
    code, _, said = await irismq("dead", "list", "--reason", "crashed", *broker.flags)
    assert code == codes.USAGE
    assert "of one address" in said
    code, out, _ = await irismq("mailbox", "--nsqd-http", broker.http)
    assert (code, len({row["topic"] for row in json.loads(out)})) == (codes.OK, 3)
    _, lines, _ = await irismq("mailbox", "--ndjson", "--nsqd-http", broker.http)
    assert [json.loads(line) for line in lines.splitlines()] == json.loads(out)


async def test_the_others_work_beside_a_malformed_one(broker: Broker) -> None:
    odd = [malformed(), b"\xff\xfe\x00", letter(time=float("nan")), letter(time=1e300)]
    await broker.bury(letter(), *odd, letter())
    code, out, said = await broker.dead("list", ADDRESS)
    assert code == codes.OK, said
    rows = json.loads(out)
    assert len(rows) == 6
    assert sorted(row["time"] for row in rows)[:2] == ["(1e+300 s)", "(nan s)"]
    (bad,) = [row for row in rows if row.get("malformed")]
    code, out, _ = await broker.dead("show", ADDRESS, bad["id"])
    assert (code, json.loads(out)["malformed"]) == (codes.OK, True)
    code, _, said = await broker.dead("replay", ADDRESS, "--all")
    assert code == codes.OK, said
    assert "5 letters replayed" in said
    assert "1 letter is malformed" in said
    code, _, said = await broker.dead("drop", ADDRESS, "--id", bad["id"])
    assert (code, said) == (codes.OK, "1 letter dropped\n")
    assert await broker.topics() == {ADDRESS: {"mailbox": 5}, dead_topic(ADDRESS): {"dead": 0}}


async def test_an_event_is_not_given_to_channels_that_handled_it(broker: Broker) -> None:
    topic = "shop.sold"
    await broker.bury(
        letter(body=told(Kind.EVENT), address=topic, channel="billing"), letter(), address=topic
    )
    code, _, said = await broker.dead("replay", topic, "--all")
    assert code == codes.FAILED
    assert "1 letter replayed" in said
    assert "durable event shop.sold given up by channel billing" in said
    assert "--to ADDRESS" in said
    before = await broker.topics()
    assert before == {topic: {"mailbox": 1}, dead_topic(topic): {"dead": 1}}
    code, _, said = await broker.dead("replay", topic, "--all", "--to", "shop.billing")
    assert (code, said) == (codes.OK, "1 letter replayed\n")
    assert (await broker.topics())[mailbox_topic("shop.billing")] == {"mailbox": 1}


KEYS = {"one": bytes(range(16))}
SECRET = KEYS["one"].hex()


class Taking(Actor):
    """Says what it has got."""

    def __init__(self, address: str, got: list[str]) -> None:
        self.address = address
        self.got = got

    def on_receive(self, message: Any) -> None:
        self.got.append(message)


def signed(text: str, age: float = 10_000.0, *, event: str = "") -> bytes:
    """The letter of a message, or of an `event`, that a node with keys stored so long ago."""
    packer = Packer("n1", Serializer(), keys=KeyRing.of(KEYS), now=lambda: time.time() - age)
    kind, topic = (Kind.EVENT, event) if event else (Kind.TELL, mailbox_topic(ADDRESS))
    _, body, _ = packer.new(kind, text, {}, None, "store", topic)
    return letter(body=body)


async def test_signed_letters_are_signed_anew_and_taken_by_nodes_with_keys(broker: Broker) -> None:
    await broker.bury(signed("plain"))
    there: list[str] = []
    other: list[str] = []
    nsqd = broker.flags[1]
    async with EmbeddedRelay() as relay:
        iris = f"127.0.0.1:{relay.port}"
        async with Node(nsqd=nsqd, iris=iris, keys=KEYS, drain=1.0) as node:
            await node.start(child(Taking, ADDRESS, there))
            await node.start(child(Taking, "shop.other", other))
            code, _, said = await irismq(
                "dead", "replay", ADDRESS, *broker.flags, "--all", IRISMQ_KEYS=f"one={SECRET}"
            )
            assert (code, said) == (codes.OK, "1 letter replayed\n")
            await until(lambda: there == ["plain"])
            await broker.bury(signed("elsewhere", age=1.0))
            code, _, said = await irismq(
                *("dead", "replay", ADDRESS, *broker.flags, "--all", "--to", "shop.other"),
                IRISMQ_KEYS=f"one={SECRET}",
            )
            assert (code, said) == (codes.OK, "1 letter replayed\n")
            await until(lambda: other == ["elsewhere"])
    assert there == ["plain"]
    assert (await broker.topics())[dead_topic(ADDRESS)] == {"dead": 0}


class Hearing(Actor):
    """Writes down the events that one channel gets."""

    def __init__(self, topic: str, channel: str, heard: list[tuple[str, str]]) -> None:
        self.subscribes = (durable(topic, channel=channel),)
        self.channel = channel
        self.heard = heard

    def on_receive(self, event: Any) -> None:
        self.heard.append((self.channel, event))


async def test_a_signed_event_is_signed_anew_for_every_channel(broker: Broker) -> None:
    topic = "shop.sold"
    heard: list[tuple[str, str]] = []
    await broker.bury(signed("a chair", event=topic), address=topic)
    replay = ("dead", "replay", topic, *broker.flags, "--all", "--every-channel")
    code, _, said = await irismq(*replay)
    assert (code, "1 letter is not signed anew" in said) == (codes.FAILED, True)
    async with EmbeddedRelay() as relay:
        iris = f"127.0.0.1:{relay.port}"
        async with Node(nsqd=broker.flags[1], iris=iris, keys=KEYS, drain=1.0) as node:
            for channel in ("billing", "till"):
                await node.start(child(Hearing, topic, channel, heard))
            code, _, said = await irismq(*replay, IRISMQ_KEYS=f"one={SECRET}")
            assert (code, said) == (codes.OK, "1 letter replayed\n")
            await until(lambda: len(heard) >= 2)
    assert sorted(heard) == [("billing", "a chair"), ("till", "a chair")]
    assert (await broker.topics())[dead_topic(topic)] == {"dead": 0}


@pytest.mark.parametrize(
    ("keys", "why"),
    [("", "no key here"), (f"two={SECRET}", "the key 'one', which"), (f"one=00{SECRET}", "wrong")],
)
@pytest.mark.parametrize("to", [(), ("--to", "shop.other")])
async def test_what_nodes_with_keys_would_refuse_is_left_and_it_is_said_what_to_do(
    broker: Broker, keys: str, why: str, to: tuple[str, ...]
) -> None:
    await broker.bury(signed("a"), signed("b"))
    code, _, said = await irismq(
        "dead", "replay", ADDRESS, *broker.flags, "--all", *to, IRISMQ_KEYS=keys
    )
    assert code == codes.FAILED
    assert "0 letters replayed" in said
    assert "2 letters are not signed anew" in said
    assert why in said
    assert "give IRISMQ_KEYS here as the nodes have it" in said
    assert await broker.topics() == {dead_topic(ADDRESS): {"dead": 2}}


async def test_every_channel_is_asked_for_by_name(broker: Broker) -> None:
    await broker.bury(letter(body=told(Kind.EVENT)))
    code, _, said = await broker.dead("replay", ADDRESS, "--all", "--every-channel")
    assert (code, said) == (codes.OK, "1 letter replayed\n")
    assert (await broker.topics())[ADDRESS] == {"": 1}


@pytest.mark.parametrize(
    "command", [("list",), ("show", "0d5e"), ("replay", "--all"), ("drop", "--all")]
)
async def test_an_address_that_never_was_is_said_to_be_so(
    broker: Broker, command: tuple[str, ...]
) -> None:
    verb, *more = command
    code, out, said = await broker.dead(verb, "shop.inventroy", *more)
    assert (code, out) == (codes.FAILED, "")
    assert "no broker knows 'shop.inventroy'" in said
    assert await broker.topics() == {}


async def test_looking_makes_nothing_where_there_are_no_letters(broker: Broker) -> None:
    await broker.mailbox.publish(ADDRESS, told())
    before = await broker.topics()
    code, out, _ = await broker.dead("list", ADDRESS)
    assert (code, json.loads(out)) == (codes.OK, [])
    assert await broker.topics() == before


async def test_without_http_nothing_is_no_answer(broker: Broker) -> None:
    code, out, said = await irismq("dead", "list", ADDRESS, *broker.flags[:2])
    assert (code, json.loads(out)) == (codes.UNREACHABLE, [])
    assert "--nsqd-http" in said
    assert f"has made the topic {dead_topic(ADDRESS)}" in said
    assert await broker.topics() == {dead_topic(ADDRESS): {"dead": 0}}
    code, out, said = await irismq(
        "dead", "list", ADDRESS, *broker.flags[:2], "--nsqd-http", "127.0.0.1:1"
    )
    assert (code, out) == (codes.UNREACHABLE, "")


@pytest.mark.parametrize("kind", KINDS)
async def test_tls_that_a_broker_requires(kind: Any, tmp_path: Any) -> None:
    made = make_certificate(tmp_path)
    flags = [f"-tls-cert={made.certificate}", f"-tls-key={made.key}", "-tls-required=tcp-https"]
    options = NsqdOptions(tls=made.server_context(), tls_required=True)
    async with nsqd_server(kind, options=options, flags=flags) as server:
        mailbox = NsqMailbox([f"127.0.0.1:{server.port}"], config=config_of(made))
        await mailbox.start()
        secure = Broker(server, mailbox)
        await secure.bury(letter(), letter())
        await mailbox.close(1.0)
        code, out, said = await secure.dead("list", ADDRESS)
        assert (code, out) == (codes.UNREACHABLE, ""), said
        assert "TLS" in said
        code, _, said = await secure.dead("replay", ADDRESS, "--all")
        assert code == codes.UNREACHABLE
        code, out, said = await secure.dead("list", ADDRESS, "--nsqd-tls-ca", str(made.certificate))
        assert code == codes.OK, said
        assert len(json.loads(out)) == 2
        code, _, said = await secure.dead(
            "replay", ADDRESS, "--all", "--nsqd-tls-ca", str(made.certificate)
        )
        assert (code, said) == (codes.OK, "2 letters replayed\n")


def config_of(made: Any) -> Any:
    from irismq_runtime.mailbox import MailboxConfig

    return MailboxConfig(tls=made.client_context())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["check", "doctor"])
async def test_what_is_checked_is_what_a_node_would_do(
    kind: Any, command: str, tmp_path: Any
) -> None:
    made = make_certificate(tmp_path)
    flags = [f"-tls-cert={made.certificate}", f"-tls-key={made.key}", "-tls-required=tcp-https"]
    options = NsqdOptions(tls=made.server_context(), tls_required=True)
    async with nsqd_server(kind, options=options, flags=flags) as server:
        at = f"127.0.0.1:{server.port}"
        to = ("--nsqd", at, "--nsqd-http", f"127.0.0.1:{server.http_port}")
        code, out, said = await irismq(command, *to)
        assert code == codes.UNREACHABLE
        (line,) = [line for line in (out + said).splitlines() if f"{at}: nsqd says" in line]
        assert "TLS required" in line
        _, out, said = await irismq(command, *to, "--nsqd-tls-ca", str(made.certificate))
        assert f"{at}: nsqd says" not in out + said


async def test_no_look_makes_a_topic(broker: Broker) -> None:
    await broker.mailbox.publish("shop.known", told())
    before = await broker.topics()
    for command in (
        ("mailbox", "shop.inventroy"),
        ("check",),
        ("doctor",),
        ("dead", "list", "shop.known"),
    ):
        await irismq(*command, *broker.flags)
    assert await broker.topics() == before
