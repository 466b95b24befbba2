"""`irismq entity list|show|shards|end`: the entities of an address, as the store has them.

Everything is read in the store, while nodes run. What is ended here is a commit on the version
that was read: an entity that is active just then has either committed before, and the command says
so, or loads what is left and begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import execute, fail, print_json, remark
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.options import Store  # noqa: TC001  # typer reads it when it runs
from irismq_runtime.cli.store import looking_at
from irismq_runtime.cli.terminal import out, print_listing, print_rows
from irismq_runtime.config import need_address
from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from irismq_runtime.ports.state_store import StateKey, StateStore, StoredState

__all__ = ["app"]

app = command_group("Look at the entities of an address, who owns them, or end one.")

Address = Annotated[str, typer.Argument(help="The address of the class of entities.")]
Key = Annotated[str, typer.Argument(help="Which entity.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
#: Keys that one read takes.
_PAGE: Final = 1000


@app.command("list")
def list_keys(
    address: Address,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many keys; what is cut is said.")
    ] = 1000,
    store: Store = "",
    as_json: Json = False,
) -> None:
    """List the keys of an address that have a state: shard, version, bytes.

    Example: `irismq entity list shop.cart --store postgresql://db/shop`
    """

    async def look() -> list[StoredState]:
        async with looking_at(store) as (opened, _):
            found: list[StoredState] = []
            for shard in range(await _shards(opened, address)):
                found += await _keys_of(opened, _shard_address(address, shard), limit + 1)
                if len(found) > limit:
                    break
            return found

    found = execute(look())
    shown = [
        {
            "key": each.key.key,
            "shard": int(each.key.address.rpartition("#")[2]),
            "version": each.version,
            "bytes": len(each.state or b""),
        }
        for each in found[:limit]
    ]
    columns = ("key", "shard", "version", "bytes")
    print_listing(shown, columns, as_json=as_json, data=True, nothing="no entity has a state")
    if len(found) > limit:
        remark("there are more: give --limit")


async def _keys_of(store: StateStore, address: str, most: int) -> list[StoredState]:
    found: list[StoredState] = []
    after = ""  # the row that says who owns the shard has no key, and is not behind this
    while True:
        page = await store.scan(address, after, _PAGE)
        found += page
        if len(page) < _PAGE or len(found) >= most:
            return found
        after = page[-1].key.key


@app.command()
def show(address: Address, key: Key, store: Store = "") -> None:
    """Show one entity as JSON: its state, its reminders, who owns its shard.

    Example: `irismq entity show shop.cart ada --store postgresql://db/shop`
    """

    async def look() -> tuple[StoredState, StoredState]:
        async with looking_at(store) as (opened, _):
            found, owner = await opened.load(await _keys(opened, address, key))
            return found, owner

    found, owner = execute(look())
    if not found.version:
        fail(f"no entity of {address!r} with the key {key!r} has a state", codes.FAILED)
    from irismq_runtime.entities.records import owner_in

    record: dict[str, object] = {
        "key": key,
        "shard": found.key.address,
        "owner": owner_in(owner.state) or None,
        "version": found.version,
        **_content_untrusted(found.state),
    }
    print_json(record, data=True)


def _content_untrusted(data: bytes | None) -> dict[str, object]:
    """What a stored state says, as far as it can be read."""
    import msgspec

    from irismq_runtime.durability.reminder_book import ReminderBook, split
    from irismq_runtime.errors import DecodeError
    from irismq_runtime.wire import Serializer

    try:
        state, book = split(data)
        reminders = {
            name: {"due": kept.due, "every": kept.every, "cron": kept.cron, "type": kept.type}
            for name, kept in ReminderBook(book)
        }
        if state is None:
            return {"type": None, "state": None, "reminders": reminders}
        kind, version, codec, body = msgspec.msgpack.decode(state, type=tuple[str, int, str, bytes])
        value = Serializer().load("", body, codec or None)
    except (msgspec.DecodeError, DecodeError) as error:
        return {"type": None, "state": f"(unreadable: {error})", "reminders": {}}
    return {"type": kind, "schema": version, "state": value, "reminders": reminders}


@app.command()
def shards(address: Address, store: Store = "", as_json: Json = False) -> None:
    """List the shards of an address, and which node owns each.

    Example: `irismq entity shards shop.cart --store postgresql://db/shop`
    """
    from irismq_runtime.entities.records import owner_in

    async def look() -> list[StoredState]:
        async with looking_at(store) as (opened, _):
            from irismq_runtime.ports.state_store import StateKey

            numbers = range(await _shards(opened, address))
            return await opened.load([StateKey(_shard_address(address, each)) for each in numbers])

    shown = [
        {"shard": number, "owner": owner_in(each.state) or None}
        for number, each in enumerate(execute(look()))
    ]
    if as_json or not out.is_terminal:
        print_json(shown, data=True)
        return
    columns = ("shard", "owner")
    print_rows(columns, ([str(row["shard"]), str(row["owner"] or "nobody")] for row in shown))


@app.command()
def end(
    address: Address,
    key: Key,
    store: Store = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End the state of one entity, and its reminders: the next message finds a new one.

    Example: `irismq entity end shop.cart ada --store postgresql://db/shop`
    """

    async def finish() -> str:
        from irismq_runtime.ports.state_store import END, Committed, StateCommit
        from irismq_runtime.wire import new_id

        async with looking_at(store) as (opened, _):
            of, _owner = await _keys(opened, address, key)
            (found,) = await opened.load([of])
            if not found.version:
                return f"no entity of {address!r} with the key {key!r} has a state"
            (outcome,) = await opened.commit([StateCommit(of, found.version, new_id(), END)])
            if isinstance(outcome, Committed):
                return ""
            return "it has committed something just now; look at it again"

    if not yes:
        typer.confirm(f"End the state of {key!r} for good?", abort=True)
    if problem := execute(finish()):
        fail(problem, codes.FAILED)
    remark(f"ended: {key}")


async def _keys(store: StateStore, address: str, key: str) -> tuple[StateKey, StateKey]:
    """Under what an entity is stored, and the row of its shard. Raises `ConfigError`."""
    from irismq_runtime.messaging import ENTITY_KEY, shard_of
    from irismq_runtime.ports.state_store import StateKey

    if complaint := ENTITY_KEY.complaint(key):
        raise ConfigError("KEY", complaint)
    shard = _shard_address(address, shard_of(key, await _shards(store, address)))
    return StateKey(shard, key), StateKey(shard)


def _shard_address(address: str, shard: int) -> str:
    from irismq_runtime.messaging import shard_address

    return shard_address(address, shard)


async def _shards(store: StateStore, address: str) -> int:
    """Into how many shards the keys are divided. Raises `ConfigError` where there are none."""
    from irismq_runtime.durability import shards_in
    from irismq_runtime.ports.state_store import StateKey

    need_address(address)
    (found,) = await store.load([StateKey(address)])
    if number := shards_in(found.state):
        return number
    raise ConfigError(
        "ADDRESS",
        f"no class of entities has the address {address!r} in this store",
        "see how it is written in the class, and which store its nodes have",
    )
