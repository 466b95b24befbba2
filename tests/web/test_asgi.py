"""A node in a web application: its life, and its errors as HTTP."""

from __future__ import annotations

import json
import types

import pytest

from actors import (
    Actor,
    ActorDeadError,
    AskCycle,
    AskTimeout,
    HandlerTimeout,
    MailboxFull,
    Refused,
    Restarting,
    Unhandled,
    receives,
)
from irismq_runtime import (
    ConnectionLost,
    DeliveryError,
    MessageTooLarge,
    NoSuchService,
    RemoteError,
    RemoteFault,
)
from irismq_runtime.asgi import Problems, lifespan, problem_of
from irismq_runtime.errors import NodeStopped
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers
from tests.support.until import until

CRASHED = RemoteError("builtins.ValueError", "the password is tea", "Traceback ...", address="shop")


def test_each_error_has_its_status():
    assert {
        name: (problem.status, problem.retry_after)
        for name, problem in {
            "refused": problem_of(Refused("no")),
            "refused, with a code": problem_of(Refused("no", code="gone"), {"gone": 410}),
            "unhandled": problem_of(Unhandled("what is that?")),
            "restarting": problem_of(Restarting("shop.stock", 2.1)),
            "restarting at once": problem_of(Restarting("shop.stock", 0.0)),
            "full": problem_of(MailboxFull("shop.stock", 5)),
            "nobody": problem_of(NoSuchService("shop.stock")),
            "stopped": problem_of(NodeStopped("web")),
            "dead": problem_of(ActorDeadError("shop.stock")),
            "late": problem_of(AskTimeout("shop.stock", "Count", 5.0, "its handler is running")),
            "limit": problem_of(HandlerTimeout("shop.stock", "Count", 5.0)),
            "crashed": problem_of(CRASHED),
            "fault": problem_of(RemoteFault("no")),
            "too large": problem_of(MessageTooLarge(5, 4, limit_of="the relay")),
            "not sent": problem_of(ConnectionLost("the relay", "not sent")),
            "maybe": problem_of(ConnectionLost("the relay", "unknown")),
            "not stored": problem_of(DeliveryError("shop", "not sent")),
        }.items()
    } == {
        "refused": (422, None),
        "refused, with a code": (410, None),
        "unhandled": (501, None),
        "restarting": (503, 3),
        "restarting at once": (503, 1),
        "full": (503, 1),
        "nobody": (503, 1),
        "stopped": (503, 1),
        "dead": (503, 1),
        "late": (504, None),
        "limit": (504, None),
        "crashed": (502, None),
        "fault": (502, None),
        "too large": (413, None),
        "not sent": (503, 1),
        "maybe": (502, None),
        "not stored": (503, 1),
    }
    assert problem_of(ValueError("boom")) is None
    assert problem_of(AskCycle("a", ("b",))) is None  # a mistake of the application: its 500


def test_what_a_service_crashed_with_is_not_shown():
    assert "password" not in str(problem_of(CRASHED).to_dict())
    assert problem_of(Refused("no such sku", code="unknown")).to_dict() == {
        "title": "The service refused",
        "status": 422,
        "detail": "no such sku",
        "code": "unknown",
    }


async def served(app, kind="http"):
    sent = []

    async def send(message):
        sent.append(message)

    await Problems(app)({"type": kind, "method": "GET", "path": "/stock"}, None, send)
    return sent


def raising(error, *first):
    async def app(scope, receive, send):
        for message in first:
            await send(message)
        raise error

    return app


async def test_an_error_that_nobody_answered_is_answered():
    start, body = await served(raising(NoSuchService("shop.stock")))
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert (b"content-length", str(len(body["body"])).encode()) in start["headers"]


async def test_what_cannot_be_answered_is_raised():
    begun = {"type": "http.response.start", "status": 200, "headers": []}
    for app, kind in (
        (raising(NoSuchService("shop.stock"), begun), "http"),
        (raising(NoSuchService("shop.stock")), "websocket"),
        (raising(ValueError("boom")), "http"),
    ):
        with pytest.raises((NoSuchService, ValueError)):
            await served(app, kind)


class Desk(Actor):
    address = "web.desk"

    @receives(str)
    def echo(self, message: str) -> str:
        return message

    @receives(int)
    def stop_now(self, _message: int) -> None:
        self.stop()


@pytest.fixture
def world():
    return MemoryServers()


async def test_a_node_lives_as_long_as_its_application(world):
    node = None

    def make():
        nonlocal node
        from irismq_runtime import Node

        node = Node(name="web", transports=world.transports, drain=1.0)
        return node

    app = types.SimpleNamespace(state=types.SimpleNamespace())
    told = []
    life = lifespan(make, Supervisor.of(child(Desk)), on_give_up=told.append)
    for _ in range(2):  # and so does the next one, as a server that starts anew has it
        async with life(app) as state:
            assert app.state.node is state["node"] is node
            assert await node.ref("web.desk").ask("hello") == "hello"
        with pytest.raises(NodeStopped):
            node.ref("web.desk").tell("late")
    assert told == []


async def test_a_tree_that_gives_up_is_told(world):
    from irismq_runtime import Node

    app = types.SimpleNamespace(state=types.SimpleNamespace())
    told = []

    def make():
        return Node(name="web", transports=world.transports, drain=1.0)

    async with lifespan(make, Desk, on_give_up=told.append)(app):
        app.state.node.ref("web.desk").tell(1)
        await until(lambda: told)
    assert "gave up" in told[0]


async def test_what_comes_from_outside_breaks_neither_the_answer_nor_the_log(caplog):
    for wait, told in ((float("inf"), b"1"), (1e300, b"3600")):
        start, _ = await served(raising(Restarting("shop.stock", wait)))
        assert (b"retry-after", told) in start["headers"]
    _, body = await served(raising(Refused("no \udcff")))
    assert json.loads(body["body"])["detail"] == "no \udcff"

    async def send(message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/a\nERROR all is lost"}
    await Problems(raising(NoSuchService("shop.stock")))(scope, None, send)
    assert "\n" not in caplog.records[-1].getMessage()
