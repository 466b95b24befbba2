"""The handler table: which method takes which message, checked when the class is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Actor,
    HandlerTableError,
    Refused,
    ThreadActor,
    exposed,
    exposed_methods,
    receives,
)

if TYPE_CHECKING:
    from actors import System


@dataclass(frozen=True)
class Base:
    text: str = ""


@dataclass(frozen=True)
class Derived(Base):
    pass


@dataclass(frozen=True)
class Other:
    pass


class Router(Actor):
    @receives(Base)
    def base(self, message: Base) -> str:
        return "base"

    @receives(int, float)
    async def number(self, message: float) -> str:
        return "number"

    def on_receive(self, message: Any) -> str:
        return "rest"


async def test_the_nearest_class_in_the_resolution_order_wins(actor_system: System) -> None:
    class Finer(Router):
        @receives(Derived)
        def derived(self, message: Derived) -> str:
            return "derived"

    plain = actor_system.start(Router)
    finer = actor_system.start(Finer)
    assert await plain.ask(Derived()) == "base"
    assert await finer.ask(Derived()) == "derived"
    assert await finer.ask(Base()) == "base"
    assert await finer.ask(1) == await finer.ask(1.5) == "number"
    assert await finer.ask(Other()) == "rest"


async def test_an_override_by_name_inherits_its_types(actor_system: System) -> None:
    class Overriding(Router):
        def base(self, message: Base) -> str:
            return "overridden"

    assert await actor_system.start(Overriding).ask(Base()) == "overridden"


def test_two_handlers_for_one_type_are_an_error_when_the_class_is_made() -> None:
    with pytest.raises(HandlerTableError, match="two handlers for Base: base and again"):

        class Twice(Router):
            @receives(Base)
            def again(self, message: Base) -> None: ...


def test_a_handler_takes_exactly_one_message() -> None:
    with pytest.raises(HandlerTableError, match="exactly self and one message"):

        class Nothing(Actor):
            @receives(Base)
            def nothing(self) -> None: ...

    with pytest.raises(HandlerTableError, match="exactly self and one message"):

        class Two(Actor):
            @receives(Base)
            def two(self, message: Base, more: int) -> None: ...

    with pytest.raises(HandlerTableError, match="exactly self and one message"):

        class Keyword(Actor):
            @receives(Base)
            def keyword(self, message: Base, *, must: int) -> None: ...

    with pytest.raises(HandlerTableError, match="must be a plain method"):

        class Static(Actor):
            @receives(Base)
            @staticmethod
            def static(message: Base) -> None: ...


def test_a_handler_may_have_parameters_with_defaults() -> None:
    class Fine(Actor):
        @receives(Base)
        def base(self, message: Base, extra: int = 1, *, more: int = 2) -> None: ...

    assert Fine.__handlers__[Base] is Fine.base


def test_receives_takes_classes_only() -> None:
    with pytest.raises(HandlerTableError, match="takes classes"):
        receives(Base())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(HandlerTableError, match="at least one class"):
        receives()


def test_a_thread_actor_has_no_async_handlers() -> None:
    with pytest.raises(HandlerTableError, match="thread of its own"):

        class Async(ThreadActor):
            @receives(Base)
            async def base(self, message: Base) -> None: ...

    with pytest.raises(HandlerTableError, match="thread of its own"):

        class AsyncHook(ThreadActor):
            async def on_start(self) -> None: ...


def test_exposed_names_are_public_and_known() -> None:
    with pytest.raises(HandlerTableError, match="private"):

        class Private(Actor):
            @exposed
            def _hidden(self) -> None: ...

    class Open(Actor):
        @exposed
        def worst(self) -> int:
            return 1

        def closed(self) -> None: ...

    class More(Open):
        @exposed
        def best(self) -> int:
            return 2

    assert exposed_methods(Open) == {"worst"}
    assert exposed_methods(More) == {"worst", "best"}


async def test_what_no_handler_takes_is_refused_or_buried(
    actor_system: System, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(Actor):
        pass

    ref = actor_system.start(Deaf)
    with pytest.raises(Refused, match="does not handle Other") as caught:
        await ref.ask(Other())
    assert caught.value.code == "unhandled"
    ref.tell(Other())
    with pytest.raises(Refused):
        await ref.ask(Other())
    assert actor_system.dead_letters.counts == {"unhandled": 1}
    assert "Unexpected message received by Deaf" in caplog.text
