"""examples/interop on the embedded servers, and on real ones where they are named."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from examples.interop.service import Desk
from irismq_runtime import Node
from supervisors import Supervisor, child
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]


@pytest.fixture(
    params=[
        pytest.param(("embedded", "embedded"), id="embedded"),
        pytest.param(("real", "embedded"), id="real-nsqd", marks=pytest.mark.real_nsqd),
        pytest.param(("embedded", "real"), id="real-iris", marks=pytest.mark.real_iris),
    ]
)
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str]]:
    """Where the relay and the broker are."""
    nsqd_kind, iris_kind = request.param
    async with nsqd_server(nsqd_kind) as nsqd, iris_relay(iris_kind) as relay:
        yield f"{relay.host}:{relay.port}", f"{nsqd.host}:{nsqd.port}"


@asynccontextmanager
async def desk(servers: tuple[str, str], log: list[Any], **options: Any) -> AsyncIterator[Node]:
    iris, nsqd = servers
    node = Node(name="desk", iris=iris, nsqd=nsqd, presence_period=0.3, drain=3.0, **options)
    async with node:
        await node.start(Supervisor.of(child(Desk, log), max_restarts=10))
        yield node


async def conversation(program: list[str], *arguments: str) -> list[Any]:
    """Run a foreign program to its end; the lines that it printed, as values."""
    process = await asyncio.create_subprocess_exec(
        *program,
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, problems = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode() + problems.decode()
    return [json.loads(line) for line in said.splitlines()]


STRANGER = [sys.executable, "-m", "examples.interop.stranger"]


@pytest.fixture(scope="session")
def stranger_in_go(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The Go stranger, compiled once; the test is skipped where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on PATH")
    binary = tmp_path_factory.mktemp("go") / "stranger"
    source = str(ROOT / "examples" / "interop" / "stranger.go")
    built = subprocess.run([go, "build", "-o", binary, source], capture_output=True, check=False)
    assert built.returncode == 0, built.stderr.decode()
    return [str(binary)]


@pytest.fixture(params=["python", "go"])
def stranger(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return STRANGER
    program: list[str] = request.getfixturevalue("stranger_in_go")
    return program


async def test_a_program_that_knows_nothing_of_us_and_an_actor_talk_both_ways(stranger, servers):
    log: list[Any] = []
    async with desk(servers, log):
        said = await conversation(stranger, *servers)
        await until(lambda: len(log) >= 8)
    assert said == [
        {"answer": {"number": 1}},
        {"stored event": {"number": 1, "item": "tea"}},
        {"live event": {"number": 1, "item": "tea"}},
        {"fault": "Refused: no gold left"},
        {"stored event": {"number": 2, "item": "milk"}},
        {"stored event": {"number": 3, "item": "sugar"}},
        {"asked": {"any": "tea"}},
        {"asked": {"any": "coffee"}},
        {"told": {"bring": "sugar"}},
        {"told with all": {"closing": "soon"}},
    ]
    news = [("event", {"news": "live"}), ("event", {"news": "stored"})]
    assert all(entry in log for entry in news)
    assert [entry for entry in log if entry not in news] == [
        ("ask", "tea"),
        ("ask", "gold"),
        ("tell", "milk"),
        ("tell_all", "sugar"),
        {"cups": 2},
        "no coffee here",
    ]


async def test_what_bare_messages_cannot_carry_is_refused(servers):
    log: list[Any] = []
    async with desk(servers, log) as node:
        stranger = node.ref("interop.stranger", foreign="json")
        with pytest.raises(ValueError, match="no due time"):
            stranger.tell({"a": 1}, delay=90_000.0)
        with pytest.raises(ValueError, match="no due time"):
            node.publish("interop.news", {"a": 1}, delay=90_000.0, foreign="json")
        with pytest.raises(ValueError, match="no time of expiry"):
            stranger.tell({"a": 1}, expires=5.0)
        with pytest.raises(TypeError, match="is foreign"):
            stranger.ask_all({"a": 1})
        await node.publish("interop.news", b'"raw"', foreign="raw")
        node.publish("interop.news", b"[1]", durable=False, foreign="raw")
        await until(lambda: len(log) == 2)
        assert sorted(log, key=str) == [("event", "raw"), ("event", [1])]


PEER = [sys.executable, "-m", "examples.interop.peer"]
KEY = b"sixteen bytes or more"


@pytest.mark.parametrize("keys", [{}, {"k1": KEY}], ids=["unsigned", "signed"])
async def test_a_peer_written_from_the_document_alone_is_a_full_peer(servers, keys):
    log: list[Any] = []
    secrets = [f"{name}={secret.hex()}" for name, secret in keys.items()]
    async with desk(servers, log, keys=keys) as node:
        await node.settled()
        said = await conversation(PEER, *servers, *secrets)
        await until(lambda: not node.members("interop.peer"))
    assert said == PEER_SAW
    assert all(("event", news) in log for news in ("stored news", "live news"))
    assert [entry for entry in log if entry[0] != "event"] == DESK_DID


async def test_a_conversation_hears_nothing_of_those_before(servers):
    log: list[Any] = []
    async with desk(servers, log) as node:
        await conversation(STRANGER, *servers)
        for _ in range(2):
            await node.settled()
            said = await conversation(PEER, *servers)
            await until(lambda: not node.members("interop.peer"))
            assert list(filter(of_sales, said)) == list(filter(of_sales, PEER_SAW))
        said = await conversation(STRANGER, *servers)
    items = [line["stored event"]["item"] for line in said if "stored event" in line]
    assert items == ["tea", "milk", "sugar"]


def of_sales(line: dict[str, Any]) -> bool:
    """Whether a line tells of a stored event or of a dead letter."""
    return bool(line.keys() & {"stored event", "not before its time", "dead letter"})


PEER_SAW = [
    {"serves the desk": "desk"},
    {"receipt": {"number": 2, "item": "tea", "price": "3.00"}},
    {"refused": ["refused", "no gold left", "sold-out"]},
    {"invalid": ["refused", "invalid"]},
    {"objects inside": [["desk.receipt", "tea"]]},
    {"crashed": ["crashed", "builtins.ValueError", "the desk fell over"]},
    {"unknown": "unknown-type"},
    {"method": "4.50"},
    {"stored event": "tea"},
    {"stored event": "milk"},
    {"not before its time": True},
    {"stored event": "sugar"},
    {"live events": ["tea", "milk", "jam", "sugar"]},
    {"from a member": [True, True, "desk.receipt"]},
    {"handler": "cancelled"},
    {"in the tunnel": "GOOD DAY"},
    {"in the tunnel": 200_000},
    {"stream": [0, 1, 2, "END"]},
    {"the clerk is there": True},
    {"it lives": True},
    {"one actor": "the clerk heard hello"},
    {"ended": ["irismq.ended", True, "normal"]},
    {"after its end": "dead"},
    {"dead letter": [True, "rejected: Reject: not at this desk", True]},
    {"asked": ["desk.order", "scone"]},
    {"asked": "gold"},
    {"asked with all": ["roll", True]},
    {"in its tunnel": [True, None, "good day"]},
    {"told": "butter"},
    {"told with all": "closing soon"},
]

DESK_DID = [
    ("ask", "tea"),
    ("ask", "gold"),
    ("tell", "milk"),
    ("tell", "jam"),
    ("tell_all", "sugar"),
    ("ask", "buns"),
    "with butter",
    ("nor have I", "no-gold"),
    [7],
    [0, 1, 2],
    "good day to you",
]
