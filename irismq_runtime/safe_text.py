r"""Text that may leave the process: nothing that a terminal obeys, no login in a URL. Pure.

What actors, peers, servers and users of NATS say ends in logs, reports, tables and
pages, and may hold anything: escape sequences, controls of one character (U+009B),
characters that turn the direction of what follows (U+202E), line ends of other
scripts (U+2028), halves of characters that cannot be encoded, and URLs with a user
and a password. Every exit takes its text through one of these:

    visible          what is not printable as Python writes it in a string: \x1b, \u202e
    visible_json     the same in a JSON document: another spelling of the same value
    without_logins   nats://joe:secret@host as nats://***@host
    safe             both, for texts about what happened
    safe_lines       `safe` for a log record: a line end in a text does not begin a record

Data that a person asked for (a reply, a message's body) keeps its URLs: it is `visible`
alone. Escaping twice changes nothing: what an escape is made of is printable.
"""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["safe", "safe_lines", "visible", "visible_json", "without_logins"]

#: From a scheme to the last @ of its URL: a password may have an @ itself, and a slip
#: may have left other marks in it; the next URL of a list is another one.
_LOGIN: Final = re.compile(r"(?<=://)(?:(?!://)[^\s\"'<>])*@")
_INDENT: Final = "\n    "


def visible(text: str, keep: str = "\n\t") -> str:
    """Return `text` with each character escaped that is neither printable nor in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def visible_json(document: str) -> str:
    """Return a JSON document that holds the same, with what is not printable as escapes."""
    if document.isprintable():
        return document
    # Between its strings a document has line ends and spaces alone, within them none raw.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in document)


def without_logins(text: str) -> str:
    """Return `text` without users, passwords and tokens of URLs."""
    if "://" not in text or "@" not in text:
        return text
    return _LOGIN.sub("***@", text)


def safe(text: str, keep: str = "") -> str:
    """Return `text` as it may be shown: `visible`, and without logins."""
    return visible(without_logins(text), keep)


def safe_lines(text: str) -> str:
    """Return `text` as it may be logged; every line but the first is indented."""
    return safe(text, "\n\t").replace("\n", _INDENT)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
