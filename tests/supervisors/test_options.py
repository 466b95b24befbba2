"""Every option of a supervisor and of a child is honoured, or refused by its name.

174: the options are found by introspection, so that a new one is walked too. What is
accepted is put to use: the tree starts, its child answers, and it stops. One test
tries every value on an option, and says of which ones it does not hold.
"""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from actors import Actor, ActorClassError
from supervisors import (
    Backoff,
    DynamicSupervisor,
    PartitionSupervisor,
    SpecError,
    Supervisor,
    child,
    start_child,
    which_children,
)
from supervisors._base import Supervising
from supervisors._policy import DynamicOptions, Options
from supervisors.spec import ChildOptions
from tests.supervisors.helpers import begun
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VALUES = [
    0,
    -1,
    0.5,
    2**63,
    10**400,
    math.nan,
    math.inf,
    -math.inf,
    "10MB",
    "",
    "one_for_none",
    "\ud800",
    "\x00",
    None,
    True,
    b"",
    [],
    (1.0, 2.0),
    (math.nan, 1.0, 0.2),
    (2.0, 1.0),
    ({}, {}),
    {},
    object(),
]


class Echo(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


class Keyed(NamedTuple):
    key: int


#: What each kind needs beside its options, as arguments of `of` and as attributes.
KINDS: dict[Any, tuple[tuple[Any, ...], dict[str, Any]]] = {
    Supervisor: ((child(Echo),), {"children": [child(Echo)]}),
    DynamicSupervisor: ((), {}),
    PartitionSupervisor: ((child(Echo),), {"child": child(Echo), "partitions": 2}),
}


def _by_value(kind: Any, option: str, value: object) -> Any:
    arguments, _ = KINDS[kind]
    return kind.of(*arguments, **{option: value})


def _by_attribute(kind: Any, option: str, value: object) -> Any:
    _, attributes = KINDS[kind]
    return type("Made", (kind,), {**attributes, option: value})


def _of_child(option: str, value: object) -> Any:
    options = {option: value}
    # A significant child has to be one that may end, in a supervisor that looks at it.
    if option == "significant":
        options["restart"] = "transient"
    return Supervisor.of(child(Echo, **options), auto_shutdown="any_significant")


def _of_backoff(option: str, value: object) -> Any:
    return Supervisor.of(child(Echo), backoff=Backoff(**{"min": 0.1, "max": 1.0, option: value}))


def _walk() -> Iterator[Any]:
    for kind in KINDS:
        typed = DynamicOptions if kind is DynamicSupervisor else Options
        own = [
            name
            for name, each in inspect.signature(kind.of).parameters.items()
            if each.kind is each.KEYWORD_ONLY
        ]
        for option in sorted({*own, *typed.__optional_keys__}):
            yield pytest.param(
                partial(_by_value, kind), option, id=f"{kind.__name__}.of({option}=)"
            )
        attributes = {*Supervising.__annotations__, *kind.__annotations__}
        for option in sorted(name for name in attributes if not name.startswith("_")):
            yield pytest.param(partial(_by_attribute, kind), option, id=f"{kind.__name__}.{option}")
    for option in sorted(ChildOptions.__optional_keys__):
        yield pytest.param(_of_child, option, id=f"child({option}=)")
    for option in Backoff._fields:
        yield pytest.param(_of_backoff, option, id=f"Backoff({option}=)")


async def _is_of_use(system: Any, made: Any) -> None:
    """It starts, a child answers, and it stops."""
    root = await begun(made, system)
    supervisor = root._slot.actor
    if isinstance(supervisor, DynamicSupervisor) and supervisor.max_children != 0:
        await start_child(root, child(Echo))
    for info in which_children(root):
        assert await info.ref.ask("hello") == "hello"
    if isinstance(supervisor, PartitionSupervisor):
        assert await root.ask(Keyed(1)) == Keyed(1)
    await root.stop()


@pytest.mark.parametrize(("make", "option"), list(_walk()))
async def test_an_option_is_honoured_or_refused_by_its_name(
    make: Callable[[str, object], Any], option: str, actor_system: Any
) -> None:
    wrong: dict[str, str] = {}
    for value in VALUES:
        if value is None and option == "child":
            continue  # a class to derive from: what is derived says it
        made: list[Any] = []
        try:
            said = refusal(
                lambda value=value, made=made: made.append(make(option, value)),
                SpecError,
                ActorClassError,
            )
            if said is None:
                await _is_of_use(actor_system, made[0])
            elif option not in said:
                wrong[repr(value)[:30]] = said
        except Exception as error:  # anything else comes from inside
            wrong[repr(value)[:30]] = repr(error)
    assert wrong == {}
