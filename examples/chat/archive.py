"""Keeps what was said.

It has a channel of the durable topic, so it gets every event once it has been
there: what is said while it is down waits at the broker. An event may come twice
(at least once), and has the same id then: a line that is there is not written again.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import TYPE_CHECKING

from actors import Actor, receives
from irismq_runtime import durable
from supervisors import Supervisor, child

from .messages import History, Said
from .people import SAID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from supervisors import ChildSpec

__all__ = ["ARCHIVE", "Archive", "Keeping"]

ARCHIVE = "chat.archive"


class Archive(Actor[Said | History]):
    """One line of JSON for each thing that was said, in a file."""

    address = ARCHIVE
    subscribes = (durable(SAID, channel="archive"),)

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path

    def on_start(self) -> None:
        """Open the file and learn what is in it."""
        self._file = self._path.open("a+", encoding="utf-8")
        self._file.seek(0)
        self._known = {json.loads(line)["id"] for line in self._file}

    def on_stop(self) -> None:
        """Close it."""
        self._file.close()

    def on_failure(self, *_: object) -> None:
        """Close it after a crash, too."""
        self._file.close()

    @receives(Said)
    def keep(self, event: Said) -> None:
        """Write it down. The event is finished when this returns, and not before."""
        key = self.context.id.hex() if self.context.id else ""
        if key in self._known:
            return
        self._file.write(json.dumps({"id": key, "who": event.who, "text": event.text}) + "\n")
        self._file.flush()
        self._known.add(key)

    @receives(History)
    async def history(self, _: History) -> AsyncIterator[Said]:
        """All that was said, as fast as the reader takes it."""
        for line in self._path.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            yield Said(found["who"], found["text"])


class Keeping(Supervisor):
    """The archive; its file is CHAT_ARCHIVE, or chat.jsonl in the working folder."""

    def children(self) -> list[ChildSpec]:
        """One archive: there is one file."""
        return [child(Archive, pathlib.Path(os.environ.get("CHAT_ARCHIVE", "chat.jsonl")))]
