"""The state of one NSQ connection and the one table of commands that moves it.

Both roles read the same table: a client may send, and a server accepts, a
command only in the states named here. The table does not know which role is
ours. PUB, MPUB, DPUB and NOP are legal in every state; SUB is for once.
Every refusal by state is fatal (nsqd answers E_INVALID and closes).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from nsq import protocol as pynsq

__all__ = ["COMMANDS", "AnswerKind", "Body", "ClientState", "CommandRule"]


class ClientState(IntEnum):
    """Where a connection is; the numbers are those that nsqd's statistics show."""

    INIT = 0
    DISCONNECTED = 1
    CONNECTED = 2
    SUBSCRIBED = 3
    CLOSING = 4


class Body(IntEnum):
    """What follows the line of a command."""

    NONE = 0
    BYTES = 1
    BATCH = 2


class AnswerKind(IntEnum):
    """Which frame nsqd sends for a command that it accepts."""

    NONE = 0
    OK = 1
    JSON = 2
    CLOSE_WAIT = 3


class CommandRule(NamedTuple):
    """One command: its words after the verb, its body, its answer, its states."""

    words: tuple[str, ...]
    required: int
    body: Body
    answer: AnswerKind
    allowed: frozenset[ClientState]
    then: ClientState | None = None
    #: The code for a body of the wrong size.
    body_code: str = "E_BAD_BODY"


_INIT = frozenset({ClientState.INIT})
_SUBSCRIBED = frozenset({ClientState.SUBSCRIBED})
_CONSUMING = frozenset({ClientState.SUBSCRIBED, ClientState.CLOSING})
_ANY = frozenset(ClientState)

#: pynsq has no encoder for CLS.
CLS = b"CLS"

COMMANDS: dict[bytes, CommandRule] = {
    pynsq.IDENTIFY: CommandRule((), 0, Body.BYTES, AnswerKind.JSON, _INIT),
    pynsq.AUTH: CommandRule((), 0, Body.BYTES, AnswerKind.JSON, _INIT),
    pynsq.SUB: CommandRule(
        ("topic", "channel"), 2, Body.NONE, AnswerKind.OK, _INIT, ClientState.SUBSCRIBED
    ),
    pynsq.RDY: CommandRule(("count",), 0, Body.NONE, AnswerKind.NONE, _CONSUMING),
    pynsq.FIN: CommandRule(("id",), 1, Body.NONE, AnswerKind.NONE, _CONSUMING),
    pynsq.REQ: CommandRule(("id", "timeout"), 2, Body.NONE, AnswerKind.NONE, _CONSUMING),
    pynsq.TOUCH: CommandRule(("id",), 1, Body.NONE, AnswerKind.NONE, _CONSUMING),
    pynsq.PUB: CommandRule(
        ("topic",), 1, Body.BYTES, AnswerKind.OK, _ANY, body_code="E_BAD_MESSAGE"
    ),
    pynsq.MPUB: CommandRule(("topic",), 1, Body.BATCH, AnswerKind.OK, _ANY),
    pynsq.DPUB: CommandRule(
        ("topic", "timeout"), 2, Body.BYTES, AnswerKind.OK, _ANY, body_code="E_BAD_MESSAGE"
    ),
    CLS: CommandRule((), 0, Body.NONE, AnswerKind.CLOSE_WAIT, _SUBSCRIBED, ClientState.CLOSING),
    pynsq.NOP: CommandRule((), 0, Body.NONE, AnswerKind.NONE, _ANY),
}
