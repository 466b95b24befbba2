"""From a fresh TCP connection to one that is ready: IDENTIFY, upgrades, AUTH, SUB.

Sans-IO: `begin` gives the first bytes, `feed` takes one frame and says what to
do next. The order is nsqd's: IDENTIFY, then TLS, then snappy or deflate, then
AUTH, then SUB; after each upgrade one OK comes in the new coding. What was
asked for and not granted is a failure, never a silent downgrade.

A refusal says what to do about it (`remedy`). What nsqd does not allow of our wishes
it refuses by their name, without saying what it allows: `refused_wish` tells the
owner to come again and ask for less, or for what is usual there. The longest lease is
read from the answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from irismq_runtime.protocols.nsq import (
    MAGIC,
    OK,
    ErrorFrame,
    Heartbeat,
    Message,
    auth,
    identify,
    nop,
    sub,
)

if TYPE_CHECKING:
    from irismq_runtime.protocols.nsq import Frame

__all__ = ["FOR_TLS", "TLS_REQUIRED", "Handshake", "HandshakeStep", "Terms", "Wishes"]

Kind = Literal["send", "tls", "compress", "ready", "failed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What we ask of nsqd. Times in seconds."""

    client_id: str
    hostname: str
    user_agent: str
    #: None here and below: leave it to the broker.
    heartbeat: float | None
    msg_timeout: float | None
    output_buffer_size: int | None
    output_buffer_timeout: float | None
    tls: bool = False
    compression: Literal["none", "deflate", "snappy"] = "none"
    deflate_level: int = 6
    auth_secret: str = dataclasses.field(default="", repr=False)
    #: Topic and channel; None for a connection that only publishes.
    subscribe: tuple[str, str] | None = None

    def fields(self) -> dict[str, Any]:
        """The body of IDENTIFY."""
        fields: dict[str, Any] = {
            "client_id": self.client_id,
            "hostname": self.hostname,
            "user_agent": self.user_agent,
            "feature_negotiation": True,
            "tls_v1": self.tls,
            "snappy": self.compression == "snappy",
            "deflate": self.compression == "deflate",
            "deflate_level": self.deflate_level,
        }
        if self.output_buffer_size is not None:
            fields["output_buffer_size"] = self.output_buffer_size
        seconds = {
            "heartbeat_interval": self.heartbeat,
            "output_buffer_timeout": self.output_buffer_timeout,
            "msg_timeout": self.msg_timeout,
        }
        fields.update({name: round(s * 1000) for name, s in seconds.items() if s is not None})
        return fields


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What nsqd granted. Times in seconds; None: it did not say."""

    version: str
    max_rdy: int
    msg_timeout: float
    max_msg_timeout: float
    deflate_level: int
    #: Only some brokers announce these two.
    max_msg_size: int | None = None
    max_req_timeout: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class HandshakeStep:
    """What to do next: send `data`, upgrade, go to work, or give up with `reason`."""

    kind: Kind
    data: bytes = b""
    reason: str = ""
    compression: str = ""
    level: int = 0


#: nsqd's words for what it does not allow in IDENTIFY, and the wish.
_NAMED: Final = (
    ("heartbeat interval", "heartbeat"),
    ("output buffer size", "output_buffer_size"),
    ("output buffer timeout", "output_buffer_timeout"),
    ("msg timeout", "msg_timeout"),
)
#: In the refusal of every command but IDENTIFY.
TLS_REQUIRED: Final = "TLS required"
FOR_TLS: Final = "give the broker's TLS settings, or the address of one that asks for none"
_FOR_AUTH: Final = "give the secret that its authorization server knows"


class Handshake:
    """One handshake. `terms` is set once the step "ready" was given."""

    __slots__ = ("_answered", "_stages", "_wishes", "refusal", "refused_wish", "remedy", "terms")

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._answered = False
        self._stages: deque[HandshakeStep] = deque()
        self.terms: Terms | None = None
        #: The wish that nsqd does not allow, by its name in `Wishes`.
        self.refused_wish = ""
        #: What to do about a refusal.
        self.remedy = ""
        #: The error with which nsqd refused to go on.
        self.refusal: ErrorFrame | None = None

    @property
    def may_be_let_in(self) -> bool:
        """Whether nsqd answered, and did not say that it never will let us in."""
        forbidden = self.refusal is not None and self.refusal.code == "E_UNAUTHORIZED"
        return self.terms is not None and not forbidden

    def begin(self) -> bytes:
        """The first bytes of the connection."""
        return MAGIC + identify(self._wishes.fields())

    def feed(self, frame: Frame) -> list[HandshakeStep]:
        """Take the next frame of the broker."""
        if isinstance(frame, Heartbeat):
            return [HandshakeStep("send", nop())]
        if isinstance(frame, ErrorFrame):
            return [self._refused(frame)]
        if isinstance(frame, Message):
            return [HandshakeStep("failed", reason="a message came before RDY")]
        if self.terms is None:
            try:
                self.terms = _terms_untrusted(frame.data)
                self._plan(json.loads(frame.data))
            except _Unfit as fault:
                self.terms = None
                self.remedy = fault.remedy
                return [HandshakeStep("failed", reason=str(fault))]
        elif self._stages and not self._expected(frame.data):
            return [HandshakeStep("failed", reason=f"unexpected answer {frame.data[:60]!r}")]
        return self._advance()

    def _expected(self, data: bytes) -> bool:
        done = self._stages.popleft()
        # AUTH is answered with JSON, everything else with OK.
        return data == OK or (done.kind == "send" and done.data.startswith(b"AUTH"))

    def _advance(self) -> list[HandshakeStep]:
        return [self._stages[0]] if self._stages else [HandshakeStep("ready")]

    def _plan(self, granted: dict[str, Any]) -> None:
        """The stages after IDENTIFY, each followed by one answer."""
        wishes = self._wishes
        if wishes.tls:
            if not granted.get("tls_v1"):
                raise _Unfit(
                    "nsqd offers no TLS (start it with -tls-cert and -tls-key)",
                    "start nsqd with a certificate, or do not ask for TLS",
                )
            self._stages.append(HandshakeStep("tls"))
        if wishes.compression != "none":
            if not granted.get(wishes.compression):
                raise _Unfit(
                    f"nsqd does not grant {wishes.compression} (see its -{wishes.compression})",
                    "ask for another compression, or for none",
                )
            level = granted.get("deflate_level")
            level = level if isinstance(level, int) and 1 <= level <= 9 else wishes.deflate_level
            self._stages.append(
                HandshakeStep("compress", compression=wishes.compression, level=level)
            )
        if granted.get("auth_required"):
            if not wishes.auth_secret:
                raise _Unfit("nsqd requires AUTH: give auth_secret", _FOR_AUTH)
            self._stages.append(HandshakeStep("send", auth(wishes.auth_secret)))
        if wishes.subscribe is not None:
            self._stages.append(HandshakeStep("send", sub(*wishes.subscribe)))

    def _refused(self, frame: ErrorFrame) -> HandshakeStep:
        self.refusal = frame
        if self.terms is None:
            found = [wish for words, wish in _NAMED if words in frame.text]
            self.refused_wish = found[0] if found else ""
        reason = f"{frame.code} {frame.text}".rstrip()
        if frame.code in {"E_AUTH_FAILED", "E_UNAUTHORIZED", "E_AUTH_ERROR"}:
            reason += " (see auth_secret)"
            self.remedy = _FOR_AUTH
        elif TLS_REQUIRED in frame.text or "cannot AUTH" in frame.text:
            reason += " (give an ssl context as tls)"
            self.remedy = FOR_TLS
        else:
            self.remedy = "look at nsqd's log, and at its version and options"
        return HandshakeStep("failed", reason=f"nsqd refused: {reason}")


class _Unfit(Exception):
    """The broker's answer does not allow to go on. `remedy`: what to do."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(reason)


def _terms_untrusted(data: bytes) -> Terms:
    """Read the answer to IDENTIFY; raises `_Unfit`."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _Unfit(
            f"the answer to IDENTIFY is not a JSON object but {data[:60]!r}",
            "what listens there is not nsqd, or one older than 1.0: give nsqd's TCP address",
        )
    largest = _number(fields, "max_msg_size", 0)
    longest = _number(fields, "max_req_timeout", 0)
    return Terms(
        version=str(fields.get("version", "?"))[:40],
        max_rdy=int(_number(fields, "max_rdy_count", 2500)),
        msg_timeout=_number(fields, "msg_timeout", 60_000) / 1000,
        max_msg_timeout=_number(fields, "max_msg_timeout", 900_000) / 1000,
        deflate_level=int(_number(fields, "deflate_level", 6)),
        max_msg_size=int(largest) or None,
        max_req_timeout=longest / 1000 or None,
    )


def _number(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15
    return value if usable and value is not None else default
