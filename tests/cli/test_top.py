"""The screen of `irismq top`, driven by keys, and the command on running nodes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import DataTable, Input, Sparkline, Static

from irismq_runtime import Node
from irismq_runtime.cli import codes
from irismq_runtime.cli.top.command import make_screen
from irismq_runtime.cli.top.rows import View
from irismq_runtime.cli.top.screen import Detail, Top
from irismq_runtime.errors import ConfigError
from irismq_runtime.observer import Gatherer, Point
from tests.cli.systems import Scripted, crash, node, place, problem, service
from tests.integration.processes import Process, irismq, running
from tests.observer.service import Begin
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
SHOP = node(
    "shop",
    place(
        "Tree",
        place("till", restarts=4, address="shop.till", last=crash(traceback="Traceback\n  boom")),
        place("store", place("rack", inbox=5)),
    ),
)
PARTS: dict[str, Any] = {
    "nodes": (SHOP, node("gone", state="lost")),
    "services": (service("shop.till", "shop"),),
    "problems": (problem("gone", "gone is gone without a goodbye"),),
}


class Screen:
    """What a reader sees of the screen, and the keys."""

    def __init__(self, app: Top, pilot: Pilot[None], source: Scripted) -> None:
        self.app = app
        self.pilot = pilot
        self.source = source

    def text(self, selector: str) -> str:
        return str(self.app.screen_stack[0].query_one(selector, Static).render())

    @property
    def table(self) -> DataTable[Any]:
        return self.app.screen_stack[0].query_one(DataTable)

    @property
    def lines(self) -> list[str]:
        return [str(self.table.get_row_at(index)[0]) for index in range(self.table.row_count)]

    @property
    def names(self) -> list[str]:
        return [line.replace("▾", "").replace("▸", "").split()[0] for line in self.lines]

    @property
    def selected(self) -> str:
        return self.names[self.table.cursor_row]

    def tone(self, name: str) -> str:
        return str(self.table.get_row_at(self.names.index(name))[0].style)

    @property
    def said(self) -> list[str]:
        return [note.message for note in self.app._notifications]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def show(self, **parts: Any) -> None:
        await self.source.show(**parts)
        version = self.source.latest.version
        await until(lambda: self.app.shown.version == version)
        await self.pilot.pause()


@contextlib.asynccontextmanager
async def screen(size: tuple[int, int] = (80, 24)) -> AsyncIterator[Screen]:
    source = Scripted()
    app = Top(source)
    async with app.run_test(size=size) as pilot:
        yield Screen(app, pilot, source)


async def test_what_is_wrong_stands_at_the_top() -> None:
    async with screen() as seen:
        assert seen.text("#problems") == "looking around..."
        await seen.show(**PARTS)
        assert "1 node, " in seen.text("#headline")
        assert seen.text("#problems").startswith("gone is gone without a goodbye")
        assert seen.names == ["shop", "Tree", "till", "store", "rack", "gone"]
        await seen.show(nodes=(SHOP,))
        assert seen.text("#problems") == "nothing is wrong"


async def test_eighty_by_twenty_four_are_enough() -> None:
    many = tuple(problem(str(n), f"a thing whose name is long {n} " * 4) for n in range(9))
    big = node("big", place("Tree", *(place(f"w{n}") for n in range(40))))
    async with screen() as seen:
        await seen.show(**{**PARTS, "problems": many, "nodes": (SHOP, big)})
        assert seen.text("#problems").count("\n") == 3
        assert all(len(line) <= 80 for line in seen.text("#problems").splitlines())
        assert all(len(line) <= 78 for line in seen.lines)
        await until(lambda: seen.table.region.height >= 10)
        await until(lambda: seen.app.query_one("Footer").region.bottom == 24)
        await seen.press("t")
        assert all(len(line) <= 78 for line in seen.lines)


async def test_keys_turn_sort_and_fold() -> None:
    async with screen() as seen:
        await seen.show(**PARTS)
        await seen.press("s", "s")
        assert "restarts▾" in seen.text("#columns")
        await seen.press("s", "s", "s")
        await seen.press("down", "space")
        assert seen.names == ["shop", "Tree", "gone"]
        await seen.press("enter")
        assert seen.names == ["shop", "Tree", "till", "store", "rack", "gone"]
        await seen.press("e")
        assert seen.names == ["shop", "gone"]
        await seen.press("e")
        assert len(seen.names) == 6
        await seen.press("t")
        assert seen.names == ["shop.till"]
        assert seen.text("#columns").split()[0] == "address"


async def test_a_filter_is_typed_and_left() -> None:
    async with screen() as seen:
        await seen.show(**PARTS)
        await seen.press("slash", *"rack")
        assert seen.names == ["shop", "Tree", "store", "rack"]
        assert "only 'rack'" in seen.text("#headline")
        await seen.press("enter")
        assert not seen.app.query_one(Input).has_focus
        await seen.show(**PARTS)
        assert seen.names == ["shop", "Tree", "store", "rack"]
        await seen.press("escape")
        assert len(seen.names) == 6


async def test_the_selected_row_stays_selected_wherever_it_goes() -> None:
    async with screen() as seen:
        await seen.show(**PARTS)
        await seen.press(*["down"] * 4)
        assert seen.selected == "rack"
        new = node("a-new-one", place("Tree", place("x")))
        await seen.show(**{**PARTS, "nodes": (new, SHOP)})
        assert seen.selected == "rack"
        await seen.show(**{**PARTS, "nodes": (new,)})
        assert seen.selected == "x"  # the last one left
        await seen.show(nodes=())
        await seen.press("space", "i", "enter")
        assert seen.names == []


async def test_a_row_takes_another_tone_when_only_that_changes() -> None:
    async with screen() as seen:
        await seen.show(nodes=(SHOP,))
        assert seen.tone("rack") == ""
        await seen.show(nodes=(node("shop", *SHOP.trees, state="lost"),))
        assert seen.tone("rack") == "dim"


async def test_details_have_the_traceback_of_the_last_crash() -> None:
    async with screen() as seen:
        await seen.show(**PARTS)
        await seen.press("down", "down", "i")
        assert isinstance(seen.app.screen, Detail)
        text = str(seen.app.screen.query_one(Static).render())
        assert "builtins.ValueError: no luck\nTraceback\n  boom" in text
        await seen.show(**PARTS)  # goes on below
        await seen.pilot.resize_terminal(100, 40)
        await seen.show(**PARTS)
        await seen.press("escape")
        assert not isinstance(seen.app.screen, Detail)
        await seen.press("enter")  # a worker has nothing to open
        assert isinstance(seen.app.screen, Detail)


async def test_a_child_is_restarted_when_that_is_wished_twice() -> None:
    tree = place("Tree", place("till"), ref="urn:tree")
    async with screen() as seen:
        await seen.show(nodes=(node("shop", tree),))
        await seen.press("down", "r")  # the root has no supervisor
        assert seen.app.screen is seen.app.screen_stack[0]
        await seen.press("down", "r", "n")
        assert seen.source.restarted == []
        await seen.press("r", "y")
        await until(lambda: seen.source.restarted == [("shop-1", "urn:tree", "till")])
        seen.source.refuses = "it would [bold]not come back"
        await seen.press("r", "y")
        await until(lambda: any("not come back" in said for said in seen.said))
        assert len(seen.source.restarted) == 1


async def test_a_pause_holds_what_is_shown() -> None:
    async with screen() as seen:
        await seen.show(**PARTS)
        await seen.press("p")
        await seen.source.show(nodes=())
        await seen.pilot.pause()
        assert len(seen.names) == 6
        assert "(paused)" in seen.text("#headline")
        await seen.press("p")
        assert seen.names == []


async def test_charts_are_drawn_and_grow_with_the_screen() -> None:
    async with screen((120, 40)) as seen:
        for rate in (1.0, 5.0, 3.0):
            await seen.show(point=Point(time=0.0, handled=rate, waiting=7, p99=0.002))
        charts = list(seen.app.query(Sparkline))
        assert charts[0].data == [1.0, 5.0, 3.0]
        await until(lambda: charts[0].region.height == 3)
        labels = [str(label.render()) for label in seen.app.query("#charts Static").results(Static)]
        assert labels == ["handled/s 3.0", "waiting 7", "asks p99 2.0 ms"]
        await seen.pilot.resize_terminal(80, 24)
        await until(lambda: charts[0].region.height == 1)
        assert len(seen.text("#columns")) <= 78


async def test_q_ends_it() -> None:
    async with screen() as seen:
        await seen.press("q")
        await until(lambda: not seen.app.is_running)


async def test_what_is_seen_while_it_closes_is_not_drawn() -> None:
    source = Scripted()

    class Closing(Top):
        async def _close_all(self) -> None:
            await super()._close_all()
            await source.show(**PARTS)  # its widgets are gone, its tasks are not
            await until(lambda: self.shown.version == source.latest.version)

    async with Closing(source).run_test() as pilot:
        await pilot.pause()
    assert source.latest.version == 1


def test_without_textual_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "irismq_runtime.cli.top.screen", None)
    with pytest.raises(ConfigError, match=r"irismq-runtime\[top\]"):
        make_screen(Scripted(), View())


# On running nodes ---------------------------------------------------------------


class System:
    """A broker, a relay, and nodes in processes of their own."""

    def __init__(self, nsqd: Any, relay: Any) -> None:
        self.http = f"{nsqd.host}:{nsqd.http_port}"
        self.nsqd = f"{nsqd.host}:{nsqd.port}"
        self.iris = f"{relay.host}:{relay.port}"
        self.flags = ("--nsqd", self.nsqd, "--iris", self.iris)

    @contextlib.asynccontextmanager
    async def node(self, name: str, tree: str) -> AsyncIterator[Process]:
        arguments = ("run", f"tests.observer.service:{tree}", "--name", name, *self.flags)
        async with running(*arguments) as process:
            await process.says(" runs")
            yield process


@pytest.fixture
async def system() -> AsyncIterator[System]:
    async with nsqd_server("embedded") as nsqd, iris_relay("embedded") as relay:
        yield System(nsqd, relay)


async def test_three_faults_on_three_nodes_are_shown(system: System) -> None:
    async with (
        system.node("loops", "Looping"),
        system.node("grows", "Growing"),
        system.node("dies", "Steady") as dies,
        Node(name="cli", nsqd=system.nsqd, iris=system.iris, drain=1.0) as eye,
        Gatherer(eye, ignore={"cli"}) as gatherer,
    ):
        app = Top(gatherer)
        async with app.run_test(size=(80, 24)) as pilot:
            seen = Screen(app, pilot, Scripted())

            async def shown(text: str) -> None:
                began = asyncio.get_running_loop().time()
                await until(lambda: text in seen.text("#problems"))
                seconds = asyncio.get_running_loop().time() - began
                print(f"{text!r} was shown after {seconds:.2f} s")  # noqa: T201  # measured: -rP

            await until(lambda: {"loops", "grows", "dies"} <= set(seen.names))
            await until(lambda: "flaky" in seen.names)
            await until(lambda: seen.text("#problems") == "nothing is wrong")
            dies.signal(signal.SIGKILL)
            await shown("dies")
            await eye.ref("seen.flaky").tell(Begin())
            await shown("flaky crashes")
            await eye.ref("seen.filler").tell(Begin())
            await shown("grows")
            await until(lambda: any("looping" in line for line in seen.lines))


async def test_once_prints_what_runs(system: System) -> None:
    where = (*system.flags, "--nsqd-http", system.http)
    async with system.node("steady", "Steady"):
        while True:  # on a busy machine the node may not have answered yet
            (code, out, _), (_, value, _) = await asyncio.gather(
                irismq("top", "--once", *where), irismq("top", "--json", *where)
            )
            if code == codes.OK and out.startswith("1 node, ") and '"state":"up"' in value:
                break
        seen = json.loads(value)
        assert "steady steady-" in out
        assert "seen.desk" in out
        assert seen["nodes"][0]["name"] == "steady"
