"""Mistakes of a user, each of which both type checkers must find; see test_checkers.py.

A line with a mistake ends with a comment that says what is wrong with it, and so where
something must be found: by both, or with "(mypy)" by mypy alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from actors import Actor, Request, System, exposed, receives
from irismq_runtime import Node, ServiceRef
from supervisors import Supervisor, child


@dataclass(frozen=True)
class Greet(Request[str]):
    name: str


@dataclass(frozen=True)
class Count(Request[int]):
    pass


@dataclass(frozen=True)
class Follow(Request[AsyncIterator[bytes]]):
    path: str


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Other(Request[bytes]):
    pass


class Greeter(Actor[Greet | Count | Note | Follow]):
    def __init__(self, greeting: str) -> None:
        super().__init__()
        self.greeting = greeting

    @receives(Greet)
    async def greet(self, message: Greet) -> str:
        return self.greeting + message.name

    @receives(Count)  # wrong: the handler answers with a text, the message says an int
    async def count(self, message: Count) -> str:
        return "1"

    @receives(Follow)  # wrong: it yields texts
    async def follow(self, message: Follow) -> AsyncIterator[str]:
        yield ""

    @receives(Greet)  # wrong: the method takes another message
    async def also(self, message: Count) -> str:
        return ""

    @exposed
    async def greeted(self, name: str) -> bool:
        return bool(name)


async def addresses(node: Node) -> None:
    greeter: ServiceRef[Greet | Count | Note | Follow] = node.ref("greeter")
    await greeter.tell(Other())  # wrong: no handler takes it
    await greeter.ask(Other())  # wrong: no handler takes it
    await greeter.ask_all(Other())  # wrong: no handler takes it
    greeter.tell_all(Other())  # wrong: no handler takes it
    greeter.tell_many([Greet("a"), Other()])  # wrong: no handler takes one of them
    await greeter.ask(Note("x"))  # wrong: it names no answer
    number: int = await greeter.ask(Greet("Ada"))  # wrong: the answer is a text
    (await greeter.ask(Count())).upper()  # wrong: the answer is a number
    numbers: list[int] = (await greeter.ask_all(Greet("all"))).values  # wrong: they are texts
    text: str = greeter.ask(Greet("Ada"))  # wrong: no await
    greeter.ask(Greet("Ada")).upper()  # wrong: no await
    greeter.ask(Greet("Ada"))  # wrong (mypy): no await
    greeter.ask_all(Greet("Ada"))  # wrong (mypy): no await
    await greeter.tell(Greet)  # wrong: a class, not an instance
    await greeter.ask(Greet)  # wrong: a class, not an instance
    async for item in greeter.stream(Follow("x")):
        item.encode()  # wrong: the items are bytes
    async for item in greeter.stream(Greet("x")):  # wrong: its answer is no stream
        del item
    proxy = greeter.proxy(Greeter)
    await proxy.greetd("Ada")  # wrong: there is no such method
    await proxy.greeted(1)  # wrong: a number for a text
    more: ServiceRef[Greet | Other] = greeter  # wrong: it does not take Other
    del number, numbers, text, more


async def local(node: Node, system: System) -> None:
    ref = Greeter.start("Hello")
    ref.tell(Other())  # wrong: no handler takes it
    await ref.ask(Other())  # wrong: no handler takes it
    ref.tell(Greet)  # wrong: a class, not an instance
    number: int = await ref.ask(Greet("Ada"))  # wrong: the answer is a text
    text: str = ref.ask(Greet("Ada"))  # wrong: no await
    ref.ask(Greet("Ada"))  # wrong (mypy): no await
    del number, text
    Greeter.start()  # wrong: an argument is missing
    Greeter.start(1)  # wrong: a number for a text
    Greeter.start("Hello", loud=True)  # wrong: there is no such argument
    system.start(Greeter)  # wrong: an argument is missing
    system.start(Greeter, 1)  # wrong: a number for a text
    await node.start("tree")  # wrong: a text
    await node.start(Greeter)  # wrong: its constructor wants an argument
    await node.start(Greeter("Hello"))  # wrong: an instance, not a class
    untyped = node.ref("x")
    other: int = await untyped.ask(Greet("Ada"))  # wrong: the answer is a text
    del other


class Tree(Supervisor):
    children = [
        child(Greeter),  # wrong: an argument is missing
        child(Greeter, 1),  # wrong: a number for a text
        child(Greeter, greting="Hello"),  # wrong: there is no such argument
        child(Greeter, 1).with_options(name="x"),  # wrong: a number for a text
        child(Greeter, "Hello").with_options(restart="never"),  # wrong: no such restart
        child(Greeter, "Hello", restart="never"),  # wrong: no such restart
        child(Greeter("Hello")),  # wrong: an instance, not a class
    ]
