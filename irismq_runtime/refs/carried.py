"""Headers of a caller's own, with all that it sends and on down the chain: `carrying`.

    with carrying(tenant="acme", request="7f3a"):
        await shop.ask(Order(...))       # and all that its handler sends because of it

A tenant, the id of a request, the language of a reader: what everybody down the chain wants
to know and no message should have to name. A handler reads them in `self.context.headers`;
what it sends while it handles that message carries them on by itself, over the network and
through a broker, on every try. An envelope says which of its headers go on (FLOWS), so that
others stay where they are.

They are a context variable, and belong to the code inside the block, and
to tasks that it makes there. They cost whoever uses none a look at that.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import ConfigError
from irismq_runtime.wire.headers import FLOWS, MAX_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CARRIED", "add", "carrying", "go_on"]

#: What the code that runs carries, complete with FLOWS; None: nothing.
CARRIED: ContextVar[Mapping[str, object] | None] = ContextVar("irismq.carried", default=None)
#: Headers that may be carried, and characters or bytes of one.
MOST: Final = 32
LONGEST: Final = 1024
#: Characters of a name; shorter ones are the protocol's.
_NAME: Final = (3, 64)
_SCALARS: Final = (str, bytes, int, float, bool, type(None))


@contextmanager
def carrying(headers: Mapping[str, Any] | None = None, /, **more: Any) -> Iterator[None]:
    """Send all messages of the block with these headers, and what follows from them.

    Inside another block, those of both; the inner ones count. A handler's own go on as they
    came unless it carries others of the same names.

    Args:
        headers: By name: 3 to 64 characters without a comma. Values are text or bytes of 1,024
            at most, numbers, booleans, or None. 32 of them at most.
        **more: The same.

    Raises:
        ConfigError: A name or a value is none of these. A send raises it as well, when these and
            what the message in hand carries on are more than 32.
    """
    given = {**(CARRIED.get() or {}), **(headers or {}), **more}
    given.pop(FLOWS, None)
    for name, value in given.items():
        _check(name, value)
    if len(given) > MOST:
        raise ConfigError("carrying", f"{len(given)} headers, and {MOST} may be carried")
    token = CARRIED.set({**given, FLOWS: ",".join(given)} if given else None)
    try:
        yield
    finally:
        CARRIED.reset(token)


def _check(name: object, value: object) -> None:
    least, most = _NAME
    if not isinstance(name, str) or not least <= len(name) <= most or "," in name:
        problem = f"{name!r:.80} is not a name of {least} to {most} characters without a comma"
        raise ConfigError("carrying", problem)
    if type(value) not in _SCALARS:
        problem = f"{name} is a {type(value).__name__}"
        raise ConfigError("carrying", problem, "carry text, bytes, a number, a bool or None")
    if isinstance(value, str | bytes) and len(value) > LONGEST:
        problem = f"{name} has {len(value):,} characters, and {LONGEST:,} are the most"
        raise ConfigError("carrying", problem, "put it into a message")


def go_on(headers: dict[str, object], came: Mapping[str, Any]) -> None:
    """Add to `headers` what the message in hand, with the headers `came`, carries on."""
    names = [name for name in came[FLOWS].split(",", MAX_HEADERS) if _goes_on_untrusted(name, came)]
    headers.update({name: came[name] for name in names[:MOST]})
    headers[FLOWS] = ",".join(names[:MOST])


def _goes_on_untrusted(name: str, came: Mapping[str, Any]) -> bool:
    """Whether it is there, and no larger than what `carrying` takes."""
    least, most = _NAME
    if not least <= len(name) <= most or name not in came:
        return False
    value = came[name]
    return not isinstance(value, str | bytes) or len(value) <= LONGEST


def add(headers: dict[str, object], given: Mapping[str, object]) -> None:
    """Add what the code that runs carries itself; it counts where both have a name.

    Raises `ConfigError` when that and what came with the message in hand are too many.
    """
    before = headers.get(FLOWS)
    headers.update(given)
    if isinstance(before, str) and before:
        names = dict.fromkeys((*before.split(","), *str(given[FLOWS]).split(",")))
        if len(names) > MOST:
            problem = (
                f"{len(names)} headers with those of the message in hand, and {MOST} may be carried"
            )
            raise ConfigError("carrying", problem)
        headers[FLOWS] = ",".join(names)
