"""The options of a class of actors: honoured, or refused when the class is made.

173, 174: the options are found by introspection. A slip of a name is said once, and
attributes of the user's own are left alone.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import warnings
from functools import partial

import pytest

from actors import Actor, ActorClassError, HandlerTableError, System, ThreadActor, receives
from actors._facilities import Facilities
from actors.rules import shown
from tests.support.refusals import refusal
from tests.support.walk import walked

VALUES = [0, -1, 0.5, 2**31, 2**63, math.nan, math.inf, -math.inf, "10MB", "", None, True, b"", []]

OPTIONS = sorted(name for name in Facilities.__annotations__ if not name.startswith("_"))
values = walked("value", VALUES)


@values
@pytest.mark.parametrize("option", OPTIONS)
async def test_an_option_of_a_class_is_honoured_or_refused_by_its_name(
    actor_system: System, option: str, value: object
) -> None:
    body = {option: value, "on_receive": lambda _, message: message}
    said = refusal(lambda: type("Made", (Actor,), dict(body)), ActorClassError)
    if said is not None:
        assert f"Made.{option}:" in said
        return
    made = type("Made", (Actor,), body)
    assert await actor_system.start(made).ask("hello", timeout=5.0) == "hello"


@values
async def test_an_option_of_a_system_is_taken_or_refused_by_its_name(value: object) -> None:
    for name, parameter in inspect.signature(System.__init__).parameters.items():
        if name in {"self", "clock", "events", "loop_factory"}:
            continue
        assert parameter.default is not parameter.empty
        said = refusal(partial(System, **{name: value}), ValueError)
        assert said is None or f"{name}=" in said


@values
async def test_a_call_takes_its_seconds_or_refuses_them_by_name(
    actor_system: System, value: object
) -> None:
    class Echo(Actor):
        def on_receive(self, message: object) -> object:
            return message

        @receives(str)
        def later(self, kind: str) -> None:
            getattr(self, kind)(value, 1)

    for kind, name in (("send_after", "delay"), ("send_every", "period")):
        ask = actor_system.start(Echo).ask(kind)
        (outcome,) = await asyncio.gather(ask, return_exceptions=True)
        assert outcome is None or (type(outcome) is ValueError and f"{name}=" in str(outcome))
    echo = actor_system.start(Echo)
    for call in (echo.ask, echo.stop):
        arguments = (1,) if call == echo.ask else ()
        said = refusal(partial(call, *arguments, timeout=value), ValueError)
        assert said is None or "timeout=" in said


@pytest.mark.parametrize("option", ["inbox_limit", "stash_limit", "crash_retries"])
def test_what_only_the_class_can_say_is_refused_on_an_instance(
    actor_system: System, option: str
) -> None:
    class Hasty(Actor):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, option, 5)

    class HastyThread(ThreadActor):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, option, 5)

    for hasty in (Hasty, HastyThread):
        with pytest.raises(ActorClassError, match=rf"self\.{option} is not heard"):
            actor_system.start(hasty)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("adress", "shop", "address"),
        ("addres", "shop", "address"),
        ("inbox_limits", 5, "inbox_limit"),
        ("mailbox_windows", 5, "mailbox_window"),
        ("refuse", (KeyError,), "refuses"),
    ],
)
def test_a_slip_of_a_name_is_said_where_the_class_is_made(
    name: str, value: object, meant: str
) -> None:
    with pytest.warns(UserWarning, match=f"{name} is read by nobody: is {meant} meant") as caught:

        class Slipped(Actor):
            locals()[name] = value

    assert caught[0].filename == __file__


def test_attributes_of_ones_own_are_left_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Own(Actor):
            addresses = ("a", "b")
            address_book: dict[str, str] = {}  # noqa: RUF012  # as users write it
            addressed = False
            limit = 5
            retries = 3
            inbox = None
            name = "own"
            codecs = ("json",)
            refused = 0
            _adress = "private"

            def refuse(self) -> None: ...

            def subscribe(self, topic: str) -> None: ...

        class Below(Own):
            retries = 4

    assert Below.retries == 4


def test_a_value_that_cannot_be_shown_is_shown_by_its_class() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Shy" in shown(Shy())


def test_two_handlers_of_one_name_are_an_error_when_the_class_is_made() -> None:
    with pytest.raises(HandlerTableError, match="two handlers named on"):

        class Twice(Actor):
            @receives(str)
            def on(self, message: str) -> None: ...

            @receives(int)
            def on(self, message: int) -> None: ...  # noqa: F811  # that is the slip


def test_a_handler_that_something_else_replaced_is_an_error() -> None:
    with pytest.raises(HandlerTableError, match=r"Replaced\.on is not a handler any more"):

        class Replaced(Actor):
            @receives(str)
            def on(self, message: str) -> None: ...

            def on(self) -> None: ...  # noqa: F811  # that is the slip


async def test_receives_may_stand_twice_above_one_method(actor_system: System) -> None:
    class Both(Actor):
        @receives(str)
        @receives(int)
        def on(self, message: object) -> object:
            return message

    both = actor_system.start(Both)
    assert [await both.ask("a"), await both.ask(1)] == ["a", 1]
