"""Two nodes, each with a relay of its own, on three real NATS servers that get killed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

import supervisors
from actors.errors import ActorDeadError, ActorError, AskTimeout
from irismq_runtime import ConfigError, Node, NoSuchService, NotConnected, RuntimeFault
from irismq_runtime.cli import codes
from tests.integration.asking import outcome
from tests.integration.processes import irismq, running
from tests.integration.service import Put, Who
from tests.integration.two_relays_node import expected, tree, try_everything, watch
from tests.support.certificates import make_certificate
from tests.support.nats_cluster import nats_cluster
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.nats_cluster import NatsCluster

#: Asks under way at any time while servers are killed.
ASKERS = 20
#: A machine that stands still for some seconds takes no node for gone.
UNHURRIED = ("--timeout", "20")
PATIENT: dict[str, Any] = {"presence_period": 0.5, "presence_misses": 30, "drain": 2.0}


@pytest.fixture
async def cluster() -> AsyncIterator[NatsCluster]:
    async with nats_cluster() as three:
        yield three


@pytest.fixture
async def nsqd() -> AsyncIterator[str]:
    async with nsqd_server("embedded") as broker:
        yield f"{broker.host}:{broker.port}"


def iris(cluster: NatsCluster, net: str = "pair") -> str:
    return f"{','.join(cluster.urls)}?net={net}"


@contextlib.asynccontextmanager
async def node(name: str, nsqd: str, iris: str, **options: Any) -> AsyncIterator[Node]:
    options = {**PATIENT, **options}
    async with Node(name=name, nsqd=nsqd, iris=iris, **options) as one:
        yield one


@pytest.fixture
async def pair(cluster: NatsCluster, nsqd: str) -> AsyncIterator[list[tuple[Node, Any]]]:
    """Two nodes and the roots of their trees."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for name in "ab":
            one = await stack.enter_async_context(node(name, nsqd, iris(cluster)))
            nodes.append((one, await one.start(tree(name))))
        yield nodes


async def all_verbs_work(pair: list[tuple[Node, Any]]) -> None:
    """Each node tries every verb on the other one."""
    for (one, _), (_, root), other in zip(pair, reversed(pair), "ba", strict=True):
        saw = await try_everything(one, other)
        assert {name: value for name, value in saw.items() if name in expected(other)} == expected(
            other
        )
        await supervisors.restart_child(root, "clerk")


async def test_every_verb_between_two_nodes(pair):
    assert all(one.endpoints["iris"].startswith("127.0.0.1:") for one, _ in pair)
    await all_verbs_work(pair)
    await until(lambda: all(one.health().ready for one, _ in pair))


class Load:
    """Asks under way all the time; their errors are kept."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref
        self.answered = 0
        self.errors: list[BaseException] = []
        self._tasks = [asyncio.ensure_future(self._ask()) for _ in range(ASKERS)]

    async def _ask(self) -> None:
        while True:
            try:
                await self._ref.ask(Who(), timeout=3.0)
            except Exception as error:
                self.errors.append(error)
                await asyncio.sleep(0)
            else:
                self.answered += 1

    async def goes_on(self) -> None:
        """Wait until every asker has had time for more answers."""
        enough = self.answered + 5 * ASKERS
        await until(lambda: self.answered >= enough)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_server_is_killed_in_turn_under_load(pair, cluster):
    """Whichever server a relay uses, it is killed once: asks go on by themselves."""
    loads = [Load(one.ref(f"pair.{other}")) for (one, _), other in zip(pair, "ba", strict=True)]
    try:
        for index in range(cluster.size):
            for load in loads:
                await load.goes_on()
            await cluster.kill(index)
            for load in loads:
                await load.goes_on()
            await cluster.restart(index)
    finally:
        for load in loads:
            await load.stop()
    errors = [error for load in loads for error in load.errors]
    assert [error for error in errors if not isinstance(error, RuntimeFault | ActorError)] == []
    await until(lambda: all(one.health().ready for one, _ in pair))
    await all_verbs_work(pair)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_all_servers_are_away_and_come_back(pair, cluster):
    (one, _), (two, _) = pair
    theirs = one.ref("pair.b")
    await theirs.ask(Put("x"))
    for index in range(cluster.size):
        await cluster.kill(index)
    await until(lambda: not one.health().ready and not two.health().ready)
    checks = {check.name: check for check in one.health().checks}
    assert not checks["overlay"].ok
    assert "NATS" in checks["overlay"].reason
    assert one.health().live
    with pytest.raises((RuntimeFault, ActorError)):
        await theirs.ask(Put("x"), timeout=1.0)
    for index in range(cluster.size):
        await cluster.restart(index)
    await until(lambda: one.health().ready and two.health().ready)
    await until(lambda: one.members("pair.b") and two.members("pair.a"))
    await all_verbs_work(pair)


async def test_two_networks_on_one_cluster_do_not_see_each_other(cluster, nsqd):
    async with node("a", nsqd, iris(cluster, "one")) as a, node("b", nsqd, iris(cluster)) as b:
        await a.start(tree("a"))
        await b.start(tree("b"))
        await a.settled()
        await b.settled()
        assert (len(a.nodes()), len(b.nodes())) == (1, 1)
        with pytest.raises(NoSuchService):
            await b.ref("pair.a").ask(Put("x"), timeout=20.0)


async def test_a_node_that_ends_says_goodbye_before_its_relay_ends(cluster, nsqd):
    """Silence would take 500 s to be noticed. A goodbye may be lost, but not three."""
    async with node("a", nsqd, iris(cluster), presence_misses=1000) as a:
        for _ in range(3):
            async with node("b", nsqd, iris(cluster)) as b:
                await b.start(tree("b"))
                await until(lambda: a.members("pair.b"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until(lambda: not a.members("pair.b")), 20)
                return
    pytest.fail("no goodbye was heard")


@pytest.mark.slow
async def test_watchers_hear_that_the_process_of_another_node_was_killed(cluster, nsqd):
    servers = ("--nsqd", nsqd, "--iris", iris(cluster))
    async with (
        node("a", nsqd, iris(cluster), presence_misses=3) as a,
        running("run", "tests.integration.two_relays_node:tree_of_b", *servers) as b,
    ):
        await until(lambda: a.members("pair.b"))
        _, peer = await a.ref("pair.b").ask(Who())
        ended = await watch(a, peer)
        b.signal(signal.SIGKILL)
        await ended.wait()
        while not isinstance(error := await outcome(peer.ask(Who())), ActorDeadError):
            assert isinstance(error, AskTimeout | NoSuchService)


async def test_an_embedded_broker_and_a_relay_over_nats_go_together(cluster):
    address = iris(cluster)
    async with Node.embedded(name="a", iris=address, **PATIENT) as a:
        await a.start(tree("a"))
        assert "nsqd_http" in a.endpoints
        async with node("b", a.endpoints["nsqd"], address) as b:
            await until(lambda: b.members("pair.a"))
            assert await b.ref("pair.a").ask(Put("x")) == 1


async def test_a_node_says_that_no_nats_server_answers(nsqd):
    async with nats_cluster(1) as gone:
        url = gone.urls[0]
    nowhere = Node(nsqd=nsqd, iris=url, connect_timeout=0.3)
    with pytest.raises(NotConnected, match=f"NATS at {re.escape(url)}"):
        await nowhere.__aenter__()


async def test_a_node_says_that_nats_refuses_its_credentials(nsqd):
    async with nats_cluster(1, extra="authorization { user: a, password: b }") as guarded:
        right = guarded.urls[0].replace("//", "//a:b@")
        async with node("a", nsqd, right):
            pass
        with pytest.raises(ConfigError, match="refuse") as caught:
            await Node(nsqd=nsqd, iris=right.replace("a:b@", "a:hunter2@")).__aenter__()
    assert "hunter2" not in str(caught.value)


async def test_a_node_speaks_tls_with_nats_and_shows_its_own_certificate(nsqd, tmp_path):
    files = make_certificate(tmp_path)
    paths = f'cert_file: "{files.certificate}", key_file: "{files.key}"'
    extra = f'tls {{ {paths}, ca_file: "{files.certificate}", verify: true }}'
    async with nats_cluster(1, extra=extra) as guarded:
        url = guarded.urls[0].replace("nats://", "tls://")
        shown = f"tls_cert={files.certificate}&tls_key={files.key}"
        async with node("a", nsqd, f"{url}?tls_ca={files.certificate}&{shown}") as a:
            await until(lambda: a.health().ready)
        with pytest.raises((ConfigError, NotConnected)):
            await Node(nsqd=nsqd, iris=url, connect_timeout=2.0).__aenter__()


async def test_commands_speak_over_nats(cluster, nsqd):
    servers = ("--nsqd", nsqd, "--iris", iris(cluster))
    async with running("run", "tests.integration.service:Inventory", *servers) as shop:
        await shop.says(" runs")
        asked = ("ask", "shop.inventory", "shop.put", '{"sku": "tea", "count": 3}')
        code, out, err = await irismq(*asked, *servers)
        while "NoSuchService" in err:  # the nodes have not heard of each other in time
            code, out, err = await irismq(*asked, *servers)
        assert (code, out) == (codes.OK, "3\n"), err
        shop.signal(signal.SIGTERM)
        assert await shop.ends() == codes.OK


RIGHTS = {
    "all": "",
    "nothing to say": 'permissions: { publish: ["irismq.none"] }',
    "nothing to hear": 'permissions: { subscribe: ["irismq.none"] }',
    "no answers": 'permissions: { subscribe: { allow: ">", deny: "iris.*.a.>" } }',
    "no presence": 'permissions: { publish: { allow: ">", deny: "iris.*.c.irismq.nodes" } }',
    "another net": 'permissions: { publish: "iris.other.>", subscribe: "iris.other.>" }',
}


@pytest.mark.parametrize(
    ("command", "rights"), [("doctor", "nothing to say"), *(("check", each) for each in RIGHTS)]
)
async def test_check_and_doctor_find_what_a_user_of_nats_may_not_do(nsqd, command, rights):
    """183: both said ok, and the node did not come up, or was deaf."""
    user = f"user: joe, password: hunter2, {RIGHTS[rights]}"
    async with nats_cluster(1, extra=f"authorization {{ users: [{{ {user} }}] }}") as guarded:
        url = guarded.urls[0].replace("//", "//joe:hunter2@")
        code, out, err = await irismq(command, "--nsqd", nsqd, "--iris", url, *UNHURRIED)
    (line,) = [line for line in out.splitlines() if "NATS server" in line]
    if rights == "all":
        assert line.lstrip().startswith("ok")
    else:
        assert "ermissions" in line
        assert code == codes.UNREACHABLE
    assert "hunter2" not in out + err


@pytest.mark.parametrize("command", ["check", "doctor"])
async def test_check_and_doctor_find_a_wrong_password_and_missing_tls(nsqd, command):
    async with nats_cluster(1, extra="authorization { user: joe, password: right }") as guarded:
        at = guarded.urls[0].removeprefix("nats://")
        for url, said in (
            (f"nats://joe:hunter2@{at}", "refused this relay"),
            (f"nats://{at}", "refused this relay"),
            (f"tls://joe:hunter2@{at}", "offers no TLS"),
            (f"nats://joe:right@{at}?creds=/nowhere/hunter2.creds", "cannot be used"),
        ):
            code, out, err = await irismq(command, "--nsqd", nsqd, "--iris", url, *UNHURRIED)
            (line,) = [line for line in out.splitlines() if "NATS server" in line]
            assert (code, said in line) == (codes.UNREACHABLE, True), out
            assert ":hunter2" not in out + err


async def test_a_relay_without_nats_is_one_line_and_code_3():
    async with nats_cluster(1) as gone:
        url = gone.urls[0]
    code, out, err = await irismq("relay", "--nats", url, "--port", "0", "--connect-timeout", "0.3")
    assert (code, out) == (codes.UNREACHABLE, "")
    (line,) = err.splitlines()
    where = url.removeprefix("nats://")
    assert line.startswith(f"irismq: {where} should be a NATS server, but there is nothing: ")
    assert line.endswith("start nats-server there, or give the address of one that runs")


async def test_what_a_small_message_of_nats_does_not_hold_is_known_to_all(nsqd):
    """1,100 addresses of 31 characters did not fit 64 KiB: who came later knew none of them."""
    names = {f"{i}.{'x' * 900}" for i in range(500)}
    async with (
        nats_cluster(2, extra="max_payload: 65536") as small,
        node("a", nsqd, iris(small)) as a,
        node("early", nsqd, iris(small)) as early,
    ):
        await until(lambda: len(a.nodes()) == len(early.nodes()) == 2)
        for name in names:
            a.parts.presence.bind(name, "urn:x")
        async with node("late", nsqd, iris(small)) as late:
            for one in (early, late):
                await until(lambda one=one: set(one.parts.presence.addresses()) == names)
                assert one.parts.presence.whole
            assert a.health().ready
