"""Entities over transports and a store in memory, and the messages they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors import Refused, message, receives
from irismq_runtime.entities import Entity


@message("test.device-state")
@dataclass
class DeviceState:
    total: int = 0
    seen: list[int] = field(default_factory=list)


@message("test.device-report")
@dataclass(frozen=True)
class Report:
    value: int


@message("test.device-read")
@dataclass(frozen=True)
class Read:
    pass


@message("test.pass-to")
@dataclass(frozen=True)
class PassTo:
    key: str
    value: int


@message("test.device-fail")
@dataclass(frozen=True)
class Fail:
    pass


@message("test.owe")
@dataclass(frozen=True)
class Owe:
    pass


@message("test.give-ref")
@dataclass(frozen=True)
class GiveRef:
    key: str


@message("test.ask-on")
@dataclass(frozen=True)
class AskOn:
    key: str


class Device(Entity):
    """Adds up what is reported of it."""

    address = "test.device"
    shards = 4
    state: DeviceState

    def __init__(self, handled: list[Any] | None = None) -> None:
        #: The key and the message of each handler that began.
        self.handled = handled if handled is not None else []

    @receives(Report)
    def report(self, report: Report) -> int:
        self.handled.append((self.key, report))
        self.state.total += report.value
        self.state.seen.append(report.value)
        return self.state.total

    @receives(Read)
    def read(self, _: Read) -> int:
        return self.state.total

    @receives(PassTo)
    def pass_to(self, message: PassTo) -> None:
        if message.value > self.state.total:
            raise Refused("too little", code="poor")
        self.state.total -= message.value
        self.entity("test.device", message.key).tell(Report(message.value))

    @receives(Fail)
    def fail(self, _: Fail) -> None:
        raise RuntimeError("it was told to")
