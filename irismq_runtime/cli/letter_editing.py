"""The message of a dead letter as JSON that a person changes, and back.

With the class of its type it is shown in the class's form in JSON, and what comes back has
to be one of it. Without, it is shown as it is where JSON has a form for all of it. Where
the class does not take it as it is, which may be why it is a letter, it is shown as without.
An editor gets a file that nobody else may read; what was written and cannot be used stays.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.messages import readable_types
from irismq_runtime.cli.messages import converted, parsed_strictly
from irismq_runtime.errors import ConfigError, DecodeError, EncodeError, MessageTooLarge
from irismq_runtime.json_text import json_text
from irismq_runtime.wire import Envelope, Serializer

if TYPE_CHECKING:
    from irismq_runtime.dead_letters.reader import Letter

__all__ = ["EditFile", "edited", "shown"]

_SERIALIZER: Final = Serializer()
_CODEC: Final = "c"


def shown(letter: Letter) -> str:
    """Return the message of a letter as JSON. Raises `ConfigError` where it has no such form."""
    inside = letter.inside
    if not isinstance(inside, Envelope):
        problem = letter.malformed or letter.unreadable or "its message is no envelope of ours"
        raise ConfigError("ID", f"it cannot be edited: {problem}", "see irismq dead show")
    try:
        value: Any = _SERIALIZER.load(inside.type, inside.body, inside.headers.get(_CODEC))
        if type(value) in readable_types().values():
            return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except (DecodeError, ValueError, TypeError):  # of the wrong fields, or without a form in JSON
        pass
    try:
        value = _SERIALIZER.load("", inside.body, inside.headers.get(_CODEC))
    except DecodeError as error:
        raise ConfigError("ID", f"it cannot be edited: {error.reason}") from error
    text = json_text(value, indent=2)
    if parsed_strictly(text) != value:
        problem = "the message has values that JSON has no form for"
        raise ConfigError("ID", problem, f"give the module of {inside.type!r} with --import")
    return text


def edited(inside: Envelope, text: str) -> Envelope:
    """Return the envelope with what `text` says in the place of its body.

    Id and headers stay. Raises `ConfigError`: it is not JSON, no message of its type, or
    nothing that can be sent.
    """
    try:
        message = parsed_strictly(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("JSON", f"it is not JSON: {error}") from None
    known = readable_types().get(inside.type)
    if known is not None:
        message = converted(inside.type, known, message)
    elif inside.type and not isinstance(message, dict):
        raise ConfigError("JSON", "the fields of a message are an object", "write {...}")
    try:
        name, body, _ = _SERIALIZER.dump(message, inside.headers.get(_CODEC))
    except (EncodeError, MessageTooLarge) as error:
        raise ConfigError("JSON", str(error)) from None
    return msgspec.structs.replace(inside, type=name or inside.type, body=body)


class EditFile:
    """A file that a person changes with the editor of `VISUAL` or `EDITOR`, or with vi.

    Raises `OSError` where it cannot be written.
    """

    def __init__(self, text: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="irismq-letter-")) / "message.json"
        self._shown = f"{text}\n".encode()
        self.path.write_bytes(self._shown)

    def edit(self) -> str:
        """Let the person edit it, and return what it is then. Raises `ConfigError`."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            code = subprocess.run([*shlex.split(editor), self.path], check=False).returncode  # noqa: S603  # the user's editor
        except (OSError, ValueError) as error:
            problem = f"{editor!r} cannot be run: {error}"
            raise ConfigError("EDITOR", problem, "give the message as JSON instead") from error
        if code:
            raise ConfigError("EDITOR", f"{editor!r} ended with {code}", "nothing was changed")
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("EDITOR", f"{self.path} cannot be read: {error}") from error

    def is_as_shown(self) -> bool:
        """Whether nothing was written: what cannot be read may have been."""
        try:
            return self.path.read_bytes() == self._shown
        except OSError:
            return False

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
