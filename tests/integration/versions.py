"""One service in two versions: what `VERSION=2` knows and 1 does not is in each message.

    irismq run tests.integration.versions:Works      with VERSION and VERSIONS_JOURNAL set

The journal gets one line for each tell that was handled: KIND NUMBER VERSION.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors import Actor, message, receives
from supervisors import Supervisor, child

ADDRESS = "versions.desk"
VERSION = int(os.environ.get("VERSION", "2"))
NEW = VERSION == 2

if NEW:

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"  # a new member

    Size = Literal["s", "m", "xl"]
    Amount = int | str  # a new member of a union

    @message("versions.unheard")
    @dataclass(frozen=True)
    class Unheard:
        """A new type."""

        number: int

else:

    class Colour(enum.Enum):  # type: ignore[no-redef]  # the older version
        RED = "red"

    Size = Literal["s", "m"]  # type: ignore[misc]  # as above
    Amount = int  # type: ignore[misc]  # as above


@message("versions.paint")
@dataclass(frozen=True)
class Paint:
    number: int
    colour: Colour


@message("versions.cut")
@dataclass(frozen=True)
class Cut:
    number: int
    size: Size


@message("versions.pay")
@dataclass(frozen=True)
class Pay:
    number: int
    amount: Amount


@message("versions.move")
@dataclass(frozen=True)
class Move:
    """The newer one has lost a field; the older one wants it."""

    number: int
    if not NEW:
        where: str


@message("versions.wrap")
@dataclass(frozen=True)
class Wrap:
    """Both know it, and only the newer one has a handler for it."""

    number: int


class Desk(Actor):
    address = ADDRESS

    def done(self, message: object) -> int:
        number: int = message.number  # type: ignore[attr-defined]  # each has it
        if self.context.kind == "tell":
            line = f"{type(message).__name__} {number} {VERSION}\n"
            with Path(os.environ["VERSIONS_JOURNAL"]).open("a", encoding="utf-8") as journal:
                journal.write(line)
        return VERSION

    @receives(Paint, Cut, Pay, Move)
    def known(self, message: object) -> int:
        return self.done(message)

    if NEW:

        @receives(Unheard, Wrap)
        def new(self, message: object) -> int:
            return self.done(message)


class Works(Supervisor):
    """The tree that `irismq run` runs."""

    children = (child(Desk),)
