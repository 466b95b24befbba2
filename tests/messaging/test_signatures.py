"""What a signature is good for: one place, one verb, one ask, and a bounded time (153)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.config import NodeConfig
from irismq_runtime.errors import (
    BadSignature,
    ConfigError,
    DecodeError,
    NotFresh,
    NotSigned,
    RemoteFault,
    SignatureError,
)
from irismq_runtime.messaging import Packer
from irismq_runtime.messaging import packer as packer_module
from irismq_runtime.messaging.freshness import SignatureMemory
from irismq_runtime.node import assembly
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    Envelope,
    KeyRing,
    Kind,
    Serializer,
    decode_envelope_untrusted,
    encode_checked,
    encode_sealed,
)
from supervisors import Supervisor, child
from tests.node.helpers import Add, Counter, MemoryServers, Total
from tests.support.until import until

if TYPE_CHECKING:
    from actors import Actor
    from irismq_runtime.ports import InboundRequest

KEYS = {"k1": b"sixteen bytes or more"}
LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Vault(Counter):
    address = "test.vault"


class Middle:
    """A member without keys, which hands on what it gets."""

    def __init__(self, addresses: Any, to: str) -> None:
        self.addresses, self.to = addresses, to
        self.heard: list[bytes] = []
        self.outcome: BaseException | None = None

    def on_request(self, request: InboundRequest) -> None:
        self.heard.append(request.body)
        asked = self.addresses.request(self.to, request.body, 2.0)

        def answered(future: asyncio.Future[bytes]) -> None:
            self.outcome = future.exception()
            if self.outcome is None:
                request.reply(future.result())
            else:
                request.fail(str(self.outcome))

        asked.add_done_callback(answered)

    def on_broadcast(self, body: bytes) -> None:
        self.heard.append(body)

    def on_tunnel(self, tunnel: Any) -> None: ...
    def on_lost(self, reason: str) -> None: ...
    def on_joined(self) -> None: ...


@pytest.fixture
def world():
    return MemoryServers()


def members(*kinds: type[Actor]) -> Any:
    return Supervisor.of(*(child(kind) for kind in kinds))


async def test_an_ask_that_a_stranger_hands_on_to_another_address_is_refused_there(world):
    async with (
        world.node("asker", keys=KEYS) as asker,
        world.node("other", keys=KEYS) as other,
        world.node("stranger") as stranger,
    ):
        await other.start(members(Counter, Vault))
        middle = Middle(stranger.parts.addresses, "test.counter")
        await stranger.parts.addresses.join("test.vault", middle)
        await until(lambda: asker.members("test.vault"))
        asks = [asker.ref("test.vault").ask(Add(1)) for _ in range(6)]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        assert middle.heard
        assert {type(answer) for answer in answers} == {int, RemoteFault}
        assert isinstance(middle.outcome, RemoteFault)
        assert "signature" in str(middle.outcome)
        assert await asker.ref("test.counter").ask(Total()) == 0


@pytest.mark.parametrize("seal", [b"", bytes(1), bytes(31), bytes(32), bytes(33), bytes(64)])
def test_what_is_no_signature_is_refused_however_long_it_is(seal: bytes) -> None:
    headers = {"k": "k1", "w": 1_700_000_000_000, "m2": seal}
    envelope = Envelope(Kind.ASK, bytes(16), "", b"\xc0", headers)
    packer = Packer("a-1", Serializer(), keys=KeyRing.of(KEYS))
    with pytest.raises(BadSignature):
        packer.open_untrusted(encode_checked(envelope, DEFAULT_LIMITS, None), "request", "x.y")


async def test_a_recorded_ask_is_refused_when_it_comes_again(world):
    async with (
        world.node("asker", keys=KEYS) as asker,
        world.node("server", keys=KEYS) as server,
        world.node("stranger") as stranger,
    ):
        await server.start(members(Counter))
        await asker.settled()
        recorded: list[bytes] = []
        send = asker.parts.addresses.request

        def request(cluster: str, body: bytes, *rest: Any) -> Any:
            recorded.append(body)
            return send(cluster, body, *rest)

        asker.parts.addresses.request = request
        assert await asker.ref("test.counter").ask(Add(5)) == 5
        with pytest.raises(RemoteFault, match="before"):
            await stranger.parts.addresses.request("test.counter", recorded[0], 2.0)
        stranger.parts.addresses.broadcast("test.counter", recorded[0])
        unsigned = server.parts.dispatch.counters
        await until(lambda: unsigned.unsigned == 2)
        assert await asker.ref("test.counter").ask(Total()) == 5


async def test_every_verb_passes_between_nodes_with_keys(world):
    async with world.node("one", keys=KEYS) as one, world.node("two", keys=KEYS) as two:
        log: list[int] = []
        await two.start(Supervisor.of(child(Counter, log, instances=2)))
        await one.settled()
        ref = one.ref("test.counter")
        assert await ref.ask(Add(1))
        ref.tell_all(Add(2))
        await until(lambda: log.count(2) == 2)  # two members at one node hear it
        await ref.tell(Add(4))
        await asyncio.gather(*ref.tell_many([Add(8), Add(16)]))
        await until(lambda: {4, 8, 16} <= set(log))
        gathered = await ref.ask_all(Total())
        assert gathered.complete
        assert len(gathered.values) == 2


# One packer to another --------------------------------------------------------


#: Until when those packers take the older signature that do, in seconds since 1970.
UNTIL = 5000.0


def packer(now: float = 1000.0, **options: Any) -> Packer:
    old = options.pop("old", False)
    ring = KeyRing.of(KEYS, old_until=UNTIL if old else 0.0)
    return Packer("n1", Serializer(), keys=ring, now=lambda: now, **options)


VERBS = ["store", "request", "broadcast", "publish", "reply", "open", "accept"]


@pytest.mark.parametrize("made", VERBS)
def test_an_envelope_is_good_for_its_verb_and_its_place_alone(made):
    _, data, _ = packer().new(Kind.TELL, "x", {}, None, made, "shop.cart")
    for verb in VERBS:
        for name in ("shop.cart", "shop.car", "shop.cart2", ""):
            if (verb, name) == (made, "shop.cart"):
                assert packer().open_untrusted(data, verb, name)
            else:
                with pytest.raises(BadSignature):
                    packer().open_untrusted(data, verb, name)


def test_what_was_heard_is_refused_for_as_long_as_its_signature_is_good():
    signatures = SignatureMemory(60.0)
    signatures.check(b"a", 1000_000, 1000.0)
    for now in (1000.0, 1030.0, 1060.0):
        with pytest.raises(NotFresh, match="before"):
            signatures.check(b"a", 1000_000, now)
    with pytest.raises(NotFresh, match="61 s"):
        signatures.check(b"a", 1000_000, 1061.0)
    with pytest.raises(NotFresh, match="ahead"):
        signatures.check(b"b", 1100_000, 1000.0)


def test_a_memory_that_is_full_refuses_what_it_might_have_forgotten():
    signatures = SignatureMemory(60.0, most=10)
    for number in range(35):
        signatures.check(b"%d" % number, 1000_000 + number, 1000.0)
    for number in range(35):
        with pytest.raises(NotFresh, match="before"):
            signatures.check(b"%d" % number, 1000_000 + number, 1000.0)
    signatures.check(b"new", 1000_100, 1000.0)


@pytest.mark.parametrize("late", [0.0, 299.0, 301.0, 1e6])
def test_what_is_stored_must_have_been_stored_soon_after_it_was_signed(late):
    _, data, _ = packer().new(Kind.TELL, "x", {}, None, "store", "t")
    later = packer(now=1e9)  # it waited as long as it liked
    if late <= 300.0:
        assert later.open_untrusted(data, "store", "t", None, 1000.0 + late)
    else:
        with pytest.raises(NotFresh, match="before it came"):
            later.open_untrusted(data, "store", "t", None, 1000.0 + late)


def test_what_is_due_later_may_be_stored_again_until_then():
    _, data, _ = packer().new(Kind.TELL, "x", {"t": 10_000_000}, None, "store", "t")
    for stored in (1000.0, 5000.0, 10_000.0, 10_299.0):
        assert packer().open_untrusted(data, "store", "t", None, stored)
    with pytest.raises(NotFresh):
        packer().open_untrusted(data, "store", "t", None, 10_301.0)


def test_a_replay_signs_anew_what_is_authentic_and_refuses_what_would_be_refused():
    envelope_id, data, _ = packer().new(Kind.TELL, "x", {}, None, "store", "t")
    renewed = packer(now=9000.0).renewed(data, "t", "u")
    again = packer().open_untrusted(renewed, "store", "u", None, 9000.0)
    assert isinstance(again, Envelope)
    assert again.id == envelope_id
    with pytest.raises(BadSignature):
        packer(now=9000.0).renewed(data, "other", "t")
    with pytest.raises(NotSigned):
        packer().renewed(b"foreign", "t", "t")
    plain = Packer("n", Serializer())
    with pytest.raises(SignatureError, match="no key here"):
        plain.renewed(data, "t", "t")
    _, unsigned, _ = plain.new(Kind.TELL, "x", {}, None, "store", "t")
    for body in (unsigned, b"foreign", b"\xc1\x01 cut"):
        assert plain.renewed(body, "t", "t") == body
    with pytest.raises(NotSigned):
        packer().renewed(unsigned, "t", "t")


@pytest.mark.parametrize("old", [False, True])
def test_a_changed_byte_is_noticed_wherever_it_is(old):
    _, data, _ = packer(old=old).new(Kind.TELL, {"a": 1}, {}, None, "store", "t")
    end = len(data) - 36 if old else len(data)  # what follows is the older signature
    for at in range(end):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(DecodeError):
            packer().open_untrusted(bytes(changed), "store", "t", None, 1000.0)


def test_the_older_signature_is_refused_unless_it_is_asked_for():
    ring = KeyRing.of(KEYS)
    envelope = Envelope(Kind.TELL, bytes(16), "", b"\xc0", {})
    data = encode_checked(envelope, DEFAULT_LIMITS, ring.signer)
    with pytest.raises(NotFresh, match="version 1"):
        packer().open_untrusted(data, "store", "t")
    assert packer(old=True).open_untrusted(data, "store", "t")
    unsigned = encode_checked(envelope, DEFAULT_LIMITS, None)
    with pytest.raises(NotSigned):
        packer(old=True).open_untrusted(unsigned, "store", "t")


def test_the_older_signature_is_taken_and_written_until_a_time():
    envelope = Envelope(Kind.TELL, bytes(16), "", b"\xc0", {})
    data = encode_checked(envelope, DEFAULT_LIMITS, KeyRing.of(KEYS).signer)
    assert packer(UNTIL - 1, old=True).open_untrusted(data, "request", "c")
    with pytest.raises(NotFresh, match="version 1"):
        packer(UNTIL, old=True).open_untrusted(data, "request", "c")
    for now, written in ((UNTIL - 1, True), (UNTIL, False)):
        _, made, _ = packer(now, old=True).new(Kind.TELL, "x", {}, None, "store", "t")
        opened = packer(now).open_untrusted(made, "store", "t", None, now)
        assert isinstance(opened, Envelope)
        assert ("m" in opened.headers) is written


def test_what_was_stored_before_that_time_is_taken_after_it():
    envelope = Envelope(Kind.TELL, bytes(16), "", b"\xc0", {})
    data = encode_checked(envelope, DEFAULT_LIMITS, KeyRing.of(KEYS).signer)
    later = packer(UNTIL + 9000, old=True)
    assert later.open_untrusted(data, "store", "t", None, UNTIL - 1)
    with pytest.raises(NotFresh, match="version 1"):
        later.open_untrusted(data, "store", "t", None, UNTIL)


def test_of_both_signatures_the_newer_one_decides():
    _, data, _ = packer(old=True).new(Kind.TELL, "x", {}, None, "store", "t")
    assert decode_envelope_untrusted(data, keys=KeyRing.of(KEYS))  # who knows version 1 alone
    assert packer().open_untrusted(data, "store", "t")
    with pytest.raises(BadSignature):
        packer(old=True).open_untrusted(data, "store", "other")


class OldKeys(KeyRing):
    """Keys of a node that knows version 1 alone."""


@pytest.fixture
def _both_versions():
    """Who has old keys signs in version 1 alone."""

    def by_age(envelope: Any, limits: Any, keys: KeyRing, place: Any, now: float) -> bytes:
        if type(keys) is OldKeys:
            return encode_checked(envelope, limits, keys.signer)
        return encode_sealed(envelope, limits, keys, place, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packer_module, "encode_sealed", by_age)
        yield


class OldPacker(Packer):
    """A packer that knows version 1 alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._keys = OldKeys(KeyRing.of(KEYS).by_id.values())

    def open_untrusted(self, data: bytes, *_: Any) -> Any:
        return decode_envelope_untrusted(data, keys=KeyRing.of(KEYS))


@pytest.mark.usefixtures("_both_versions")
async def test_nodes_of_both_versions_talk_until_a_time_that_the_newer_ones_are_told(
    world, monkeypatch, caplog
):
    log: list[int] = []
    monkeypatch.setattr(assembly, "Packer", OldPacker)
    async with world.node("old", keys=KEYS) as old:
        monkeypatch.undo()
        async with world.node("new", keys=KEYS, old_signatures_until=LATER) as new:
            assert caplog.text.count("are taken until 2100-01-01T00:00:00+00:00") == 1
            await old.start(Supervisor.of(child(Counter, log)))
            await new.start(members(Vault))
            await until(lambda: new.members("test.counter") and old.members("test.vault"))
            assert await new.ref("test.counter").ask(Add(1)) == 1
            assert await old.ref("test.vault").ask(Add(2)) == 2
            await new.ref("test.counter").tell(Add(4))
            await until(lambda: 4 in log)
            await old.ref("test.vault").tell(Add(8))
            await until(lambda: new.parts.dispatch.counters.finished == 1)
            assert (await new.ref("test.counter").ask_all(Total())).values == [5]
            assert (await old.ref("test.vault").ask_all(Total())).values == [10]


@pytest.mark.usefixtures("_both_versions")
async def test_nodes_that_are_not_told_to_refuse_the_older_version(world, monkeypatch):
    monkeypatch.setattr(assembly, "Packer", OldPacker)
    async with world.node("old", keys=KEYS) as old:
        monkeypatch.undo()
        async with world.node("new", keys=KEYS) as new:
            await new.start(members(Vault))
            await old.ref("test.vault").tell(Add(8))
            await until(lambda: new.parts.dispatch.counters.buried == 1)
            assert new.parts.dispatch.counters.unsigned >= 1


def test_the_options_are_checked():
    with pytest.raises(ConfigError, match="signature_window"):
        NodeConfig(keys=KEYS, signature_window=30.0, publish_timeout=30.0)
    for moment in (True, "2100-01-01", 4e9, LATER.replace(tzinfo=None)):
        with pytest.raises(ConfigError, match=r"old_signatures_until.*with a zone"):
            NodeConfig(old_signatures_until=moment)  # type: ignore[arg-type]  # on purpose
    assert issubclass(NotFresh, SignatureError)
