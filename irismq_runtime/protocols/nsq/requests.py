"""Commands as the server reads them: bytes in, records out, nsqd's refusals.

The order of checks is nsqd's: whether TLS is required, the verb, the state, the
words, then the size of the body as soon as its four bytes are there, and the
body itself last. Every fault found here is fatal; `NsqProtocolError.records` are
the commands before it. The decoder keeps the state that the commands lead to (a command that the
server itself refuses is fatal or leaves the state as it is).

After IDENTIFY and AUTH the decoder pauses: what follows may be in another
coding (TLS, deflate) or must wait for an answer from elsewhere.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from functools import lru_cache

from nsq import protocol as pynsq

from irismq_runtime.protocols.buffer import ByteBuffer
from irismq_runtime.protocols.nsq.batch import check_batch_untrusted, decode_batch_untrusted
from irismq_runtime.protocols.nsq.commands import MESSAGE_ID_LENGTH
from irismq_runtime.protocols.nsq.errors import NsqProtocolError
from irismq_runtime.protocols.nsq.names import MAX_NAME, is_valid_name
from irismq_runtime.protocols.nsq.records import (
    Auth,
    Cls,
    Command,
    CommandLimits,
    Dpub,
    Fin,
    Identify,
    Mpub,
    Nop,
    Pub,
    Rdy,
    Req,
    Sub,
    Touch,
)
from irismq_runtime.protocols.nsq.states import CLS, COMMANDS, Body, ClientState, CommandRule

__all__ = ["CommandDecoder"]

_LENGTH = struct.Struct(">i")
_PAUSED = sys.maxsize
_LOOKS = 8
_HUGE = 2**63 - 1


class CommandDecoder:
    """The server's ear for one connection, after the magic.

    `feed` returns the commands that came whole. When it has paused (after
    IDENTIFY or AUTH) the caller answers, then calls `resume`, or `take_rest`
    when the coding changes; meanwhile it should read no more from the socket.
    """

    __slots__ = ("_buffer", "_limits", "_looks", "_paused", "needs_tls", "state")

    def __init__(self, limits: CommandLimits, *, needs_tls: bool = False) -> None:
        self._buffer = ByteBuffer()
        self._limits = limits
        self._paused = False
        # Looks at the lengths in an MPUB that has not come whole.
        self._looks = 0
        #: Whether everything but IDENTIFY is refused, known or not: TLS has to come first.
        self.needs_tls = needs_tls
        #: The state that the commands decoded so far lead to.
        self.state = ClientState.INIT

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their command, or for `resume`."""
        return len(self._buffer)

    @property
    def paused(self) -> bool:
        """Whether nothing is decoded before `resume`."""
        return self._paused

    def feed(self, data: bytes) -> list[Command]:
        """The commands that `data` completes. Raises `NsqProtocolError` (fatal)."""
        buffer = self._buffer.push(data)
        return [] if buffer is None else self._decode_untrusted(buffer)

    def resume(self) -> list[Command]:
        """Go on after a pause; the commands that waited. Raises as `feed`."""
        self._paused = False
        rest = self._buffer.take()
        self._buffer.keep(b"", 1)
        return self._decode_untrusted(rest) if rest else []

    def take_rest(self) -> bytes:
        """End the pause and hand over the bytes that waited, undecoded."""
        self._paused = False
        rest = self._buffer.take()
        self._buffer.keep(b"", 1)
        return rest

    def _decode_untrusted(self, buffer: bytes) -> list[Command]:
        commands: list[Command] = []
        append = commands.append
        position, end, need = 0, len(buffer), 1
        try:
            while position < end:
                if (
                    end - position > 20
                    and buffer[position + 20] == 10
                    and buffer[position + 19] != 13
                    and buffer.startswith(b"FIN ", position)
                    and self.state >= ClientState.SUBSCRIBED
                ):
                    message_id = buffer[position + 4 : position + 20]
                    if b" " not in message_id and b"\n" not in message_id:
                        append(Fin(message_id))
                        position += 21
                        continue
                found = self._one(buffer, position, end)
                if type(found) is int:
                    need = found
                    break
                command, position = found  # type: ignore[misc]  # not an int: the pair
                append(command)
                if self._paused:
                    need = _PAUSED
                    break
        except NsqProtocolError as fault:
            fault.records = list(commands)
            raise
        self._buffer.keep(buffer[position:] if position else buffer, need)
        return commands

    def _one(self, buffer: bytes, position: int, end: int) -> int | tuple[Command, int]:
        """One command and the position after it, or how many bytes are needed."""
        newline = buffer.find(b"\n", position, position + self._limits.max_line)
        if newline < 0:
            if end - position >= self._limits.max_line:
                raise NsqProtocolError(
                    f"command line of more than {self._limits.max_line} bytes", code=""
                )
            return end - position + 1
        line = buffer[position:newline]
        words = line.removesuffix(b"\r").split(b" ")
        verb = words[0]
        rule = self._rule(verb, words)
        name = verb.decode()
        build = _BUILDERS[verb]
        command = build(words, self._limits, b"") if rule.body is Body.NONE else None
        position = newline + 1
        if command is None:
            _check_words(verb, words, self._limits)
            size = self._body_size(name, rule, buffer, position, end)
            if size is None or end - position - 4 < size:
                if size is not None and verb == pynsq.MPUB:
                    size = self._next_look(buffer, position + 4, size)
                return (0 if size is None else size) + 4 + len(line) + 1
            self._looks = 0
            body = buffer[position + 4 : position + 4 + size]
            command = build(words, self._limits, body)
            position += 4 + size
        if rule.then is not None:
            self.state = rule.then
        self._paused = verb in _PAUSING
        return command, position

    def _rule(self, verb: bytes, words: list[bytes]) -> CommandRule:
        """The rule of a command that may come now, with as many words as it needs."""
        rule = COMMANDS.get(verb)
        shown = verb[:64].decode("latin-1")
        if self.needs_tls and verb != pynsq.IDENTIFY:
            raise NsqProtocolError(f"cannot {shown} in current state (TLS required)")
        if rule is None:
            raise NsqProtocolError(f"invalid command {shown}")
        if self.state not in rule.allowed:
            raise NsqProtocolError(f"cannot {shown} in current state")
        if len(words) <= rule.required:
            said = "params" if verb in _SETTLING else "parameters"  # nsqd's words
            raise NsqProtocolError(f"{shown} insufficient number of {said}")
        if verb == pynsq.AUTH and len(words) != 1:
            raise NsqProtocolError("AUTH invalid number of parameters")
        return rule

    def _next_look(self, buffer: bytes, start: int, size: int) -> int:
        """How much of an MPUB's body must be there for the next look at its lengths.

        The first looks come with the next length, as in nsqd; later ones when there
        is twice as much, so that a body in small pieces costs linear time.
        """
        following = check_batch_untrusted(buffer, start, self._limits)
        self._looks += 1
        if self._looks > _LOOKS:
            following = max(following, 2 * (len(buffer) - start))
        return min(following, size) if following > len(buffer) - start else size

    def _body_size(
        self, name: str, rule: CommandRule, buffer: bytes, position: int, end: int
    ) -> int | None:
        if end - position < 4:
            return None
        size: int = _LENGTH.unpack_from(buffer, position)[0]
        of_message = rule.body_code == "E_BAD_MESSAGE"
        limit = self._limits.max_msg_size if of_message else self._limits.max_body_size
        what = "message" if of_message else "body"
        if size <= 0:
            named = "message body" if of_message else "body"
            raise NsqProtocolError(f"{name} invalid {named} size {size}", code=rule.body_code)
        if size > limit:
            raise NsqProtocolError(f"{name} {what} too big {size} > {limit}", code=rule.body_code)
        return size


@lru_cache(maxsize=4096)
def _decoded_name(raw: bytes) -> str | None:
    return raw.decode() if is_valid_name(raw) else None


def _name(kind: str, command: str, raw: bytes) -> str:
    name = _decoded_name(raw) if len(raw) <= MAX_NAME else None
    if name is None:
        shown = raw[: 2 * MAX_NAME].decode("utf-8", "backslashreplace")
        raise NsqProtocolError(
            f'{command} {kind} name "{shown}" is not valid',
            code="E_BAD_TOPIC" if kind == "topic" else "E_BAD_CHANNEL",
        )
    return name


def _number(command: str, what: str, raw: bytes) -> int:
    """Decimal digits only, as nsqd reads them; nothing at all is 0."""
    if raw and not (raw.isdigit() and raw.isascii()):
        shown = raw[:64].decode("utf-8", "backslashreplace")
        raise NsqProtocolError(f"{command} could not parse {what} {shown}")
    return (int(raw) if len(raw) < 19 else _HUGE) if raw else 0


def _id(raw: bytes) -> bytes:
    if len(raw) != MESSAGE_ID_LENGTH:
        raise NsqProtocolError("invalid message ID")
    return raw


def _rdy(words: list[bytes], limits: CommandLimits, _: bytes) -> Rdy:
    count = _number("RDY", "count", words[1]) if len(words) > 1 else 1
    if count > limits.max_rdy_count:
        raise NsqProtocolError(f"RDY count {count} out of range 0-{limits.max_rdy_count}")
    return Rdy(count)


def _dpub_delay(words: list[bytes], limits: CommandLimits) -> int:
    delay = _number("DPUB", "timeout", words[2])
    if delay > limits.max_req_timeout_ms:
        raise NsqProtocolError(f"DPUB timeout {delay} out of range 0-{limits.max_req_timeout_ms}")
    return delay


def _check_words(verb: bytes, words: list[bytes], limits: CommandLimits) -> None:
    """The checks that nsqd makes before it reads the size of the body."""
    if len(words) > 1 and verb in _PUBLISHING:
        _name("topic", verb.decode(), words[1])
    if verb == pynsq.DPUB:
        _dpub_delay(words, limits)


_SETTLING = frozenset({pynsq.FIN, pynsq.REQ, pynsq.TOUCH})
_PAUSING = frozenset({pynsq.IDENTIFY, pynsq.AUTH})
_PUBLISHING = frozenset({pynsq.PUB, pynsq.MPUB, pynsq.DPUB})

_Builder = Callable[[list[bytes], CommandLimits, bytes], Command]
_BUILDERS: dict[bytes, _Builder] = {
    pynsq.IDENTIFY: lambda _words, _limits, body: Identify(body),
    pynsq.AUTH: lambda _words, _limits, body: Auth(body),
    pynsq.SUB: lambda words, _limits, _body: Sub(
        _name("topic", "SUB", words[1]), _name("channel", "SUB", words[2])
    ),
    pynsq.RDY: _rdy,
    pynsq.FIN: lambda words, _limits, _body: Fin(_id(words[1])),
    pynsq.REQ: lambda words, _limits, _body: Req(
        _id(words[1]), _number("REQ", "timeout", words[2])
    ),
    pynsq.TOUCH: lambda words, _limits, _body: Touch(_id(words[1])),
    pynsq.PUB: lambda words, _limits, body: Pub(_name("topic", "PUB", words[1]), body),
    pynsq.MPUB: lambda words, limits, body: Mpub(
        _name("topic", "MPUB", words[1]), decode_batch_untrusted(body, limits)
    ),
    pynsq.DPUB: lambda words, limits, body: Dpub(
        _name("topic", "DPUB", words[1]), _dpub_delay(words, limits), body
    ),
    CLS: lambda _words, _limits, _body: Cls(),
    pynsq.NOP: lambda _words, _limits, _body: Nop(),
}
