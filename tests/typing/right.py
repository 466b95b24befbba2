"""Right code of a user, in which no type checker may find anything; see test_checkers.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

import attrs
import msgspec
from pydantic import BaseModel

from actors import (
    Actor,
    ActorRef,
    Future,
    Receipt,
    Request,
    System,
    Terminated,
    ThreadActor,
    exposed,
    message,
    receives,
)
from irismq_runtime import (
    Gathered,
    Node,
    PeerRef,
    SendContext,
    SendMiddleware,
    SendNext,
    ServiceRef,
    TellReceipt,
)
from supervisors import ChildSpec, Supervisor, child

# Messages: dataclass, attrs, msgspec; with an answer, with a stream, and with none.


@message("typed.greet")
@dataclass(frozen=True, slots=True)
class Greet(Request[str]):
    name: str


@message("typed.count")
@attrs.frozen
class Count(Request[int]):
    start: int = 0


@message("typed.follow")
class Follow(Request[AsyncIterator[bytes]], msgspec.Struct, frozen=True):
    path: str


@message("typed.lines")
@dataclass(frozen=True)
class Lines(Request[Iterator[bytes]]):
    path: str


@message("typed.note")
@dataclass(frozen=True)
class Note:
    text: str


@message("typed.hello")
@dataclass(frozen=True)
class Hello:
    whom: ActorRef[Actor[Greet]]


# Actors that say what they take.


class Greeter(Actor[Greet | Count | Note]):
    address = "greeter"

    def __init__(self, greeting: str, times: int = 1) -> None:
        super().__init__()
        self.greeting = greeting * times

    @receives(Greet)
    async def greet(self, message: Greet) -> str:
        return f"{self.greeting}, {message.name}"

    @receives(Count)
    def count(self, message: Count) -> int:
        return message.start + 1

    @receives(Note)
    async def note(self, message: Note) -> None:
        assert_type(await self.greet(Greet(message.text)), str)
        assert_type(self.count(Count()), int)

    @exposed
    async def greeted(self, name: str) -> bool:
        return bool(name)


class Follower(Actor[Follow | Lines]):
    @receives(Follow)
    async def follow(self, message: Follow) -> AsyncIterator[bytes]:
        yield message.path.encode()

    @receives(Lines)
    def lines(self, message: Lines) -> Iterator[bytes]:
        yield message.path.encode()


class Blocking(ThreadActor[Greet]):
    @receives(Greet)
    def greet(self, message: Greet) -> str:
        return message.name


class Polite(Greeter):
    async def greet(self, message: Greet) -> str:
        return await super().greet(message)


# Actors that say nothing: nothing is looked at, as before.


class Old(Actor):
    def __init__(self, path: str, *, size: int = 1) -> None:
        super().__init__()
        self.path = path

    @receives(Greet, Count)
    async def both(self, message: Greet | Count) -> Any:
        return None

    @receives(Note)
    def note(self, message: Any) -> Any:
        return None

    @receives(Terminated)
    async def ended(self, message: Terminated) -> None:
        self.watch(message.ref)


class Tree(Supervisor):
    children = [
        child(Greeter, "Hello"),
        child(Greeter, "Hello", times=2).with_options(name="twice"),
        child(Greeter, "Hello").with_options(name="transient", restart="transient"),
        child(Greeter, "Hello", name="more", instances=2),
        child(child(Greeter, "Hello"), name="other"),
        child(Old, "x", size=3, restart="temporary"),
        child(Follower, instances=4),
        Follower,
        Blocking,
    ]


async def addresses(node: Node) -> None:
    greeter: ServiceRef[Greet | Count | Note] = node.ref("greeter")
    assert_type(await greeter.ask(Greet("Ada")), str)
    assert_type(await greeter.ask(Count(), timeout=1.0), int)
    assert_type(greeter.ask(Count(), block=True), int)
    assert_type(greeter.ask(Count()).get(timeout=1), int)
    assert_type(await greeter.ask_all(Greet("all")), Gathered[str])
    assert_type((await greeter.ask_all(Greet("all"))).values, list[str])
    receipt: TellReceipt = greeter.tell(Note("kept"))
    await receipt
    await greeter.tell(Note("kept"), delay=2.0)
    greeter.tell(Note("left alone"))
    greeter.tell_all(Note("all"))
    receipts: list[TellReceipt] = greeter.tell_many([Note("one"), Greet("two")])
    del receipts
    either: str | int = await greeter.ask(Greet("Ada"))
    del either
    follower: ServiceRef[Follow | Lines] = node.ref("follower")
    async for item in follower.stream(Follow("x")):
        assert_type(item, bytes)
    async for item in follower.stream(Lines("x")):
        assert_type(item, bytes)
    proxy = greeter.proxy(Greeter)
    assert_type(await proxy.greeted("Ada"), bool)
    fewer: ServiceRef[Greet] = greeter
    await fewer.ask(Greet("Ada"))


async def untyped(node: Node, peer: PeerRef, ref: ActorRef, anything: Any) -> None:
    service = node.ref("x")
    assert_type(await service.ask(Note("")), Any)
    assert_type(await service.ask(Greet("Ada")), str)
    assert_type(await service.ask(anything), Any)
    await service.ask({"any": "thing"})
    await service.proxy().whatever(1)
    service.tell(1)
    async for item in service.stream("x"):
        item.anything()
    assert_type(await peer.ask(Greet("Ada")), str)
    assert_type(await peer.ask(Note("")), Any)
    peer.tell(1)
    ref.tell(1)
    await ref.ask(1)
    ref.ask(1, block=True).anything()
    assert_type(await ref.ask(Greet("Ada")), str)
    old: ServiceRef = service
    old.tell(1)


async def local(node: Node, system: System) -> None:
    ref = Greeter.start("Hello")
    assert_type(ref, ActorRef[Greeter])
    assert_type(await ref.ask(Greet("Ada")), str)
    assert_type(ref.ask(Count(), block=True), int)
    receipt: Receipt = ref.tell(Note("x"))
    await receipt
    ref.tell(Count())
    ref.stop()
    assert_type(await ref.proxy(Greeter).greeted("Ada"), bool)
    assert_type(system.start(Greeter, "Hello", times=2), ActorRef[Greeter])
    assert_type(system.start(Greeter, "Hello", name="x"), ActorRef[Greeter])
    assert_type(await Blocking.start().ask(Greet("Ada")), str)
    future: Future[str] = Polite.start("Hello").ask(Greet("Ada"))
    await future
    old = Old.start("x", size=2)
    old.tell("anything")
    assert_type(await old.ask(Greet("Ada")), str)
    await old.ask("anything")
    takes_greet: ActorRef[Actor[Greet]] = ref
    takes_greet.tell(Greet("Ada"))
    ref.tell(Greet("Ada"))
    Old.start("x").tell(Hello(ref))
    assert_type(await node.start(Tree), ActorRef[Tree])
    await node.start(child(Greeter, "Hello"))
    await node.start(Supervisor.of(child(Greeter, "Hello"), Follower), name="tree")
    spec: ChildSpec = child(Old, "x")
    await node.start(spec)


# Many at once, and in time.


class Rows(Actor[Note]):
    handler_timeout = 30.0

    @receives(Note, batch=500, within=0.2)
    async def write(self, notes: list[Note]) -> list[object]:
        return [note.text for note in notes]


class InTime(Actor[Greet]):
    @receives(Greet, timeout=5.0)
    async def greet(self, message: Greet) -> str:
        return message.name


# A model of pydantic as a message.


@message("types.order")
class Order(BaseModel, Request[int]):
    sku: str


class Orders(Actor[Order]):
    address = "types.orders"
    keeps_results = 60.0

    @receives(Order)
    def order(self, order: Order) -> int:
        return len(order.sku)


async def order(orders: ServiceRef[Order], node: Node) -> None:
    assert_type(await orders.ask(Order(sku="tea")), int)
    (receipt,) = orders.tell_many([Order(sku="tea")])
    await receipt.result(timeout=30.0)
    await node.result(receipt.id)


# Around sends.


def counted(context: SendContext, message: Any, call_next: SendNext) -> Any:
    assert_type(context.target, str)
    return call_next(message)


class Counting:
    def __call__(self, context: SendContext, message: Any, call_next: SendNext) -> Any:
        return call_next(message)


def of_the_node(node: Node) -> None:
    assert_type(node.dependency(Counting), Counting)


Node(dependencies={Counting: Counting, int: 5})
around: list[SendMiddleware] = [counted, Counting()]
Node(send_middleware=around)
Node(send_middleware=(counted,))
