"""How a stored message is shown: a line of text, a line of JSON, a frame. Pure.

A line is one line whatever the message holds: line ends, NUL and everything else
that a terminal would obey is escaped, in JSON as JSON does it. A frame is the body
as it was stored, after its length in four bytes, the highest first: nothing is lost
and nothing needs escaping. The bytes are anybody's; showing them never fails.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import DecodeError
from irismq_runtime.json_text import json_text, to_plain
from irismq_runtime.wire import Foreign, Serializer, decode_envelope_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.ports import StoredMessage

__all__ = ["as_frame", "as_json", "as_raw", "as_text", "escaped", "escaped_json"]

#: What may be in a line and cannot be mistaken: all that prints, but the backslash.
_ODD: Final = re.compile(r"[^ -\[\]-~]")


def as_text(stored: StoredMessage) -> bytes:
    """Return time, id, type, and the message as JSON or text.

    The whole id: those of one process begin alike.
    """
    shown = _decoded_untrusted(stored.body)
    words = [_time(stored), shown.get("id", "-"), escaped(shown.get("type") or "-")]
    if stored.attempts > 1:
        words.append(f"(delivery {stored.attempts})")
    words += [show(shown[key]) for key, show in _SHOWN.items() if key in shown]
    return _line(" ".join(words))


def as_json(stored: StoredMessage) -> bytes:
    """Return one JSON object: the broker's facts, and the message as far as it can be read."""
    facts = {"time": _time(stored), "nsqd_id": stored.id, "attempts": stored.attempts}
    return _line(escaped_json({**facts, **_decoded_untrusted(stored.body)}))


def as_raw(stored: StoredMessage) -> bytes:
    """Return the body alone, escaped, envelope and all."""
    return _line(escaped(stored.body.decode(errors="surrogateescape")))


def as_frame(stored: StoredMessage) -> bytes:
    """Return the body as it is, after its length in four bytes."""
    return len(stored.body).to_bytes(4, "big") + stored.body


def escaped(text: str) -> str:
    r"""Return `text` in one printable line, as Python writes strings: \n, \x1b, \u202e."""
    return _ODD.sub(_as_python, text)


def escaped_json(value: Any) -> str:
    """Return a plain value as JSON in one printable line."""
    return _ODD.sub(_as_json, json_text(value))


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


def _time(stored: StoredMessage) -> str:
    when = dt.datetime.fromtimestamp(stored.timestamp, dt.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_python(match: re.Match[str]) -> str:
    found = match[0]
    if found == "\\":
        return "\\\\"
    if "\udc80" <= found <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(found) - 0xDC00:02x}"
    return found if found.isprintable() else found.encode("unicode_escape").decode()


def _as_json(match: re.Match[str]) -> str:
    found = match[0]
    return found if found.isprintable() else json.dumps(found)[1:-1]


_SERIALIZER: Final = Serializer()


def _decoded_untrusted(body: bytes) -> dict[str, Any]:
    """Return id, kind, type, headers and body of an envelope; else `text` or `base64`."""
    try:
        found = decode_envelope_untrusted(body)
        if isinstance(found, Foreign):
            return _foreign(body)
        shown: dict[str, Any] = {
            "id": found.id.hex(),
            "kind": found.kind.name.lower(),
            "type": found.type,
            "headers": to_plain(found.headers),
        }
    except DecodeError as error:
        return {"unreadable": error.reason, **_foreign(body)}
    try:
        value = _SERIALIZER.load("", found.body, found.headers.get("c"))
    except DecodeError as error:
        return {**shown, "unreadable": error.reason, **_foreign(found.body)}
    return {**shown, "body": to_plain(value)}


def _foreign(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


#: What stands at the end of a line of text, and how.
_SHOWN: Final[dict[str, Callable[[Any], str]]] = {
    "body": escaped_json,
    "unreadable": lambda reason: f"(unreadable: {escaped(reason)})",
    "text": escaped,
    "base64": lambda text: f"base64:{text}",
}
