"""A twin by itself, with its reminders; and all of it on two nodes, of which one goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime import Node
from irismq_runtime.testing import DurableKit, Told

from .messages import Alarm, Alarms, CloseDay, DeskState, Report, Show, TwinState
from .service import Desk, Devices
from .twin import DESK, SILENCE, TWIN, Twin

if TYPE_CHECKING:
    from pathlib import Path

HALL = Told(f"{DESK}/only", Alarm("boiler-7", "silent"))


async def test_a_device_that_reports_is_not_silent_and_one_that_stops_is() -> None:
    async with DurableKit[TwinState](Twin, key="boiler-7") as twin:
        for _ in range(5):
            await twin.tell(Report(60.0))
            await twin.advance(SILENCE - 1.0)
        assert twin.told == []
        await twin.advance(2.0)
        assert twin.told == [HALL]
        assert twin.state == TwinState(5, 60.0, 60.0, silent=True)
        await twin.advance(86400.0)
        assert twin.told == [HALL]  # it is said once
        await twin.tell(Report(20.0))
        assert twin.state.silent is False


async def test_a_device_that_is_too_hot_says_so_with_its_report() -> None:
    async with DurableKit(Twin, key="boiler-7", state=TwinState(1, 80.0, 85.0)) as twin:
        await twin.tell(Report(95.5))
        assert twin.told == [Told(f"{DESK}/only", Alarm("boiler-7", "95.5 degrees"))]
        assert (await twin.ask(Show())).highest == 95.5


async def test_at_night_the_alarms_of_the_day_are_counted() -> None:
    async with DurableKit[DeskState](Desk, key="only") as desk:
        await desk.tell(Alarm("a", "silent"))
        await desk.tell(Alarm("b", "silent"))
        await desk.tell(CloseDay())
        assert (desk.state.today, desk.state.days) == ([], [2])


async def test_twins_and_the_desk_go_on_when_one_of_two_nodes_ends(tmp_path: Path) -> None:
    async with Node.embedded(name="one", data=tmp_path, drain=2.0) as one:
        await one.start(Devices)
        twins = [one.entity(TWIN, f"boiler-{number}") for number in range(20)]
        other = Node(
            name="two",
            nsqd=one.endpoints["nsqd"],
            iris=one.endpoints["iris"],
            store=f"sqlite:///{tmp_path / 'state.db'}",
            drain=2.0,
        )
        async with other as two:
            await two.start(Devices)
            for twin in twins:
                await twin.tell(Report(95.0))
            (schedule,) = await two.schedules.list()
            assert (schedule.name, schedule.to) == ("close-day", f"{DESK}/only")
        for twin in twins:
            await twin.tell(Report(20.0))
        while True:
            states = [await twin.ask(Show(), timeout=30.0) for twin in twins]
            alarms = (await one.singleton(DESK).ask(Alarms(), timeout=30.0)).today
            if all(each.reports == 2 for each in states) and len(alarms) == len(twins):
                break
        assert {each.highest for each in states} == {95.0}
        assert sorted(alarms) == sorted(f"boiler-{n}: 95 degrees" for n in range(20))
        await one.schedules.run("close-day")
        while (await one.singleton(DESK).ask(Alarms())).days != [20]:
            pass
