"""The tree of a node: twins, the desk, and what sets the schedule of the night."""

from __future__ import annotations

from actors import Actor, receives
from irismq_runtime import Singleton, current_node
from supervisors import Supervisor

from .messages import Alarm, Alarms, CloseDay, DeskState
from .twin import DESK, Twin


class Desk(Singleton):
    """Collects alarms, one for all nodes."""

    address = DESK
    state: DeskState

    @receives(Alarm)
    def note(self, alarm: Alarm) -> None:
        """An alarm came, from whichever node."""
        self.state.today.append(f"{alarm.device}: {alarm.why}")

    @receives(CloseDay)
    def close(self, _: CloseDay) -> None:
        """Count the alarms of the day, and begin a new one."""
        self.state.days.append(len(self.state.today))
        self.state.today.clear()

    @receives(Alarms)
    def alarms(self, _: Alarms) -> DeskState:
        """What there is."""
        return self.state


class Calendar(Actor):
    """Sets the schedule when a node starts; set again as it is it stays as it is."""

    async def on_start(self) -> None:
        """Every node does it, and each night one of them tells the desk."""
        node = current_node()
        await node.schedules.add(
            "close-day", CloseDay(), to=node.singleton(DESK), cron="0 0 * * *", tz="Europe/Berlin"
        )


class Devices(Supervisor):
    """What each node runs."""

    def children(self) -> list[type[Actor]]:
        """In this order."""
        return [Desk, Twin, Calendar]
