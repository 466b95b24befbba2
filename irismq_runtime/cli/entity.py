"""`irismq entity list|show|shards|move|end`: the entities of an address, as the store has them.

Everything is read in the store, while nodes run. What is ended here is a commit on the version
that was read: an entity that is active just then has either committed before, and the command says
so, or loads what is left and begins anew.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import confirm, execute, fail, print_json, remark
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.options import Json, Ndjson, Store, a_number
from irismq_runtime.cli.store import looking_at
from irismq_runtime.cli.terminal import print_listing
from irismq_runtime.config import need_address
from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from irismq_runtime.ports.state_store import StateChange, StateKey, StateStore, StoredState

__all__ = ["app"]

app = command_group("Look at the entities of an address, who owns them; move or end them.")

Address = Annotated[str, typer.Argument(help="The address of the class of entities.")]
Key = Annotated[str, typer.Argument(help="Which entity.")]
#: Keys that one read takes.
_PAGE: Final = 1000
#: Seconds between two looks at who has shards that move.
_LOOK: Final = 0.3


@app.command("list")
def list_keys(
    address: Address,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many keys; what is cut is said.")
    ] = 1000,
    store: Store = "",
    as_json: Json = False,
    ndjson: Ndjson = False,
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
    print_listing(
        shown,
        columns,
        as_json=as_json,
        ndjson=ndjson,
        data=True,
        nothing="no entity has a state",
    )
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
def shards(
    address: Address, store: Store = "", as_json: Json = False, ndjson: Ndjson = False
) -> None:
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
    print_listing(
        shown,
        ("shard", "owner"),
        as_json=as_json,
        ndjson=ndjson,
        data=True,
        cell=lambda value: "nobody" if value is None else str(value),
    )


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
        confirm(f"End the state of {key!r} for good?")
    if problem := execute(finish()):
        fail(problem, codes.FAILED)
    remark(f"ended: {key}")


@app.command()
def move(
    address: Address,
    key: Annotated[str, typer.Argument(help="An entity whose shard is meant.")] = "",
    to: Annotated[str, typer.Option("--to", help="The node that shall have them.")] = "",
    of: Annotated[str, typer.Option("--from", help="All that this node has, by id or name.")] = "",
    back: Annotated[bool, typer.Option("--back", help="Let all be where they belong.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=3600, callback=a_number, help="Seconds at most.")
    ] = 60.0,
    store: Store = "",
) -> None:
    """Have shards handed over to another node, in order, for as long as that node lives.

    One shard by a key, or all that a node has: to --to, or else to the nodes that weigh most
    with them after it. Nodes look every few seconds and move in rounds of ten.

    Example: `irismq entity move shop.cart --from shop-3 --store postgresql://db/shop`
    """
    if sum((bool(key), bool(of), back)) != 1 or (back and to) or (key and not to):
        fail("say what moves: KEY --to NODE, --from NODE, or --back", codes.USAGE)

    async def work() -> tuple[int, int]:
        async with looking_at(store) as (opened, _):
            wanted = await _pin(opened, address, key, to, of, back=back)
            return len(wanted), await _owned_as(opened, address, wanted, wait)

    wanted, missing = execute(work())
    if missing and wait:
        fail(f"{missing} of {wanted} shards are not there after {wait:g} s", codes.FAILED)
    remark("all shards are where they belong soon" if back else f"moved: {wanted - missing} shards")


async def _pin(  # what the command was given
    store: StateStore, address: str, key: str, to: str, of: str, *, back: bool
) -> dict[int, str]:
    """Write down where shards are to be; those that are meant now. Raises `ConfigError`."""
    from irismq_runtime.entities.placement import home_of
    from irismq_runtime.entities.records import PINS, owner_in, pins_in, pins_state
    from irismq_runtime.messaging import shard_of
    from irismq_runtime.ports.state_store import END, Committed, StateCommit, StateKey
    from irismq_runtime.wire import new_id

    number = await _shards(store, address)
    nodes = await _nodes_of(store, address)
    target, source = (_node_named(name, nodes) if name else "" for name in (to, of))
    while True:
        (row,) = await store.load([StateKey(PINS, address)])
        pins, wanted = pins_in(row.state), {}
        if key:
            wanted = {shard_of(key, number): target}
        elif source:
            keys = [StateKey(_shard_address(address, shard)) for shard in range(number)]
            rows = enumerate(await store.load(keys))
            mine = [shard for shard, each in rows if owner_in(each.state) == source]
            others = [node for node in nodes if node != source]
            wanted = {shard: target or home_of(address, shard, others) for shard in mine}
            if mine and not others:
                raise ConfigError("--from", "no other node has entities of this address")
        state: StateChange = END if back else pins_state({**pins, **wanted})
        commit = StateCommit(row.key, row.version, new_id(), state)
        if (back and not row.version) or isinstance((await store.commit([commit]))[0], Committed):
            return wanted


async def _nodes_of(store: StateStore, address: str) -> dict[str, str]:
    """The names of the nodes that have entities of an address, by their ids."""
    from irismq_runtime.entities.records import MEMBERS, member_in

    rows = {each.key.key: member_in(each.state) for each in await _keys_of(store, MEMBERS, 10_000)}
    return {node: row.name for node, row in rows.items() if address in row.addresses}


def _node_named(name: str, nodes: dict[str, str]) -> str:
    """The id of a node. Raises `ConfigError` where it is not one of `nodes`."""
    found = [name] if name in nodes else [node for node in nodes if nodes[node] == name]
    if len(found) == 1:
        return found[0]
    there = ", ".join(nodes) or "none"
    problem = f"{name!r} names {len(found)} of the nodes that have its entities: {there}"
    raise ConfigError("NODE", problem, "give an id")


async def _owned_as(store: StateStore, address: str, wanted: dict[int, str], seconds: float) -> int:
    """Wait until shards have the owners that they are to have; how many have not."""
    from irismq_runtime.entities.records import owner_in
    from irismq_runtime.ports.state_store import StateKey

    until = time.monotonic() + seconds
    while True:
        keys = [StateKey(_shard_address(address, shard)) for shard in wanted]
        rows = zip(wanted.values(), await store.load(keys) if keys else [], strict=True)
        missing = sum(owner_in(row.state) != node for node, row in rows)
        if not missing or time.monotonic() >= until:
            return missing
        await asyncio.sleep(_LOOK)


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
