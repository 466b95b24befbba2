"""Reads the golden vectors and the table of values out of docs/protocol.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
ID = bytes(range(16))
SECRET = bytes(range(32))


class Vector(NamedTuple):
    name: str
    data: bytes
    gives: dict[str, Any]


class Row(NamedTuple):
    json: bytes
    msgpack: bytes


def vectors() -> list[Vector]:
    found = []
    for block in re.findall(r"```vector\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        parts = re.fullmatch(r"name: +(\S+)\nhex: +(.*?)\ngives: (.*?)\n", block, re.DOTALL)
        assert parts is not None, block
        found.append(Vector(parts[1], bytes.fromhex(parts[2]), json.loads(parts[3])))
    return found


def rows() -> list[Row]:
    table = DOCUMENT.read_text("utf-8").split("### Values")[1].split("\n## ")[0]
    found = re.findall(r"^\| `(.*)` \| `([0-9a-f]+)` \|$", table, re.MULTILINE)
    return [Row(text.encode(), bytes.fromhex(data)) for text, data in found]
