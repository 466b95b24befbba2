"""Models of pydantic through a node: told, asked, kept as a state; and what does not fit."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, field_validator

from actors import Actor, Refused, Request, message, receives
from irismq_runtime import Durable
from irismq_runtime.ports.state_store import StateKey
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers
from tests.support.until import until


@message("pydantic.greet")
class Greet(BaseModel, Request[str]):
    name: str

    @field_validator("name")
    @classmethod
    def not_rude(cls, value: str) -> str:
        if value == "rude":
            raise ValueError("say please")
        if value == "exit":
            raise SystemExit(3)
        return value


@message("pydantic.greeted")
class Greeted(BaseModel):
    names: list[str] = Field(default_factory=list)


class Greeter(Durable):
    address = "pydantic.greeter"
    state: Greeted

    @receives(Greet)
    def greet(self, greet: Greet) -> str:
        self.state.names.append(greet.name)
        return f"Hello, {greet.name}"


class Names(Actor):
    address = "pydantic.names"

    def on_receive(self, message: object) -> object:
        return message


async def test_a_model_is_told_asked_answered_and_kept_as_a_state():
    servers = MemoryServers()
    async with servers.node(store="memory:") as node:
        await node.start(Supervisor.of(child(Greeter), child(Names)))
        greeter = node.ref("pydantic.greeter")
        assert await greeter.ask(Greet(name="Ada")) == "Hello, Ada"
        await greeter.tell(Greet(name="Bob"))
        await until(lambda: node.parts.dispatch.counters.finished == 1)
        (stored,) = await node.parts.durable.store.load([StateKey("pydantic.greeter")])
        assert b"Ada" in stored.state
        assert b"Bob" in stored.state
        assert await node.ref("pydantic.names").ask(Greeted(names=["Eve"])) == Greeted(
            names=["Eve"]
        )


@pytest.mark.parametrize("name", ["rude", "exit"])
async def test_what_a_validator_refuses_is_an_invalid_message_and_no_crash(name):
    servers = MemoryServers()
    async with servers.node(max_attempts=1) as node:
        await node.start(Supervisor.of(child(Names)))
        names = node.ref("pydantic.names")
        bad = Greet.model_construct(name=name)
        with pytest.raises(Refused) as caught:
            await names.ask(bad)
        assert caught.value.code == "invalid"
        await names.tell(bad)
        await until(lambda: len(servers.broker.bodies("pydantic.names.dead")) == 1)
        # The node goes on, and so does the actor.
        assert await names.ask(Greet(name="Ada")) == Greet(name="Ada")
