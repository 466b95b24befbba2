"""Traces across nodes: who is whose parent, what ends how, and what it costs when off."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from actors import Actor, LoopClock, Refused, Retry, ThreadActor, exposed, message, receives
from actors.testing import ManualClock
from irismq_runtime import Durable, live, outside
from irismq_runtime import durable as durable_topic
from irismq_runtime.errors import NoSuchService, RemoteError
from irismq_runtime.observe.otel import parent_of_untrusted
from irismq_runtime.observe.tracing import tracing_of
from irismq_runtime.stores.memory import MemoryStore
from supervisors import child
from tests.node.helpers import Add, MemoryServers


@message("trace.relay")
@dataclass(frozen=True)
class Relay:
    """Do `how`, and tell what comes next."""

    how: str
    to: str = ""


class Seen:
    """The spans that have ended, by name."""

    def __init__(self, exporter, tracer):
        self._exporter = exporter
        self.tracer = tracer

    def all(self):
        return self._exporter.get_finished_spans()

    def named(self, name):
        return [span for span in self.all() if span.name == name]

    async def until(self, name, count=1):
        while len(self.named(name)) < count:
            await asyncio.sleep(0)
        found = self.named(name)
        return found[0] if count == 1 else found


def provide(monkeypatch, sampler=ALWAYS_ON):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return Seen(exporter, provider.get_tracer("test"))


@pytest.fixture
def spans(monkeypatch):
    return provide(monkeypatch)


@pytest.fixture
def world():
    return MemoryServers()


def is_child(span, parent):
    return (
        span.parent is not None
        and span.parent.span_id == parent.context.span_id
        and span.context.trace_id == parent.context.trace_id
    )


class Worker(Actor):
    address = "trace.worker"

    def __init__(self, node=None, tracer=None):
        self.node = node
        self.tracer = tracer
        self.kept = []

    @receives(Relay)
    async def relay(self, order):
        match order.how:
            case "crash":
                raise ValueError("boom")
            case "refuse":
                raise Refused("no")
            case "span":
                with self.tracer.start_as_current_span("inside"):
                    await asyncio.sleep(0)
                    self.node.ref(order.to).tell(Relay("end"))
            case "tell":
                self.node.ref(order.to).tell(Relay("end"))
            case "ask":
                return await self.node.ref(order.to).ask(Relay("end"))
            case "later":
                self.kept.append(self.reply_later())
            case "now":
                for reply in self.kept:
                    reply("late")
        return order.how

    @receives(Add)
    def add(self, order):
        with self.tracer.start_as_current_span("plain"):
            return order.amount

    @exposed
    def price(self, sku):
        return len(sku)

    async def on_tunnel(self, tunnel):
        with self.tracer.start_as_current_span("in the tunnel"):
            await tunnel.send(await tunnel.receive())


class End(Worker):
    address = "trace.end"


class Threaded(ThreadActor):
    address = "trace.thread"
    tracer = None

    @receives(Relay)
    def relay(self, order):
        with Threaded.tracer.start_as_current_span("in the thread"):
            return order.how


async def test_a_tell_is_a_producer_and_a_consumer_in_one_trace(world, spans):
    async with world.node("server") as server, world.node("client") as client:
        await server.start(Worker)
        await client.ref("trace.worker").tell(Relay("end"))
        consumer = await spans.until("process trace.worker")
        producer = await spans.until("send trace.worker")
    assert (producer.kind, consumer.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert producer.parent is None
    assert is_child(consumer, producer)
    assert producer.attributes["messaging.system"] == "nsq"
    assert producer.attributes["messaging.destination.name"] == "trace.worker"
    assert consumer.attributes["messaging.operation.type"] == "process"
    assert consumer.attributes["irismq.attempt"] == 1
    assert consumer.attributes["irismq.outcome"] == "replied"
    assert consumer.status.status_code is StatusCode.UNSET


async def test_an_ask_is_a_client_and_a_server(world, spans):
    async with world.node("server") as server, world.node("client") as client:
        await server.start(Worker)
        with spans.tracer.start_as_current_span("the user's"):
            assert await client.ref("trace.worker").ask(Relay("end")) == "end"
        assert await client.ref("trace.worker").proxy().price("tea") == 3
    mine = spans.named("the user's")[0]
    server_span, client_span = spans.named("trace.worker/trace.relay")
    assert (client_span.kind, server_span.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert is_child(client_span, mine)
    assert is_child(server_span, client_span)
    assert client_span.attributes["rpc.service"] == "trace.worker"
    assert client_span.attributes["rpc.method"] == "trace.relay"
    assert len(spans.named("trace.worker/price")) == 2


async def test_a_peer_is_named_in_an_attribute_and_not_in_the_spans_name(world, spans):
    class Giver(Actor):
        address = "trace.giver"

        def __init__(self, other):
            self.other = other

        @receives(Relay)
        def relay(self, order):
            return self.other

    async with world.node("one") as one, world.node("two") as two:
        worker = one.system.start(Worker)
        giver = one.system.start(Giver, worker)
        await worker.started()
        await giver.started()
        peer = await two.ref("trace.giver").ask(Relay("give"))
        assert await peer.ask(Relay("end")) == "end"
        await peer.tell(Relay("end"))
        heard = await spans.until("process peer")
    sides = spans.named("peer/trace.relay")
    asked = {span.kind: span for span in sides[:2]}
    assert is_child(asked[SpanKind.SERVER], asked[SpanKind.CLIENT])
    assert asked[SpanKind.CLIENT].attributes["irismq.target"] == str(peer)
    assert is_child(heard, sides[2])
    assert not any(one.id in span.name for span in spans.all())


async def test_what_a_handler_does_is_below_its_span_and_what_follows_is_not(world, spans):
    async with world.node("one") as one, world.node("two") as two:
        ref = one.system.start(Worker, one, spans.tracer)
        await ref.started()
        end = two.system.start(End, two, spans.tracer)
        await end.started()
        await two.ref("trace.worker").ask(Relay("span", "trace.end"))
        inside = await spans.until("inside")
        last = await spans.until("process trace.end")
        # The next message of the same actor is in no trace: nothing of the last is left.
        await ref.ask(Add(1))
        plain = await spans.until("plain")
    server = next(s for s in spans.named("trace.worker/trace.relay") if s.kind is SpanKind.SERVER)
    assert is_child(inside, server)
    (sent,) = spans.named("send trace.end")
    assert is_child(sent, inside)
    assert is_child(last, sent)
    assert plain.parent is None


async def test_ask_all_and_tell_all_reach_every_member_in_one_trace(world, spans):
    async with (
        world.node("one") as one,
        world.node("two") as two,
        world.node("client") as client,
    ):
        await one.start(Worker)
        await two.start(Worker)
        await client.settled()
        while len(client.members("trace.worker")) < 2:
            await asyncio.sleep(0)
        gathered = await client.ref("trace.worker").ask_all(Relay("end"))
        assert gathered.values == ["end", "end"]
        asked = spans.named("trace.worker/trace.relay")
        client.ref("trace.worker").tell_all(Relay("end"))
        heard = await spans.until("process trace.worker", 2)
    (sender,) = [span for span in asked if span.kind is SpanKind.CLIENT]
    servers = [span for span in asked if span.kind is SpanKind.SERVER]
    assert len(servers) == 2
    assert all(is_child(span, sender) for span in servers)
    assert sender.attributes["irismq.members.answered"] == 2
    (told,) = spans.named("send trace.worker")
    assert told.attributes["messaging.system"] == "iris"
    assert all(is_child(span, told) for span in heard)


@pytest.mark.parametrize("durable", [True, False])
async def test_events_are_traced_to_their_subscribers(world, spans, durable):
    class Live(Worker):
        address = None
        subscribes = (durable_topic("trace.news") if durable else live("trace.news"),)

    async with world.node("server") as server, world.node("client") as client:
        await server.start(Live)
        client.publish("trace.news", Relay("end"), durable=durable)
        heard = await spans.until("process trace.news")
        sent = await spans.until("send trace.news")
    assert is_child(heard, sent)


async def test_tunnels_and_streams_carry_the_trace(world, spans):
    class Streaming(Worker):
        @receives(Add)
        async def add(self, order):
            with self.tracer.start_as_current_span("yielding"):
                for number in range(order.amount):
                    yield number

    async with world.node("server") as server, world.node("client") as client:
        ref = server.system.start(Streaming, server, spans.tracer)
        await ref.started()
        async with client.ref("trace.worker").tunnel() as tunnel:
            await tunnel.send("hello")
            assert await tunnel.receive() == "hello"
        inside = await spans.until("in the tunnel")
        opened = await spans.until("trace.worker/tunnel", 2)
        assert [item async for item in client.ref("trace.worker").stream(Add(3))] == [0, 1, 2]
        yielding = await spans.until("yielding")
        streams = await spans.until("trace.worker/test.add", 2)
    served = next(span for span in opened if span.kind is SpanKind.SERVER)
    asked = next(span for span in opened if span.kind is SpanKind.CLIENT)
    assert is_child(served, asked)
    assert is_child(inside, served)
    assert is_child(yielding, next(s for s in streams if s.kind is SpanKind.SERVER))


async def test_the_status_says_how_it_ended(world, spans):
    async with world.node("server") as server, world.node("client") as client:
        ref = server.system.start(Worker)
        await ref.started()
        with pytest.raises(Refused):
            await client.ref("trace.worker").ask(Relay("refuse"))
        refused = {span.kind: span for span in spans.named("trace.worker/trace.relay")}
        with pytest.raises(RemoteError):
            await client.ref("trace.worker").ask(Relay("crash"))
        with pytest.raises(NoSuchService):
            await client.ref("trace.nobody").ask(Relay("end"))
    assert refused[SpanKind.SERVER].status.status_code is StatusCode.UNSET
    assert refused[SpanKind.SERVER].attributes["irismq.outcome"] == "refused"
    assert refused[SpanKind.CLIENT].status.status_code is StatusCode.ERROR
    assert refused[SpanKind.CLIENT].attributes["error.type"] == "Refused"
    crashed = spans.named("trace.worker/trace.relay")[2:]
    assert all(span.status.status_code is StatusCode.ERROR for span in crashed)
    server_span = next(span for span in crashed if span.kind is SpanKind.SERVER)
    assert server_span.events[0].attributes["exception.type"] == "ValueError"
    (absent,) = spans.named("trace.nobody/trace.relay")
    assert absent.attributes["error.type"] == "NoSuchService"


async def test_local_messages_carry_on_the_trace_without_spans_of_their_own(world, spans):
    class Front(Actor):
        address = "trace.front"

        def __init__(self, back):
            self.back = back

        @receives(Relay)
        async def relay(self, order):
            self.back.tell(Relay("span", "trace.end"))
            return await self.back.ask(Add(3))

    class Back(Worker):
        address = None

    async with world.node("one") as one, world.node("client") as client:
        end = one.system.start(End, one, spans.tracer)
        back = one.system.start(Back, one, spans.tracer)
        front = one.system.start(Front, back)
        for ref in (end, back, front):
            await ref.started()
        assert await client.ref("trace.front").ask(Relay("go")) == 3
        told = await spans.until("inside")
        asked = await spans.until("plain")
        last = await spans.until("process trace.end")
        await back.ask(Add(1))  # from outside of everything
        outside = spans.named("plain")[1]
        assert not one.parts.outbound.tracing.in_force
    server = next(s for s in spans.named("trace.front/trace.relay") if s.kind is SpanKind.SERVER)
    assert is_child(told, server)
    assert is_child(asked, server)
    assert last.context.trace_id == server.context.trace_id
    assert outside.parent is None


class Till(Durable):
    """Tells an actor of its process, with the commit or past it."""

    address = "trace.till"

    def __init__(self, back):
        self.back = back

    @receives(Relay)
    async def relay(self, order):
        if order.how == "outside":
            with outside():
                self.back.tell(Relay("span", "trace.end"))
        else:
            self.back.tell(Relay("span", "trace.end"))
        return order.how


@pytest.mark.parametrize("how", ["staged", "outside"])
async def test_a_local_tell_that_waits_for_a_commit_carries_on_its_trace(world, spans, how):
    class Back(Worker):
        address = None

    async with (
        world.node("one", store=MemoryStore()) as one,
        world.node("client") as client,
    ):
        back = one.system.start(Back, one, spans.tracer)
        await one.start(child(Till, back))
        asks = [client.ref("trace.till").ask(Relay(how)) for _ in range(3)]
        assert await asyncio.gather(*asks) == [how] * 3
        told = await spans.until("inside", 3)
        assert not one.parts.outbound.tracing.in_force
    served = [s for s in spans.named("trace.till/trace.relay") if s.kind is SpanKind.SERVER]
    traces = {span.context.trace_id for span in served}
    assert {span.context.trace_id for span in told} == traces
    assert len(traces) == 3


async def test_a_local_tell_that_is_tried_again_or_crashes_is_a_tell_as_any(world, spans):
    class Again(Actor):
        def __init__(self):
            self.attempts = []

        @receives(Relay)
        def relay(self, order):
            self.attempts.append(self.context.attempt)
            if len(self.attempts) < 3:
                raise Retry(after=0.0)
            raise ValueError("boom")

    async with world.node("one") as one:
        ref = one.system.start(Again)
        await ref.started()
        actor = ref._slot.actor
        with spans.tracer.start_as_current_span("the user's"):
            ref.tell(Relay("x"))
        while not one.system.dead_letters.total:
            await asyncio.sleep(0)
        assert actor.attempts == [1, 2, 3]
        (letter,) = one.system.dead_letters
        assert (letter.message, letter.reason) == (Relay("x"), "crashed")


async def test_a_promised_answer_ends_its_span_and_the_next_message_is_not_in_it(world, spans):
    async with world.node("server") as server, world.node("client") as client:
        ref = server.system.start(Worker, server, spans.tracer)
        await ref.started()
        asked = client.ref("trace.worker").ask(Relay("later"))
        while not (actor := ref._slot.actor).kept:
            await asyncio.sleep(0)
        await ref.ask(Add(1))
        assert spans.named("plain")[0].parent is None
        assert not spans.named("trace.worker/trace.relay")
        for reply in actor.kept:
            reply("late")
        assert await asked == "late"
    assert len(spans.named("trace.worker/trace.relay")) == 2


async def test_an_actor_on_a_thread_has_the_span_in_its_thread(world, spans):
    Threaded.tracer = spans.tracer
    async with world.node("server") as server, world.node("client") as client:
        await server.start(Threaded)
        assert await client.ref("trace.thread").ask(Relay("x")) == "x"
        inside = await spans.until("in the thread")
    server_span = next(
        s for s in spans.named("trace.thread/trace.relay") if s.kind is SpanKind.SERVER
    )
    assert is_child(inside, server_span)


async def test_a_trace_that_is_not_sampled_stays_so_everywhere(world, monkeypatch):
    spans = provide(monkeypatch, ParentBased(ALWAYS_OFF))
    async with world.node("server") as server, world.node("client") as client:
        ref = server.system.start(Worker, server, spans.tracer)
        await ref.started()
        with spans.tracer.start_as_current_span("not sampled"):
            assert await client.ref("trace.worker").ask(Add(2)) == 2
    assert spans.all() == ()


async def test_a_node_begins_so_many_traces_a_second_and_no_more(spans):
    clock = ManualClock()
    tracing = tracing_of(clock, 3)
    started = [tracing.tell({}, "a", 1, system="nsq") for _ in range(10)]
    assert [sending is not None for sending in started] == [True] * 3 + [False] * 7
    with spans.tracer.start_as_current_span("the user's"):
        assert tracing.tell({}, "a", 1, system="nsq") is not None
    clock.advance(1.0)
    assert tracing.ask({}, "a", 1) is not None
    none = tracing_of(clock, 0)
    assert none.tell({}, "a", 1, system="nsq") is None


async def test_without_a_provider_or_the_extra_there_is_no_tracing(world, monkeypatch):
    async with world.node("alone") as node:
        assert node.parts.outbound.tracing is None
        assert node.parts.dispatch.tracing is None
    provide(monkeypatch)
    monkeypatch.setitem(sys.modules, "irismq_runtime.observe.otel", None)
    assert tracing_of(LoopClock(), 100) is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        7,
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "G" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16,
        "x" * 10_000,
    ],
)
def test_nonsense_in_the_header_is_no_parent(header):
    assert parent_of_untrusted({"tp": header}) is None


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known():
    parent = parent_of_untrusted({"tp": "01-" + "a" * 32 + "-" + "b" * 16 + "-03-more"})
    assert parent.trace_id == int("a" * 32, 16)
    assert parent.is_remote
    assert parent.trace_flags.sampled


async def test_nonsense_that_looks_not_sampled_is_no_trace_below(spans):
    tracing = tracing_of(ManualClock(), 0)
    header = "00-" + "G" * 32 + "-" + "1" * 16 + "-00"
    scope = tracing.consumer({"tp": header}, "a", system="nsq", about=dict)
    scope.enter()
    assert not trace.get_current_span().get_span_context().is_valid
    scope.leave()
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_node_without_tracing_passes_the_trace_on(world, spans, monkeypatch):
    async with world.node("last") as last, world.node("client") as client:
        monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
        async with world.node("between") as between:
            ref = between.system.start(Worker, between)
            await ref.started()
            await last.start(End)
            assert await client.ref("trace.worker").ask(Relay("ask", "trace.end")) == "end"
    sender = next(s for s in spans.named("trace.worker/trace.relay") if s.kind is SpanKind.CLIENT)
    (served,) = spans.named("trace.end/trace.relay")
    assert served.kind is SpanKind.SERVER
    assert is_child(served, sender)
