"""Targets of schedules, which keep what they are told and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors import Actor, message, receives
from irismq_runtime import Durable, Entity


@message("test.chime")
@dataclass(frozen=True)
class Chime:
    text: str = "bong"


@message("test.chimes-heard")
@dataclass(frozen=True)
class Heard:
    pass


@message("test.listener-state")
@dataclass
class ListenerState:
    heard: list[str] = field(default_factory=list)
    headers: list[list[object]] = field(default_factory=list)


class _Listening:
    state: ListenerState

    @receives(Chime)
    def chime(self, chime: Chime) -> None:
        headers = self.context.headers
        self.state.heard.append(chime.text)
        self.state.headers.append([headers.get("schedule"), headers.get("missed", 0)])

    @receives(Heard)
    def heard(self, _: Heard) -> ListenerState:
        return self.state


class Tower(_Listening, Durable):
    """One durable actor."""

    address = "test.tower"
    state: ListenerState


class Towers(_Listening, Entity):
    """One for each key."""

    address = "test.towers"
    shards = 2
    state: ListenerState


class Bell(Actor):
    """An ordinary actor."""

    address = "test.bell"

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    @receives(Chime)
    def chime(self, chime: Chime) -> None:
        self.heard.append(chime.text)
