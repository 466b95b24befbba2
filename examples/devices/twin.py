"""The twin of a device: an entity whose key is the number of the device."""

from __future__ import annotations

from typing import Final

from actors import receives
from irismq_runtime import Entity

from .messages import Alarm, Overdue, Report, Show, TwinState

TWIN: Final = "devices.twin"
DESK: Final = "devices.desk"
#: Degrees above which a device is too hot.
HOT: Final = 90.0
#: Seconds without a report after which a device is silent.
SILENCE: Final = 300.0


class Twin(Entity):
    """Keeps what a device reports; all that a handler does here is one commit."""

    address = TWIN
    state: TwinState

    @receives(Report)
    def take(self, report: Report) -> None:
        """Note a report; each sets the reminder anew, so it comes only to a silent device."""
        state = self.state
        state.reports += 1
        state.latest = report.celsius
        state.highest = max(report.celsius, state.highest or report.celsius)
        state.silent = False
        self.remind("overdue", Overdue(), after=SILENCE)
        if report.celsius > HOT:
            self._alarm(f"{report.celsius:g} degrees")

    @receives(Overdue)
    def fall_silent(self, _: Overdue) -> None:
        """Nothing has come for a while, be the twin at rest, moved, or its node killed since."""
        self.state.silent = True
        self._alarm("silent")

    @receives(Show)
    def show(self, _: Show) -> TwinState:
        """What is known."""
        return self.state

    def _alarm(self, why: str) -> None:
        self.entity(DESK, "only").tell(Alarm(self.key, why))
