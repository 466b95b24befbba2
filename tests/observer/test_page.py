"""The page's HTTP: what it serves, to whom, and what needs the token."""

from __future__ import annotations

import asyncio
import json
import re
from importlib import resources

import pytest
from tornado.httpclient import AsyncHTTPClient

from actors import Refused
from irismq_runtime import Node
from irismq_runtime.observer import Gatherer, SystemState
from irismq_runtime.observer.handlers import MOST_STREAMS, TOKEN_HEADER
from irismq_runtime.observer.page import ObserverPage, new_token
from irismq_runtime.observer.reports import (
    broker_stats_untrusted,
    node_report_untrusted,
    offers_untrusted,
)
from irismq_runtime.wire import Envelope, Kind, encode_envelope, new_id
from supervisors import Supervisor, child
from tests.observer.service import Desk, Hostile
from tests.observer.test_system_state import report, topic
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server

TOKEN = new_token()
#: Texts that no page may run; each turns up where a stranger can put one.
MARKUP = "<script>document.title='owned'</script>"


class Seen:
    """A gatherer that a test moves by hand."""

    def __init__(self):
        self.state = SystemState()
        self.now = 10.0
        self.news = asyncio.Event()
        self.restarted = []
        self.step()

    def step(self, **more):
        self.now += 0.5
        self.state.present({"a-1": "a"}, {}, self.now, self.now)
        value = report("a-1", "a", self.now, error=MARKUP, **more)
        self.state.reported("a-1", node_report_untrusted(value), self.now, self.now)
        stats = broker_stats_untrusted({"topics": [topic("shop", 3, 3)]})
        self.state.broker_told("nsqd:4151", stats, self.now)
        self.state.make_snapshot(self.now, self.now)
        self.news.set()
        self.news = asyncio.Event()

    @property
    def latest(self):
        return self.state.latest

    @property
    def history(self):
        return self.state.history

    async def changed(self, version):
        while self.latest.version <= version:
            await self.news.wait()
        return self.latest

    async def offers(self, node):
        return offers_untrusted({"runtime": "1", "offers": {"shop": {"messages": {"put": MARKUP}}}})

    async def restart(self, node, supervisor, child):
        if node == "nobody":
            raise Refused("no such node")
        self.restarted.append((node, supervisor, child))


class Client:
    """Asks one page."""

    def __init__(self, url):
        self.url = url
        self.http = AsyncHTTPClient(force_instance=True, defaults={"request_timeout": 60.0})

    async def fetch(self, path, **options):
        return await self.http.fetch(f"{self.url}{path}", raise_error=False, **options)

    async def get(self, path, **headers):
        return await self.fetch(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def act(self, order, token=TOKEN, kind="application/json", **headers):
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        given = {"Content-Type": kind, **headers}
        if token is not None:
            given[TOKEN_HEADER] = token
        return await self.fetch("api/act", method="POST", body=body, headers=given)


@pytest.fixture
async def seen():
    return Seen()


@pytest.fixture
async def page(seen):
    async with ObserverPage(seen, nsqd=[], token=TOKEN) as served:
        yield served


@pytest.fixture
async def client(page):
    made = Client(page.url)
    yield made
    made.http.close()


def error_of(answer):
    return json.loads(answer.body)["error"]


STATIC = [
    entry
    for entry in resources.files("irismq_runtime.observer").joinpath("static").iterdir()
    if entry.is_file()
]


@pytest.mark.parametrize("path", ["", "app.js", "observer.css", "api/snapshot", "nothing", "api/x"])
async def test_every_answer_forbids_what_is_not_the_pages_own(client, path):
    answer = await client.get(path)
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_all_its_files_are_served(client):
    names = {entry.name for entry in STATIC}
    assert {"index.html", "observer.css", "app.js"} <= names
    for name in names:
        answer = await client.get("" if name == "index.html" else name)
        assert answer.code == 200
        assert answer.body == next(e for e in STATIC if e.name == name).read_bytes()
    kinds = {n: (await client.get(n)).headers["Content-Type"] for n in ("app.js", "icon.svg")}
    assert kinds == {"app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}


@pytest.mark.parametrize("entry", STATIC, ids=lambda entry: entry.name)
def test_no_file_fetches_from_elsewhere_or_reads_text_as_markup(entry):
    text = entry.read_text()
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert (
        re.findall(r"(?:inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(", text) == []
    )
    if entry.name.endswith(".html"):
        assert re.findall(r"\s(?:style|on\w+)=|<script>|<style", text) == []


async def test_the_snapshot_is_everything_as_it_is_now(client, seen):
    answer = await client.get("api/snapshot")
    told = json.loads(answer.body)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert told["version"] == seen.latest.version
    assert told["nodes"]["a-1"]["trees"][0]["children"][0]["last"]["error"] == MARKUP
    assert told["services"]["shop"]["waiting"] == 3
    assert len(told["history"]) == 1


async def test_what_a_node_offers_is_asked_when_somebody_wants_to_know(client):
    answer = await client.get("api/offers?node=a-1")
    assert json.loads(answer.body)["offers"]["shop"]["messages"] == {"put": MARKUP}
    answer = await client.get("api/offers?node=no")
    assert (answer.code, error_of(answer)) == (404, "no such node is known")


@pytest.mark.parametrize("path", ["", "app.js", "api/snapshot", "api/stream", "api/letters"])
async def test_who_is_sent_by_a_stranger_reads_nothing(client, path):
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        answer = await client.get(path, **headers)
        assert answer.code == 403
        assert set(json.loads(answer.body)) == {"error"}


async def test_acting_needs_the_token(client, seen):
    order = {"act": "restart", "node": "a-1", "supervisor": "urn:1", "child": "worker"}
    for token in (None, "", "wrong", TOKEN + "x", TOKEN.upper()):
        answer = await client.act(order, token=token)
        assert (answer.code, error_of(answer)) == (
            401,
            "acting needs the token that was printed at the start",
        )
    assert seen.restarted == []
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await client.act(order, **headers)).code == 403
    assert (await client.act(order, kind="text/plain")).code == 415
    assert seen.restarted == []
    assert (await client.act(order)).code == 200
    assert seen.restarted == [("a-1", "urn:1", "worker")]


@pytest.mark.parametrize(
    "order", [b"", b"{", b"[]", {}, {"act": "explode"}, {"act": "drop", "address": "shop"}]
)
async def test_what_is_no_order_is_refused(client, order):
    answer = await client.act(order)
    assert answer.code == 400
    assert error_of(answer).startswith("this is not an order: ")


async def test_what_the_system_refuses_is_said_without_a_traceback(client):
    order = {"act": "restart", "node": "nobody", "supervisor": "urn:1", "child": "worker"}
    answer = await client.act(order)
    assert (answer.code, error_of(answer)) == (502, "Refused: no such node")
    assert (await client.act({"act": "drop", "address": "unknown", "ids": []})).code == 404
    for path in ("api/letters?address=unknown", "api/letter?address=unknown&id=1", "api/letters"):
        answer = await client.get(path)
        assert (answer.code, error_of(answer)) == (404, "no such address is known")
    assert (await client.fetch("api/snapshot", method="DELETE")).code == 405
    assert (await client.act(b"x" * 300_000)).code in {400, 599}


class Stream:
    """Reads the server-sent events of a page."""

    def __init__(self, client):
        self.events = []
        self.more = asyncio.Event()
        self.rest = b""
        self.over = asyncio.ensure_future(
            client.fetch("api/stream", streaming_callback=self.take, request_timeout=0)
        )

    def take(self, chunk):
        *whole, self.rest = (self.rest + chunk).split(b"\n\n")
        for event in whole:
            name, data = event.split(b"\n", 1)
            self.events.append((name[7:].decode(), json.loads(data[6:])))
        self.more.set()

    async def next(self, count):
        while len(self.events) < count:
            self.more.clear()
            await self.more.wait()
        return self.events[count - 1]


async def test_the_stream_tells_all_and_then_what_changes(client, seen):
    stream = Stream(client)
    name, told = await stream.next(1)
    assert (name, set(told["nodes"])) == ("all", {"a-1"})
    seen.step()
    name, told = await stream.next(2)
    assert name == "change"
    assert "nodes" not in told, "nothing changed there but the time"
    seen.step(inbox=7)
    name, told = await stream.next(3)
    (root,) = told["nodes"]["a-1"]["trees"]
    assert root["children"][0]["inbox"] == 7
    assert "services" not in told
    assert told["version"] == seen.latest.version
    stream.over.cancel()


async def test_the_end_of_the_page_ends_its_streams(seen):
    async with ObserverPage(seen, nsqd=[], token=TOKEN) as page:
        client = Client(page.url)
        streams = [Stream(client) for _ in range(3)]
        for stream in streams:
            await stream.next(1)
    answers = await asyncio.gather(*(stream.over for stream in streams))
    assert {answer.code for answer in answers} == {200}
    client.http.close()


async def test_only_so_many_may_look(seen):
    async with ObserverPage(seen, nsqd=[], token=TOKEN) as page:
        client = Client(page.url)
        client.http.close()
        client.http = AsyncHTTPClient(force_instance=True, max_clients=200)
        streams = [Stream(client) for _ in range(MOST_STREAMS)]
        for stream in streams:
            await stream.next(1)
        assert (await client.get("api/stream")).code == 503
    await asyncio.gather(*(stream.over for stream in streams))
    client.http.close()


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 24


async def test_dead_letters_are_listed_shown_replayed_and_dropped():
    async with nsqd_server("embedded") as nsqd, iris_relay("embedded") as relay:
        options = {
            "nsqd": f"{nsqd.host}:{nsqd.port}",
            "iris": f"{relay.host}:{relay.port}",
            "presence_period": 0.3,
        }

        async def stats(endpoint):
            return nsqd.nsqd.stats()

        async with (
            Node(name="shop", max_attempts=1, **options) as shop,
            Gatherer(shop, brokers=["ours"], stats=stats, itself=True, period=0.1) as gatherer,
            ObserverPage(gatherer, nsqd=[options["nsqd"]], token=TOKEN) as page,
        ):
            await shop.start(Supervisor.of(child(Desk), max_restarts=100))
            client = Client(page.url)
            await shop.ref("seen.desk").tell(Hostile())
            strange = Envelope(Kind.TELL, new_id(), MARKUP, b"\xc0" * 30_000, {"c": MARKUP})
            await shop.parts.mailbox.publish("seen.desk", encode_envelope(strange))
            version = 0
            while not ((one := gatherer.latest.service("seen.desk")) and one.dead == 2):
                version = (await gatherer.changed(version)).version

            listed = json.loads((await client.get("api/letters?address=seen.desk")).body)
            assert not listed["more"]
            by_type = {letter["type"]: letter for letter in listed["letters"]}
            assert set(by_type) == {"seen.hostile", MARKUP}
            assert "message" not in by_type["seen.hostile"], "only when it is asked for"
            hostile = by_type["seen.hostile"]["id"]
            path = f"api/letter?address=seen.desk&id={hostile}"
            shown = json.loads((await client.get(path)).body)
            assert json.loads(shown["message"]) == {"text": Hostile().text}
            assert "RuntimeError" in shown["traceback"]
            assert shown["cut"] == 0
            path = f"api/letter?address=seen.desk&id={by_type[MARKUP]['id']}"
            assert len(json.loads((await client.get(path)).body)["message"]) <= 20_000

            order = {"address": "seen.desk", "ids": [hostile]}
            answer = await client.act({"act": "replay", **order})
            assert json.loads(answer.body) == {"done": 1, "back": 0}
            while shop.parts.dispatch.counters.buried < 3:
                version = (await gatherer.changed(version)).version
            order["ids"] = [letter["id"] for letter in listed["letters"]]
            answer = await client.act({"act": "drop", **order})
            assert json.loads(answer.body) == {"done": 2, "back": 0}
            while gatherer.latest.service("seen.desk").dead:
                version = (await gatherer.changed(version)).version
            gone = await client.get(f"api/letter?address=seen.desk&id={hostile}")
            assert (gone.code, error_of(gone)) == (404, "this letter is not there any more")
            client.http.close()
