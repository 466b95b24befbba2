"""What devices, the desk and people tell and ask each other."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors import Request, message


@message("devices.report")
@dataclass(frozen=True)
class Report:
    """A device has measured something."""

    celsius: float


@message("devices.twin-state")
@dataclass
class TwinState:
    """What is known of a device."""

    reports: int = 0
    latest: float | None = None
    highest: float | None = None
    silent: bool = False


@message("devices.show")
@dataclass(frozen=True)
class Show(Request[TwinState]):
    """Ask what is known of a device."""


@message("devices.overdue")
@dataclass(frozen=True)
class Overdue:
    """A device has not reported for a while: its twin tells itself."""


@message("devices.alarm")
@dataclass(frozen=True)
class Alarm:
    """A device is too hot, or silent."""

    device: str
    why: str


@message("devices.close-day")
@dataclass(frozen=True)
class CloseDay:
    """The day is over: the alarms of it are history."""


@message("devices.desk-state")
@dataclass
class DeskState:
    """The alarms of today, and how many there were on each day before."""

    today: list[str] = field(default_factory=list)
    days: list[int] = field(default_factory=list)


@message("devices.alarms")
@dataclass(frozen=True)
class Alarms(Request[DeskState]):
    """Ask what there is at the desk."""
