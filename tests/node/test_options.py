"""Every option of a node is honoured, or refused by its name before anything starts.

174: the options are found by introspection, so that a new one is walked too. What is
accepted is put to use: the node starts, stores and handles a message, answers an ask,
and ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import math
from functools import partial

import pytest

from actors import Actor, receives
from irismq_runtime import Node
from irismq_runtime.config import NodeConfig
from irismq_runtime.errors import ConfigError
from irismq_runtime.mailbox import MailboxConfig
from irismq_runtime.mailbox import config as mailbox_config
from irismq_runtime.pyiris import Backoff, Limits, Options, options, reconnect
from supervisors import Supervisor, child
from tests.support.refusals import refusal
from tests.support.walk import walk

VALUES = [
    0,
    -1,
    0.5,
    2**31,
    2**63,
    10**400,
    math.nan,
    math.inf,
    -math.inf,
    "10MB",
    "3",
    "",
    "\ud800",
    "\x00",
    None,
    True,
    b"",
    [],
    {},
    object(),
]

#: What the constructor takes beside the fields of the config.
ARGUMENTS = [
    name
    for name, parameter in inspect.signature(Node.__init__).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
]
NODE = sorted({*ARGUMENTS, *(field.name for field in dataclasses.fields(NodeConfig))})
MAILBOX = sorted(field.name for field in dataclasses.fields(MailboxConfig))
#: Where the servers are: an embedded node says that it has its own.
PLACES = {"nsqd", "lookupd", "iris"}


class Echo(Actor):
    address = "options.echo"

    def __init__(self, told: asyncio.Event) -> None:
        super().__init__()
        self.heard = told

    @receives(str)
    def echo(self, message: str) -> str:
        if message == "told":
            self.heard.set()
        return message


async def _is_of_use(node: Node) -> None:
    """It starts, a stored message and an ask get through, and it ends."""
    told = asyncio.Event()
    async with node:
        await node.start(Supervisor.of(child(Echo, told)))
        echo = node.ref("options.echo")
        await echo.tell("told")
        assert await echo.ask("hello", timeout=10) == "hello"
        await told.wait()


def _made(option: str, value: object, *, named: str = "") -> Node | None:
    """The node that has the option, None when it was refused by its name (or that of a part)."""
    made: list[Node] = []
    said = refusal(lambda: made.append(Node.embedded(**{option: value})), ConfigError)
    assert said is None or (named or option) in said
    return made[0] if made else None


@pytest.mark.parametrize("option", NODE)
async def test_an_option_of_a_node_is_honoured_or_refused_by_its_name(option):
    with walk() as case:
        for value in VALUES:
            with case(value):
                node = _made(option, value)
                if node is not None:
                    async with asyncio.timeout(20):
                        await _is_of_use(node)


@pytest.mark.parametrize("option", MAILBOX)
async def test_an_option_of_the_mailbox_is_honoured_or_refused_by_its_name(option):
    with walk() as case:
        for value in VALUES:
            with case(value):
                node = _made("mailbox_options", {option: value}, named=option)
                if node is not None:
                    async with asyncio.timeout(20):
                        await _is_of_use(node)


@pytest.mark.parametrize("option", [*sorted(PLACES), "data"])
def test_what_is_not_a_place_is_refused_by_its_name(option):
    make = Node.embedded if option == "data" else Node
    with walk() as case:
        for value in VALUES:
            with case(value):
                said = refusal(partial(make, **{option: value}), ConfigError)
                assert said is None or option in said


@pytest.mark.parametrize(
    ("config", "rules"),
    [
        (NodeConfig, "irismq_runtime.config"),
        (MailboxConfig, mailbox_config.__name__),
        (Options, options.__name__),
        (Backoff, reconnect.__name__),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_option_has_a_rule(config, rules):
    module = __import__(rules, fromlist=["_RULES"])
    assert set(module._RULES) == {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize("config", [Options, Backoff, Limits], ids=lambda each: each.__name__)
def test_an_option_of_pyiris_is_taken_or_refused_by_its_name(config):
    with walk() as case:
        for field, value in itertools.product(dataclasses.fields(config), VALUES):
            with case(field.name, value):
                said = refusal(partial(config, **{field.name: value}), ValueError)
                assert said is None or field.name in said


async def test_a_call_takes_its_options_or_refuses_them_by_their_names():
    async with Node.embedded() as node:
        await node.start(Supervisor.of(child(Echo, asyncio.Event())))
        echo = node.ref("options.echo")
        calls = {
            "delay": lambda value: echo.tell("later", delay=value),
            "expires": lambda value: echo.tell("later", expires=value),
            "timeout of ask": lambda value: echo.ask("hello", timeout=value),
            "timeout of ask_all": lambda value: echo.ask_all("hello", timeout=value),
            "timeout of tunnel": lambda value: echo.tunnel(timeout=value),
            "timeout of stream": lambda value: echo.stream("hello", timeout=value),
            "delay of publish": lambda value: node.publish("options.events", "one", delay=value),
        }
        with walk() as case:
            for (name, call), value in itertools.product(calls.items(), VALUES):
                with case(name, value):
                    said = refusal(partial(call, value), ValueError)
                    assert said is None or f"{name.partition(' ')[0]}=" in said
