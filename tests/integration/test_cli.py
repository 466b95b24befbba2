"""The commands, against running servers: results, error lines, exit codes."""

from __future__ import annotations

import json
import signal
import socket

import pytest

from irismq_runtime.cli import codes
from supervisors import Supervisor, child
from tests.cli.terminals import at_terminal
from tests.integration.processes import irismq, running
from tests.integration.service import Crash, Inventory, Put
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until


async def test_ask_prints_the_answer_as_json(servers):
    async with servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Inventory)))
        asked = ("ask", "shop.inventory", "shop.put", '{"sku": "tea", "count": 3}')
        code, out, _ = await irismq(*asked, *servers.flags)
        assert (code, json.loads(out)) == (codes.OK, 3)
        code, out, _ = await irismq(*asked, "--all", *servers.flags)
        assert list(json.loads(out)["replies"].values()) == [6]


async def test_a_refused_ask_is_one_line_and_code_1(servers):
    async with servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Inventory)))
        code, out, said = await irismq(
            "ask", "shop.inventory", "shop.stock", '{"sku": "x"}', *servers.flags
        )
        assert (code, out) == (codes.FAILED, "")
        assert said.strip().splitlines() == ["irismq: Refused: no x"]


async def test_tell_and_tell_all_reach_the_actor(servers):
    async with servers.node("shop") as shop:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log)))
        code, _, _ = await irismq(
            "tell", "shop.inventory", "shop.put", '{"sku": "tea"}', *servers.flags
        )
        assert code == codes.OK
        await until(lambda: Put("tea") in log)
        code, _, said = await irismq("tell-all", "shop.inventory", "shop.reset", *servers.flags)
        assert code == codes.OK
        assert "1 known member" in said
        await until(lambda: "reset" in log)


async def test_bench_says_how_many_were_done_and_how_long_they_took(servers):
    async with servers.node("shop") as shop:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log)))
        line = ("bench", "shop.inventory", "shop.put", '{"sku": "tea"}', *servers.flags)
        code, out, said = await irismq(*line, "--count", "50", "--in-flight", "8")
        figures = json.loads(out)
        assert (code, said) == (codes.OK, "")
        assert (figures["done"], figures["failed"], figures["errors"]) == (50, 0, {})
        assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["longest_ms"]
        assert log == ["start", *[Put("tea")] * 50]
        code, out, _ = await irismq(*line, "--count", "5", "--rate", "1000", "--tell")
        assert (code, json.loads(out)["verb"], json.loads(out)["done"]) == (codes.OK, "tell", 5)
        await until(lambda: len(log) == 56)
        refused = ("bench", "shop.inventory", "shop.stock", '{"sku": "x"}', *servers.flags)
        code, out, said = await irismq(*refused, "--count", "3")
        assert (code, json.loads(out)["errors"]) == (codes.FAILED, {"Refused: no x": 3})
        assert said == "3 times: Refused: no x\n"


async def test_the_tree_shows_restarts(servers):
    async with servers.node("shop") as shop:
        log = []
        # The message comes again until it is put aside: each time is a crash.
        tree = Supervisor.of(child(Inventory, log, name="inventory"), max_restarts=100)
        await shop.start(tree)
        await irismq("tell", "shop.inventory", "shop.crash", "{}", *servers.flags)
        await until(lambda: log.count("start") >= 2)
        code, out, _ = await irismq("tree", *servers.flags)
        assert code == codes.OK
        (report,) = json.loads(out)
        (worker,) = report["trees"][0]["children"]
        assert (report["name"], worker["name"]) == ("shop", "inventory")
        assert worker["restarts"] >= 1
        assert worker["last_exit"]["error"].endswith("ValueError")
        assert "runtime" not in report
        code, out, _ = await irismq("tree", "--verbose", *servers.flags)
        (report,) = json.loads(out)
        assert code == codes.OK
        assert report["offers"]["shop.inventory"]["messages"]["shop.put"] == "int"
        code, drawn = await at_terminal("tree", "-v", *servers.flags, columns=120)
        assert "takes shop.put, answers int" in drawn
        assert f"irismq-runtime {report['runtime']}, Python {report['python']}" in drawn


async def test_dead_letters_are_listed_shown_replayed_and_dropped(servers):
    nsqd = ("--nsqd", servers.nsqd_at)
    async with servers.node("shop", max_attempts=1) as shop:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log), max_restarts=100))
        for _ in range(2):
            await shop.ref("shop.inventory").tell(Crash("no luck"))
        await until(lambda: shop.parts.dispatch.counters.buried == 2)
        _, out, _ = await irismq("dead", "list", "shop.inventory", *nsqd)
        listed = json.loads(out)
        assert [row["reason"] for row in listed] == ["crashed: ValueError: no luck"] * 2
        _, out, _ = await irismq("dead", "show", "shop.inventory", listed[0]["id"], *nsqd)
        shown = json.loads(out)
        assert shown["message"] == {"text": "no luck"}
        assert "ValueError" in shown["traceback"]
        code, _, said = await irismq("dead", "replay", "shop.inventory", *nsqd)
        assert code == codes.USAGE
        code, _, said = await irismq(
            "dead", "replay", "shop.inventory", "--all", "--dry-run", *nsqd
        )
        assert "2 letters would be replayed" in said
        _, _, said = await irismq(
            "dead", "replay", "shop.inventory", "--id", listed[0]["id"], *nsqd
        )
        assert "1 letter replayed" in said
        await until(lambda: shop.parts.dispatch.counters.buried == 3)
    _, _, said = await irismq("dead", "drop", "shop.inventory", "--reason", "no luck", *nsqd)
    assert "2 letters dropped" in said
    _, out, _ = await irismq("dead", "list", "shop.inventory", *nsqd)
    assert json.loads(out) == []


async def test_the_mailbox_shows_what_waits_and_who_consumes(servers):
    http = f"{servers.nsqd.host}:{servers.nsqd.http_port}"
    async with servers.node("shop") as shop:
        await shop.ref("shop.empty").tell(Put("tea"))
        code, out, _ = await irismq("mailbox", "shop.empty", "--nsqd-http", http)
        assert (code, json.loads(out)[0]["depth"]) == (codes.OK, 1)
        await shop.start(Supervisor.of(child(Inventory)))
        await shop.ref("shop.inventory").tell(Put("tea"))
        _, out, _ = await irismq("mailbox", "shop.inventory", "--nsqd-http", http)
        assert json.loads(out)[0]["consumers"] == [shop.id]
    code, _, said = await irismq("mailbox", "shop.unheard", "--nsqd-http", http)
    assert code == codes.FAILED
    assert "nothing was ever told to it" in said


@pytest.fixture
def nowhere():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_nothing_listens_at_the_brokers_port(servers, nowhere):
    code, _, said = await irismq(
        "ask", "shop.inventory", "shop.reset", "--nsqd", nowhere, "--iris", servers.iris_at
    )
    assert code == codes.UNREACHABLE
    assert said.strip() == (
        f"irismq: nsqd at {nowhere} does not answer: Connection refused; "
        "start one with `irismq dev`, or give another address"
    )
    where = ("--nsqd", nowhere, "--iris", servers.iris_at, "--connect-timeout", "0.3")
    code, _, said = await irismq("run", "tests.integration.service:Shop", *where)
    assert code == codes.UNREACHABLE
    assert said.strip().endswith("start one with `irismq dev`, or pass --embedded")
    assert len(said.splitlines()) == 1


async def test_the_wrong_server_at_a_port_is_named(servers, nowhere):
    http = f"{servers.nsqd.host}:{servers.nsqd.http_port}"
    right = ("--nsqd", servers.nsqd_at, "--nsqd-http", http, "--iris", servers.iris_at)
    code, out, _ = await irismq("check", *right)
    assert code == codes.OK
    assert len(out.splitlines()) == 3
    code, out, _ = await irismq(
        "check", "--nsqd", http, "--nsqd-http", servers.iris_at, "--iris", servers.nsqd_at
    )
    assert code == codes.UNREACHABLE
    assert "should be nsqd, but there is nsqd's HTTP" in out
    assert "but there is an Iris relay" in out
    assert "should be an Iris relay, but there is nsqd;" in out
    code, out, _ = await irismq("check", *right, "--nsqd", nowhere)
    assert code == codes.UNREACHABLE
    assert "but there is nothing: " in out


async def test_a_host_that_does_not_exist(servers):
    code, out, _ = await irismq(
        "check", "--nsqd", "no.such.host.invalid:4150", "--iris", servers.iris_at
    )
    assert code == codes.UNREACHABLE
    assert "the host 'no.such.host.invalid' is not " in out  # known, or resolved in time


async def test_run_says_what_answers_at_the_wrong_port_and_does_not_wait(servers):
    http = f"{servers.nsqd.host}:{servers.nsqd.http_port}"
    run = ("run", "tests.integration.service:Shop", "--connect-timeout", "600")
    code, _, said = await irismq(*run, "--nsqd", http, "--iris", servers.iris_at)
    assert code == codes.UNREACHABLE
    assert "there is nsqd's HTTP" in said.splitlines()[-1]
    code, _, said = await irismq(*run, "--nsqd", servers.nsqd_at, "--iris", servers.nsqd_at)
    assert code == codes.UNREACHABLE
    assert "there is nsqd;" in said.splitlines()[-1]


async def test_run_names_what_it_waits_for_and_runs_when_that_has_come(tmp_path):
    async with iris_relay("embedded") as relay, nsqd_server("embedded") as nsqd:
        await nsqd.stop()
        where = ("--nsqd", f"127.0.0.1:{nsqd.port}", "--iris", f"127.0.0.1:{relay.port}")
        tree = ("tests.integration.service:Shop", "--connect-timeout", "600")
        async with running("run", *tree, *where, SHOP_JOURNAL=str(tmp_path / "j")) as process:
            await process.says(
                f"127.0.0.1:{nsqd.port} should be nsqd, but there is nothing: "
                "Connection refused; waiting for it, 600 s in all"
            )
            await nsqd.start()
            await process.says(" runs")
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK
        assert len([line for line in process.said if "waiting for it" in line]) == 1


async def test_dev_serves_until_it_is_told_to_stop():
    ports = ("--nsqd-port", "0", "--nsqd-http-port", "0", "--iris-port", "0")
    async with running("dev", *ports) as process:
        await process.says("nsqd on 127.0.0.1:")
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK
