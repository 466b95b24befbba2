"""`irismq outbox list|move|drop`: what durable actors have told and nobody has taken yet.

Rows are looked at and changed in the store, while nodes run. A row that is moved is published
at its new address as one that is missing: by the nodes, within a minute or two. What a broker
has of it already stays where it is, and counts for nothing where a durable actor takes it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.beginnings import Beginnings
from irismq_runtime.cli.console import execute, fail, remark
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.options import Json, Ndjson, Store  # noqa: TC001  # typer reads them
from irismq_runtime.cli.store import looking_at
from irismq_runtime.cli.terminal import print_listing
from irismq_runtime.config import need_address
from irismq_runtime.errors import DecodeError
from irismq_runtime.json_text import json_text
from irismq_runtime.messaging import MAILBOX_CHANNEL, mailbox_topic
from irismq_runtime.ports.state_store import ABSENT, StateKey
from irismq_runtime.wire import Envelope, Serializer, decode_envelope_untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.ports.state_store import OutboxRow, StateStore

__all__ = ["app", "message_untrusted", "moved"]

app = command_group("Look at, move or drop what durable actors told and nobody has taken.")

Ids = Annotated[
    list[str], typer.Option("--id", help="Only this id, or how it begins; may be repeated.")
]
All = Annotated[bool, typer.Option("--all", help="Every row, when no id is given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]

#: Rows that one command looks at.
_MOST: Final = 100_000
#: Rows that are changed in one transaction.
_AT_ONCE: Final = 500
#: Characters of a message in a list.
_LISTED: Final = 80
_SERIALIZER: Final = Serializer()


@app.command("list")
def list_rows(
    address: Annotated[str, typer.Argument(help="Only rows for this address or topic.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many rows; what is cut is said.")
    ] = 1000,
    store: Store = "",
    as_json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """List rows: for whom, how long they wait, how often they failed, and the message.

    Example: `irismq outbox list --store postgresql://db/shop`
    """

    async def look() -> list[OutboxRow]:
        if address:
            need_address(address)
        async with looking_at(store) as (opened, _):
            return await opened.outbox(address, limit + 1)

    rows = execute(look())
    now = time.time()
    shown = [_record(row, now) for row in rows[:limit]]
    columns = ("id", "to", "kind", "waits", "tries", "type", "message")
    print_listing(
        shown,
        columns,
        as_json=as_json,
        ndjson=ndjson,
        data=True,
        cell=_cell,
        nothing="no such rows",
    )
    if len(rows) > limit:
        remark("there are more: give --limit")


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json_text(value)
    return text if len(text) <= _LISTED else f"{text[:_LISTED]}…"


def _record(row: OutboxRow, now: float) -> dict[str, Any]:
    kind, message = message_untrusted(row.envelope)
    state = "dead" if row.dead else "owned" if row.owned else "relayed"
    return {
        "id": row.id.hex(),
        "from": row.sender.address,
        "to": row.to.address,
        "key": row.to.key,
        "kind": state,
        "waits": round(now - row.due, 1),
        "tries": row.tries,
        "type": kind,
        "message": message,
    }


def message_untrusted(data: bytes) -> tuple[str, Any]:
    """The type and the message of a row, as far as they can be read. Raises nothing."""
    try:
        envelope = decode_envelope_untrusted(data)
        if not isinstance(envelope, Envelope):
            return "", envelope.data
        return envelope.type, _SERIALIZER.load("", envelope.body, envelope.headers.get("c"))
    except DecodeError as error:
        return "", f"(unreadable: {error.reason}; {len(data)} bytes)"


@app.command()
def move(
    address: Annotated[str, typer.Argument(help="For whom the rows are now.")],
    to: Annotated[str, typer.Argument(help="The address that shall have them.")],
    ids: Ids = [],
    every: All = False,
    dry_run: DryRun = False,
    store: Store = "",
) -> None:
    """Give rows to another address: of a service that was renamed, say.

    Nodes publish them there within a minute or two. Rows for entities are left: they have
    their place by their keys.

    Example: `irismq outbox move shop.cart shop.basket --all`
    """

    async def change(opened: StateStore, rows: list[OutboxRow]) -> int:
        (known,) = await opened.load([StateKey(to)])
        durable = known.version != ABSENT
        return await opened.readdress([moved(row, to, durable=durable) for row in rows])

    def can(row: OutboxRow) -> bool:
        return not row.dead and not row.to.key

    _change("moved", store, address, ids, to, every=every, dry_run=dry_run, can=can, act=change)


def moved(row: OutboxRow, to: str, *, durable: bool) -> OutboxRow:
    """The row as it is for the address `to`. `durable`: that of a durable actor of the store."""
    if not row.owned and not row.channel:  # an event, which has no one receiver
        return replace(row, to=StateKey(mailbox_topic(to)))
    if durable:
        return replace(row, to=StateKey(to), owned=True, channel=MAILBOX_CHANNEL)
    return replace(row, to=StateKey(mailbox_topic(to)), owned=False, channel=MAILBOX_CHANNEL)


@app.command()
def drop(
    address: Annotated[str, typer.Argument(help="For whom the rows are.")],
    ids: Ids = [],
    every: All = False,
    dry_run: DryRun = False,
    store: Store = "",
) -> None:
    """Give rows that wait up for good: nobody will handle what they say.

    What was put aside is dropped with its letter: irismq dead drop --store.

    Example: `irismq outbox drop shop.gone --all`
    """

    async def change(opened: StateStore, rows: list[OutboxRow]) -> int:
        return await opened.forget([row.id for row in rows])

    def can(row: OutboxRow) -> bool:
        return not row.dead

    _change("dropped", store, address, ids, every=every, dry_run=dry_run, can=can, act=change)


def _change(
    verb: str,
    store: str,
    address: str,
    ids: Sequence[str],
    *more: str,
    every: bool,
    dry_run: bool,
    can: Any,
    act: Any,
) -> None:
    """Do `act` to the rows that are meant and that it can be done to; say how many those were.

    `more`: other addresses that are named.
    """
    if not ids and not every:
        fail("say which rows: --id, or --all", codes.USAGE)
    beginnings = Beginnings(ids)
    if beginnings.empty:
        fail("an empty id means every row: give one, or --all", codes.USAGE)

    async def work() -> tuple[int, int]:
        for each in (address, *more):
            need_address(each)  # the store takes "" for all of them
        async with looking_at(store) as (opened, _):
            rows = await opened.outbox(address, _MOST)
            if len(rows) == _MOST:
                remark("there may be more: repeat the command")
            meant = [row for row in rows if not ids or row.id.hex().startswith(tuple(ids))]
            for row in meant if beginnings else ():
                beginnings.see(row.id.hex())
            if problem := beginnings.problem():
                fail(problem)
            fit = [row for row in meant if can(row)]
            done = len(fit) if dry_run else 0
            for start in range(0, 0 if dry_run else len(fit), _AT_ONCE):
                done += await act(opened, fit[start : start + _AT_ONCE])
            return done, len(meant) - len(fit)

    done, left = execute(work())
    would = "would be " if dry_run else ""
    remark(f"{done:,} row{'' if done == 1 else 's'} {would}{verb}")
    if left:
        fail(f"{left:,} were left: they are dead or for an entity; see irismq outbox list")
