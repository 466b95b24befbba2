"""`irismq store show|accept`, and what `check` and `doctor` say of a store.

Looking makes nothing: no file, no table, and no older tables newer ones.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import confirm, execute, print_json
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.options import Store  # noqa: TC001  # typer reads it when it runs
from irismq_runtime.cli.server_identification import Finding, Level
from irismq_runtime.cli.terminal import out
from irismq_runtime.errors import ConfigError, NotConnected, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from irismq_runtime.ports.state_store import OutboxBacklog, StateStore, StoreInfo, StoreSizes

__all__ = ["app", "judge_backlog", "judge_shards", "look_at_store", "looking_at"]

app = command_group(
    "Look at a store of durable state, or accept that it may have gone back in time."
)

#: Seconds past due from which on a row that waits is worth a line.
_LONG: Final = 300.0
#: Nodes whose rows are read.
_MOST_NODES: Final = 10_000


@asynccontextmanager
async def looking_at(url: str) -> AsyncIterator[tuple[StateStore, StoreInfo]]:
    """The store of a URL, and what it is; nothing is made. Raises as `StateStore.open`."""
    if not url:
        raise ConfigError("--store", "no store is named", "give its URL, or set IRISMQ_STORE")
    from irismq_runtime.stores import open_store

    store = open_store(url)
    try:
        yield store, await store.open(None)
    finally:
        await store.close()


async def look_at_store(url: str, limit: float) -> list[Finding]:
    """What is so of a store, within `limit` seconds: a line for it, and one for what waits."""
    try:
        async with asyncio.timeout(limit), looking_at(url) as (store, info):
            found = [_found(info, await store.sizes()), *judge_backlog(await store.backlog())]
            return [*found, *await _entities(store)]
    except ConfigError as error:
        return [Finding(Level.BAD, "store", f"store: {error.problem}", error.remedy)]
    except NotConnected as error:
        text = f"{error.peer} does not answer: {error.reason}"
        return [Finding(Level.BAD, "store", text, "start it, or see --store", kind="server")]
    except StoreUnavailable as error:
        return [Finding(Level.BAD, "store", str(error), kind="server")]
    except TimeoutError:
        text = f"the store does not answer within {limit:g} s"
        return [Finding(Level.BAD, "store", text, "see what its server does", kind="server")]


def _found(info: StoreInfo, sizes: StoreSizes) -> Finding:
    text = f"the store {info.url} answers: epoch {info.epoch}, {sizes.outbox:,} outbox rows, "
    return Finding(Level.OK, "store", f"{text}{sizes.handled:,} handled ids")


def judge_backlog(backlog: list[OutboxBacklog]) -> list[Finding]:
    """A line for each address that nobody seems to serve, and for what was put aside. Pure."""
    found = []
    for each in backlog:
        if each.waiting and each.overdue > _LONG:
            text = (
                f"in the store {each.waiting:,} wait for {each.address!r}, the oldest "
                f"for {each.overdue / 60:,.0f} min"
            )
            advice = (
                "start a node that serves it, or see irismq outbox list"
                if each.owned
                else "see that a broker takes them"
            )
            found.append(Finding(Level.WARN, each.address, text, advice))
        if each.dead:
            text = f"put aside in the store for {each.address!r}: {each.dead:,}"
            advice = f"look at them: irismq dead list {each.address}"
            found.append(Finding(Level.NOTE, each.address, text, advice))
    return found


async def _entities(store: StateStore) -> list[Finding]:
    """A line for each address of entities that nodes run, from what they say in the store."""
    from irismq_runtime.durability import shards_in
    from irismq_runtime.entities.records import MEMBERS, member_in, owner_in
    from irismq_runtime.messaging import shard_address
    from irismq_runtime.ports.state_store import StateKey

    rows = await store.scan(MEMBERS, "", _MOST_NODES)
    nodes = {row.key.key: member_in(row.state).addresses for row in rows}
    found = []
    for address in sorted(set().union(*nodes.values())):
        (fixed,) = await store.load([StateKey(address)])
        keys = [StateKey(shard_address(address, n)) for n in range(shards_in(fixed.state))]
        owners = [owner_in(row.state) for row in (await store.load(keys) if keys else [])]
        there = {node for node, addresses in nodes.items() if address in addresses}
        found.append(judge_shards(address, owners, there))
    return found


def judge_shards(address: str, owners: Sequence[str], there: Collection[str]) -> Finding:
    """A line for the shards of an address. Pure.

    Args:
        address: Of the entities.
        owners: The id of the node that has each shard; "" for nobody.
        there: The nodes that run its entities, as they say themselves.
    """
    lost = sum(owner not in there for owner in owners)
    if not lost:
        text = f"entities of {address!r}: {len(owners):,} shards on {len(set(owners)):,} nodes"
        return Finding(Level.OK, address, text)
    text = f"{lost:,} of the {len(owners):,} shards of {address!r} belong to no node that is there"
    advice = f"they are taken within 15 s; if not, see irismq entity shards {address}"
    return Finding(Level.WARN, address, text, advice)


@app.command("show")
def show(
    store: Store = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a store is and what waits in it, by address.

    Example: `irismq store show --store postgresql://db/shop`
    """

    async def look() -> tuple[StoreInfo, StoreSizes, list[OutboxBacklog]]:
        async with looking_at(store) as (opened, info):
            return info, await opened.sizes(), await opened.backlog()

    info, sizes, backlog = execute(look())
    if as_json:
        print_json(_record(info, sizes, backlog))
        return
    out.print(_found(info, sizes).line, highlight=False, markup=False, soft_wrap=True)
    for each in backlog:
        kind = "owned" if each.owned else "relayed"
        line = f"{each.address}  {kind}  {each.waiting:,} waiting  {each.dead:,} put aside"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _record(info: StoreInfo, sizes: StoreSizes, backlog: list[OutboxBacklog]) -> dict[str, object]:
    return {
        "url": info.url,
        "id": info.id.hex(),
        "epoch": info.epoch,
        "namespace": info.namespace,
        "outbox": sizes.outbox,
        "handled": sizes.handled,
        "backlog": [
            {
                "address": each.address,
                "owned": each.owned,
                "waiting": each.waiting,
                "dead": each.dead,
                "overdue": round(each.overdue, 3),
            }
            for each in backlog
        ],
    }


@app.command("accept")
def accept(
    store: Store = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Accept a store that was restored, or taken over by another server; a new epoch begins.

    What it had confirmed since the backup, or what its standby had not got, is lost.
    From now on a message of an earlier epoch that has no row in it is put aside, and not
    taken for handled. Nodes go on by themselves.

    Example: `irismq store accept --store postgresql://db/shop`
    """

    async def begin() -> StoreInfo:
        async with looking_at(store) as (opened, _info):
            return await opened.accept()

    if not yes:
        confirm("Does it hold what is to go on from now on?")
    info = execute(begin())
    line = f"the store {info.url} is in epoch {info.epoch}"
    out.print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(codes.OK)
