"""Logs: structured, in JSON if asked, never a flood, and never a body or a secret."""

from __future__ import annotations

import io
import json
import logging

import pytest

from actors import Actor, Context, Refused, System, receives
from actors.testing import ManualClock, settle
from irismq_runtime.mailbox import MailboxConfig
from irismq_runtime.observe import JsonLines, RateLimitedLog
from irismq_runtime.observe.throttle import Throttle
from supervisors import Supervisor, child, start
from tests.node.helpers import Add, Counter, MemoryServers

SECRET = "hunter2-of-a-user"  # noqa: S105  # planted, to be looked for


@pytest.fixture
def lines(caplog):
    """What is logged, each as its line of JSON."""
    caplog.set_level(logging.DEBUG)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def record(**extra):
    made = logging.makeLogRecord({"name": "shop", "levelname": "INFO", "msg": "sold %d", **extra})
    made.args = (3,)
    return made


def test_a_record_is_one_line_with_its_extras():
    line = JsonLines().format(record(order="17", text="a\nb"))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("INFO", "shop", "sold 3")
    assert (told["order"], told["text"]) == ("17", "a\nb")
    assert told["time"].endswith("Z")


def test_a_strange_extra_is_its_type():
    class Strange:
        def __repr__(self):
            return SECRET

    told = json.loads(JsonLines().format(record(what=Strange(), more=[Strange(), 1])))
    assert (told["what"], told["more"]) == ("Strange", ["Strange", 1])


def test_a_traceback_is_text_without_the_values_of_variables():
    def fails(password):
        raise ValueError("no")

    try:
        fails(SECRET)
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    told = json.loads(JsonLines().format(record(exc_info=info)))
    assert told["exception"].endswith("ValueError: no")
    assert SECRET not in told["exception"]


async def test_a_line_of_an_actor_names_it_and_a_report_is_whole(lines):
    class Talker(Actor):
        @receives(str)
        def talk(self, text):
            logging.getLogger("shop").warning("working")
            if text == "crash":
                raise RuntimeError("boom")

    system = System(clock=ManualClock(), blocked_after=None)
    system.attach()
    ref = start(Supervisor.of(child(Talker, name="talker")), system)
    await ref.started()
    worker = next(each for each in system.actors() if each.actor_class is Talker)
    worker.tell("crash")
    await settle(system)
    told = lines()
    assert next(line for line in told if line["message"] == "working")["actor"] == str(worker)
    report = next(line for line in told if line["logger"] == "supervisors" and "report" in line)
    assert report["report"]["offender"]["name"] == "talker"
    await system.shutdown()


def test_a_throttle_says_each_count_once():
    throttle = Throttle(1.0)
    assert [throttle.note(now) for now in (0.0, 0.1, 0.2)] == [1, 0, 0]
    assert throttle.rest(1.0) == 2
    assert throttle.note(1.5) == 0
    assert throttle.note(2.5) == 2


def test_the_extras_of_a_limited_line_say_kind_and_count(caplog):
    clock = ManualClock()
    log = RateLimitedLog("irismq", clock)
    for number in range(5):
        log.write(logging.WARNING, "lost", "lost %s", number)
    clock.advance(1.0)
    assert [(each.kind, each.count) for each in caplog.records] == [("lost", 1), ("lost", 4)]
    log.close()
    assert clock.pending == 0


class Order:
    """A message whose text would be its secret."""

    def __repr__(self):
        return SECRET


async def test_no_body_is_logged_whatever_becomes_of_it(lines):
    class Picky(Actor):
        inbox_limit = 3

        @receives(int)
        def no(self, number):
            raise Refused("no")

        @receives(str)
        def boom(self, text):
            raise RuntimeError("boom")

    system = System(clock=ManualClock(), blocked_after=None)
    system.attach()
    events = []
    system.events.subscribe(events.append)
    ref = system.start(Picky)
    await ref.started()
    ref.tell(Order())  # nobody handles it
    await settle(system)
    ref.deliver(Order(), context=Context(), on_done=lambda outcome: None)
    await settle(system)
    ref.tell(SECRET)  # its handler crashes
    ref.tell(Order())  # dies with its actor
    await settle(system)
    assert system.dead_letters.total == 3
    told = json.dumps(lines())
    assert "Order" in told
    assert SECRET not in told
    await system.shutdown()


async def test_keys_and_bodies_of_a_node_are_in_no_line(lines):
    world = MemoryServers()
    key = SECRET.encode()
    options = {"keys": {"k1": key}, "mailbox_options": {"auth_secret": SECRET}}
    async with (
        world.node("server", **options) as server,
        world.node("client", **options) as client,
        world.node("stranger") as stranger,
    ):
        log = []
        await server.start(Supervisor.of(child(Counter, log)))
        await client.ref("test.counter").tell(Add(1))
        stranger.ref("test.counter").tell_all({"password": SECRET})
        stranger.ref("test.counter").tell({"password": SECRET})
        client.ref("test.counter").tell({"password": SECRET})
        client.ref("test.counter").tell_all({"password": SECRET})
        while len(world.broker.bodies("test.counter.dead")) < 2:
            await settle(server.system)
        assert SECRET not in repr(client.config)
        assert SECRET not in repr(MailboxConfig(auth_secret=SECRET))
    told = json.dumps(lines())
    assert "refused a message" in told
    assert SECRET not in told
    assert key.hex() not in told


def test_failures_are_alike_by_address_type_and_reason_alone(caplog):
    """186: eight messages of seven types were one line that named one of them."""
    clock = ManualClock()
    log = RateLimitedLog("irismq", clock)
    told = [
        ("shop", "add", "no"),
        ("shop", "drop", "no"),
        ("shop", "add", "late"),
        ("x", "add", "no"),
    ]
    for address, kind, reason in told * 2:
        text = "%s: %s failed: %s"
        log.fault("buried", text, address, kind, reason, like=(address, kind, reason))
    assert [r.getMessage() for r in caplog.records] == [
        ": ".join((a, f"{k} failed", r)) for a, k, r in told
    ]
    clock.advance(1.0)
    assert {r.msg for r in caplog.records[4:]} == {"%s: %s failed: %s (%d like this)"}
    assert [r.args for r in caplog.records[4:]] == [(*each, 1) for each in told]
    log.close()


def test_values_of_strangers_make_no_flood_of_lines(caplog):
    clock = ManualClock()
    log = RateLimitedLog("irismq", clock)
    for second in range(3):
        before = len(caplog.records)
        for number in range(10_000):
            log.note("refused", "%s: refused", f"a{second}-{number}", like=(f"a{second}-{number}",))
        assert len(caplog.records) - before <= 20
        clock.advance(1.0)
    log.close()
    assert sum(record.count for record in caplog.records) == 30_000
    assert clock.pending == 0


@pytest.mark.parametrize(
    ("text", "args"), [("100% of it", ()), ("%s of it", ("100%",)), ("%d%%", (7,))]
)
def test_a_template_is_constant_and_a_per_cent_sign_stays(caplog, text, args):
    clock = ManualClock()
    log = RateLimitedLog("irismq", clock)
    for _ in range(3):
        log.note("kind", text, *args)
    clock.advance(1.0)
    said = text % args if args else text
    assert [r.getMessage() for r in caplog.records] == [said, f"{said} (2 like this)"]
    log.close()


def test_a_report_of_a_supervisor_has_a_template_for_each_event():
    from supervisors.reports import TEMPLATES, Offender, Report

    offender = Offender("c", "C", None, "worker", "permanent", 5.0, False)
    for event, template in TEMPLATES.items():
        made = Report(event, "S", None, "why", offender, 0, 0.0)
        assert str(made) == template % made.arguments
        assert "c" in str(made)
