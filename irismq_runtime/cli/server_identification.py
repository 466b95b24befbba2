"""Tells which server answers at an address, by its first bytes, and says so. Pure.

`recognize_untrusted` turns the answers to the openings of three protocols into an
`ServerIdentity`; `judge` compares it with what the address was given for and makes one
line of it, advice included. Nothing here connects, waits or prints. The bytes are
anybody's: they are cut, escaped, and never fail.
"""

from __future__ import annotations

import dataclasses
import email.utils
import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, Literal

from irismq_runtime.cli.advice import START_DEV, START_NATS
from irismq_runtime.protocols.iris.packets import RELAY_MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Finding",
    "Level",
    "Openings",
    "ServerIdentity",
    "ServerKind",
    "judge",
    "judge_clock",
    "recognize_untrusted",
    "sentence",
]


class ServerKind(StrEnum):
    """What may answer at an address; the value is how a sentence calls it."""

    NSQD = "nsqd"
    NSQD_HTTP = "nsqd's HTTP"
    LOOKUPD = "nsqlookupd's HTTP"
    LOOKUPD_TCP = "nsqlookupd's TCP"
    IRIS = "an Iris relay"
    NATS = "a NATS server"
    HTTP = "an HTTP server that is not nsqd"
    SILENT = "something that says nothing to nsqd's, Iris's or HTTP's opening"
    OTHER = "something else"
    NOTHING = "nothing"


class Level(IntEnum):
    """How bad a finding is; the worst one decides the exit code of `irismq doctor`."""

    OK = 0
    #: Good to know; nothing to do.
    NOTE = 1
    #: Works now, and will hurt.
    WARN = 2
    #: Does not work.
    BAD = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what it is about, what is so, and what to do ("" for nothing).

    `about` is a name for programs: an endpoint, or a word; `text` says all to people.
    `kind` decides the exit code of a `BAD` one.
    """

    level: Level
    about: str
    text: str
    advice: str = ""
    kind: Literal["server", "installation"] = "installation"

    @property
    def line(self) -> str:
        """The text and the advice, as they are printed behind the level."""
        return f"{self.text}; {self.advice}" if self.advice else self.text

    @property
    def record(self) -> dict[str, str]:
        """The fields by name, as `--json` prints them."""
        return {**dataclasses.asdict(self), "level": self.level.name.lower()}


@dataclass(frozen=True, slots=True)
class Openings:
    """What came back on connections of their own: to nsqd's, Iris's and HTTP's opening.

    `asked`, `answered`: our wall clock, in seconds, round the exchange of `ping`.
    """

    nsq: bytes = b""
    iris: bytes = b""
    ping: bytes = b""
    info: bytes = b""
    asked: float = 0.0
    answered: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What is at an address. `reason`: why there is nothing, or what is ill about it."""

    kind: ServerKind
    reason: str = ""
    version: str = ""
    #: The first bytes of something unknown, escaped.
    first: str = ""
    #: The server's wall clock minus ours in seconds: 0 unless the two surely differ.
    skew: float | None = None
    #: What to do about `reason`, where that is known.
    advice: str = ""
    #: There is nothing because no answer came in time; a busy machine would look the same.
    late: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether more patience would find the same."""
        return not self.late and self.kind is not ServerKind.SILENT

    @property
    def words(self) -> str:
        """What is there, as a sentence goes on after "there is"."""
        if self.kind is ServerKind.NOTHING:
            return f"nothing: {self.reason}"
        if self.kind is ServerKind.OTHER:
            return f"something else, which says {self.first}"
        if self.kind is ServerKind.HTTP and self.first:
            return f"{self.kind.value} (it says {self.first})"
        return self.kind.value


_VERSION: Final = re.compile(rb'"version": ?"([^"\\]{1,40})"')
#: A relay's Init: its opcode, the magic and the version, each text after its length.
_RELAY: Final = re.compile(
    rb"\A\x00." + re.escape(RELAY_MAGIC.encode()) + rb".(v[\w.-]{1,30})", re.DOTALL
)
_DATE: Final = re.compile(rb"^date: ([^\r\n]{1,60})\r?$", re.IGNORECASE | re.MULTILINE)
#: nsqd refuses what is not its opening in a frame of type 1, an error.
_NSQD_REFUSAL: Final = b"\x00\x00\x00\x01E_BAD_PROTOCOL"
#: nsqlookupd refuses nsqd's opening in its own framing, which has no frame type.
_LOOKUPD_REFUSAL: Final = b"\x00\x00\x00\x0eE_BAD_PROTOCOL"
_TLS_ALERT: Final = b"\x15\x03"
_FIRST: Final = 32
_HTTPS_ADVICE: Final = "give --nsqd-http https://HOST:4152"


def recognize_untrusted(answers: Openings) -> ServerIdentity:
    """Tell which server gave these answers. Never raises."""
    known = _broker_untrusted(answers) or _relay_untrusted(answers)
    if known is not None:
        return known
    if answers.ping.startswith(b"HTTP/"):
        return _http_untrusted(answers)
    said = next(filter(None, (answers.nsq, answers.iris, answers.ping)), b"")
    if not said:
        return ServerIdentity(ServerKind.SILENT)
    return ServerIdentity(
        ServerKind.OTHER, first="it wants TLS" if said.startswith(_TLS_ALERT) else _text(said)
    )


def _broker_untrusted(answers: Openings) -> ServerIdentity | None:
    nsq = answers.nsq
    if b'"max_rdy_count"' in nsq or nsq[4:8] == b"\x00\x00\x00\x00":
        return ServerIdentity(ServerKind.NSQD, version=_version(nsq))
    # A slow one may have answered the others' openings only, with its refusal.
    if any(said[4:].startswith(_NSQD_REFUSAL) for said in (answers.iris, answers.ping)):
        return ServerIdentity(ServerKind.NSQD)
    return ServerIdentity(ServerKind.LOOKUPD_TCP) if nsq.startswith(_LOOKUPD_REFUSAL) else None


def _relay_untrusted(answers: Openings) -> ServerIdentity | None:
    if found := _RELAY.search(answers.iris):
        return ServerIdentity(ServerKind.IRIS, version=_text(found[1]))
    _, magic, refusal = answers.iris.partition(RELAY_MAGIC.encode())
    if magic:  # a Deny: the reason, after its length
        return ServerIdentity(ServerKind.IRIS, f"that it refuses: {_text(refusal[1:])}")
    for said in (answers.nsq, answers.iris, answers.ping):
        if said.startswith(b"INFO {"):
            return ServerIdentity(ServerKind.NATS, version=_version(said))
    return None


def _http_untrusted(answers: Openings) -> ServerIdentity:
    ping, info = answers.ping, answers.info
    skew = _skew(answers)
    _, _, body = ping.partition(b"\r\n\r\n")
    if b"TLS_REQUIRED" in body[:1000]:
        return ServerIdentity(ServerKind.NSQD_HTTP, "TLS_REQUIRED", skew=skew, advice=_HTTPS_ADVICE)
    if body.strip() == b"OK" or body.startswith(b"NOK"):
        reason = "" if body.strip() == b"OK" else _text(body)
        if not info or b'"tcp_port"' in info:  # no answer to the second question decides nothing
            return ServerIdentity(ServerKind.NSQD_HTTP, reason, _version(info), skew=skew)
        if version := _version(info):
            return ServerIdentity(ServerKind.LOOKUPD, reason, version, skew=skew)
    return ServerIdentity(ServerKind.HTTP, first=_text(ping.partition(b"\r\n")[0]), skew=skew)


def _version(data: bytes) -> str:
    found = _VERSION.search(data)
    return _text(found[1]) if found else ""


def _text(data: bytes) -> str:
    """Return bytes of a stranger as printable ASCII of a limited length, quoted if odd."""
    text = data[:_FIRST].decode("latin-1")
    plain = text.isascii() and text.isprintable()
    shown = text if plain else ascii(text)
    return shown + ("..." if len(data) > _FIRST else "")


def _skew(answers: Openings) -> float | None:
    """Return the server's clock minus ours, from the Date of its HTTP answer.

    It told the time, cut to a whole second, at some moment between question and
    answer: a slow network or machine is not a difference of clocks.
    """
    found = _DATE.search(answers.ping)
    if found is None:
        return None
    try:
        told = email.utils.parsedate_to_datetime(found[1].decode("latin-1")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(0.0, told + 1.0 - answers.asked) + max(0.0, told - answers.answered)


_LOOKUPD_ADVICE: Final = "give nsqlookupd's HTTP port (4161 by default)"
_RELAY_ADVICE: Final = "this is the relay, give it with --iris"
_BROKER_ADVICE: Final = "this is the broker, give it with --nsqd"
#: What to do when something else answers: (what was wanted, what is there) -> advice.
_REMEDIES: Final[Mapping[tuple[ServerKind, ServerKind], str]] = {
    (ServerKind.NSQD, ServerKind.NSQD_HTTP): "give nsqd's TCP port here (4150 by default)",
    (ServerKind.NSQD, ServerKind.IRIS): _RELAY_ADVICE,
    (ServerKind.NSQD, ServerKind.LOOKUPD): "this is the directory, give it with --lookupd",
    (
        ServerKind.NSQD,
        ServerKind.LOOKUPD_TCP,
    ): "this is the directory, give its HTTP port with --lookupd",
    (ServerKind.NSQD_HTTP, ServerKind.NSQD): "give nsqd's HTTP port here (4151 by default)",
    (ServerKind.NSQD_HTTP, ServerKind.IRIS): _RELAY_ADVICE,
    (ServerKind.NSQD_HTTP, ServerKind.LOOKUPD): "give nsqd's HTTP port here (4151 by default)",
    (ServerKind.LOOKUPD, ServerKind.LOOKUPD_TCP): _LOOKUPD_ADVICE,
    (ServerKind.LOOKUPD, ServerKind.NSQD): _LOOKUPD_ADVICE,
    (ServerKind.LOOKUPD, ServerKind.NSQD_HTTP): _LOOKUPD_ADVICE,
    (ServerKind.IRIS, ServerKind.NSQD): _BROKER_ADVICE,
    (ServerKind.IRIS, ServerKind.NSQD_HTTP): _BROKER_ADVICE + ", by its TCP port",
    (ServerKind.IRIS, ServerKind.NATS): "a relay over NATS is written --iris nats://HOST:PORT",
    (ServerKind.NATS, ServerKind.IRIS): "write --iris HOST:PORT, without nats://",
}


def judge(
    role: ServerKind, endpoint: str, answer: ServerIdentity, *, start: str = START_DEV
) -> Finding:
    """One line about the server that was meant to be a `role`.

    `start`: what to do where there is nothing, and `irismq dev` would do.
    """
    if answer.kind is role and not answer.reason:
        text = f"{endpoint}: {answer.kind.value} {answer.version}".rstrip()
        return Finding(Level.OK, endpoint, text, kind="server")
    if answer.kind is role:
        text = f"{endpoint}: {role.value} says {answer.reason}"
        advice = answer.advice or "look at the server's log, at its disk and its version"
        return Finding(Level.BAD, endpoint, text, advice, "server")
    text = f"{endpoint} should be {role.value}, but there is {answer.words}"
    if answer.kind is ServerKind.NOTHING:
        advice = START_NATS if role is ServerKind.NATS else start
    else:
        advice = _REMEDIES.get((role, answer.kind), "give another address")
    return Finding(Level.BAD, endpoint, text, advice, "server")


def sentence(findings: Iterable[Finding]) -> str:
    """Several findings on one line, each advice once, behind what it is for."""
    texts: dict[str, list[str]] = {}
    for finding in findings:
        texts.setdefault(finding.advice, []).append(finding.text)
    parts = [[*said, advice] if advice else said for advice, said in texts.items()]
    return "; ".join(part for one in parts for part in one)


#: Seconds of difference that hurt nobody.
_SKEW_LIMIT: Final = 2.0


def judge_clock(endpoint: str, answer: ServerIdentity) -> Finding | None:
    """One line about a server's clock; None when it told no time."""
    if answer.skew is None:
        return None
    about = f"clock {endpoint}"
    if abs(answer.skew) <= _SKEW_LIMIT:
        text = f"the clock of {endpoint} agrees with ours, to the second"
        return Finding(Level.OK, about, text, kind="server")
    ahead = "ahead of" if answer.skew > 0 else "behind"
    text = f"the clock of {endpoint} is {abs(answer.skew):,.0f} s {ahead} ours"
    advice = "due times and expiries are off by as much: run a time service on both machines"
    return Finding(Level.WARN, about, text, advice, "server")
