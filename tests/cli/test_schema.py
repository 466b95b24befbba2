"""`irismq schema lock|check|export`, on a module of a user."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.cli import codes
from tests.integration.processes import INSTALLED, irismq

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = """
from dataclasses import dataclass

from actors import message
from irismq_runtime import Durable


@message("shop.add")
@dataclass
class Add:
    sku: str
    count: {count} = 1


@message("shop.cart-state")
@dataclass
class CartState:
    total: {total} = {zero}


class Cart(Durable):
    address = "shop.cart"
    state: CartState
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop_schema.py").write_text(SERVICE.format(count="int", total="int", zero="0"))
    return tmp_path


async def schema(folder: Path, *arguments: str) -> tuple[int, str, str]:
    return await irismq("schema", *arguments, program=INSTALLED, cwd=folder)


def git(folder: Path, *arguments: str) -> None:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=m"]
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


async def test_what_breaks_since_the_lock_is_a_line_each_and_code_1(folder: Path):
    locked = "messages.lock.json: 2 types\n"
    assert await schema(folder, "lock", "shop_schema") == (codes.OK, "", locked)
    code, out, said = await schema(folder, "check", "shop_schema")
    assert (code, out) == (codes.OK, "")
    assert said == "nothing breaks against messages.lock.json\n"
    git(folder, "init")
    git(folder, "add", "messages.lock.json")
    git(folder, "commit", "-m", "lock")
    (folder / "shop_schema.py").write_text(SERVICE.format(count="str", total="str", zero="''"))
    lines = (
        "shop.add.count: new reader: int is not read as str\n"
        "shop.cart-state.total: stored state: int is not read as str\n"
    )
    (folder / "messages.lock.json").rename(folder / "old.json")
    for against in ("old.json", "git:HEAD"):
        code, out, _ = await schema(folder, "check", "shop_schema", "--against", against)
        assert (code, out) == (1, lines)


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("no.json", "no.json: No such file"),
        ("shop_schema.py", "shop_schema.py is no description of types"),
        ("git:no-such-revision", "git has no messages.lock.json there"),
        ("git:--output=x", "is no revision"),
    ],
)
async def test_a_lock_that_cannot_be_read_is_one_clear_error(folder: Path, against: str, said: str):
    code, out, error = await schema(folder, "check", "shop_schema", "--against", against)
    assert (code, out) == (codes.USAGE, "")
    assert said in error
    assert "Traceback" not in error


TREES = """
from actors import Actor, receives
from supervisors import Supervisor, child
from shop_schema import Add, Cart

class Board(Actor):
    address = "shop.board"

    @receives(Add)
    def add(self, message: Add) -> int:
        return message.count

class Tree(Supervisor):
    children = (child(Supervisor.of(Board, name="inner").actor_class, Board), child(Cart))

class Late(Supervisor):
    def children(self):
        raise RuntimeError("not yet")

def made():
    return Supervisor.of(Board)
"""


async def test_a_service_is_written_as_asyncapi_and_as_json_schema(folder: Path):
    (folder / "shop_trees.py").write_text(TREES)
    for named, addresses in (
        ("shop_trees:Tree", {"shop.board", "shop.cart"}),
        ("shop_trees:made", {"shop.board"}),
        ("shop_trees:Board", {"shop.board"}),
        ("shop_trees", {"shop.board"}),
        ("shop_schema", {"shop.cart"}),
    ):
        code, out, said = await schema(folder, "export", named)
        assert (code, said) == (codes.OK, "")
        channels = json.loads(out)["channels"]
        assert {name.removesuffix(".mailbox") for name in channels if "mailbox" in name} == (
            addresses
        )
    code, out, said = await schema(
        folder, "export", "shop_trees:Tree", "--format", "json-schema", "--file", "it.json"
    )
    assert (code, out, said) == (codes.OK, "", "it.json: json-schema\n")
    document = json.loads((folder / "it.json").read_text())
    assert document["anyOf"] == [{"title": "shop.add", "$ref": "#/$defs/Add"}]


async def test_children_that_only_a_node_knows_are_one_clear_error(folder: Path):
    (folder / "shop_trees.py").write_text(TREES)
    code, out, said = await schema(folder, "export", "shop_trees:Late")
    assert (code, out) == (codes.USAGE, "")
    assert "the children of Late in shop_trees:Late are not known: RuntimeError: not yet" in said
    code, _, said = await schema(folder, "export", "json")
    assert code == codes.USAGE
    assert "no class there has an address" in said
