"""`irismq ask|tell|tell-all ADDRESS TYPE [JSON]`: talk to a service from a shell.

The message is built from JSON. When its type is registered here (`--import` a
module that declares it) it is checked before it leaves; otherwise it travels
under its name as it is, and the receiver checks it. TYPE "-" sends a plain value.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from actors.messages import readable_types
from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.completion import addresses
from irismq_runtime.cli.console import execute, fail, print_json, remark
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    Imports,
    Iris,
    Timeout,
    a_number,
    client_node,
    import_modules,
)
from irismq_runtime.errors import ConfigError, EncodeError, MessageTooLarge
from irismq_runtime.wire import Serializer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.node import Node

__all__ = ["ask", "converted", "message_of", "parsed_strictly", "tell", "tell_all"]

Address = Annotated[
    str,
    typer.Argument(help="Whom to reach, e.g. shop.inventory.", autocompletion=addresses),
]
Type = Annotated[
    str, typer.Argument(metavar="TYPE", help="The message's name, e.g. shop.reserve; - for none.")
]
Body = Annotated[
    str | None, typer.Argument(metavar="JSON", help="The message; - reads standard input.")
]


@takes_brokers
def ask(
    address: Address,
    type_name: Type = "-",
    body: Body = None,
    brokers: Brokers = Brokers(),
    iris: Iris = IRIS_DEFAULT,
    timeout: Timeout = 5.0,
    imports: Imports = [],
    everyone: Annotated[bool, typer.Option("--all", help="Ask every member.")] = False,
) -> None:
    """Ask one member (or all) and print the answer as JSON."""

    async def talk(node: Node, message: Any) -> None:
        ref = node.ref(address)
        if not everyone:
            print_json(await ref.ask(message, timeout=timeout), data=True)
            return
        gathered = await ref.ask_all(message, timeout=timeout)
        print_json(
            {
                "replies": {reply.member: reply.value for reply in gathered.replies},
                "errors": {failed.member: str(failed.error) for failed in gathered.errors},
                "missing": gathered.missing,
            }
        )

    _send(message_of(type_name, body, imports), talk, brokers, iris, unknown_as_plain=True)


@takes_brokers
def tell(
    address: Address,
    type_name: Type = "-",
    body: Body = None,
    brokers: Brokers = Brokers(),
    iris: Iris = IRIS_DEFAULT,
    imports: Imports = [],
    delay: Annotated[
        float,
        typer.Option(
            "--delay", min=0, max=1e9, callback=a_number, help="Not before so many seconds."
        ),
    ] = 0.0,
) -> None:
    """Store a message in the mailbox of an address; done when the broker has it."""

    async def talk(node: Node, message: Any) -> None:
        receipt = node.ref(address).tell(message, delay=delay)
        await receipt
        remark(f"stored as {receipt.id.hex()}")

    _send(message_of(type_name, body, imports), talk, brokers, iris)


@takes_brokers
def tell_all(
    address: Address,
    type_name: Type = "-",
    body: Body = None,
    brokers: Brokers = Brokers(),
    iris: Iris = IRIS_DEFAULT,
    imports: Imports = [],
) -> None:
    """Send a message to every live member of an address, best effort."""

    async def talk(node: Node, message: Any) -> None:
        await node.settled()
        node.ref(address).tell_all(message)
        remark(f"sent to {_count(node, address)}")

    _send(message_of(type_name, body, imports), talk, brokers, iris)


def _send(
    message: Any,
    talk: Callable[[Node, Any], Awaitable[None]],
    brokers: Brokers,
    iris: str,
    **options: Any,
) -> None:
    """Let `talk` send the message from a node of this command's own; `options`: of that node."""

    async def work() -> None:
        async with client_node(brokers, iris, **options) as node:
            await talk(node, message)

    execute(work())


def _count(node: Node, address: str) -> str:
    count = len(node.members(address))
    return "1 known member" if count == 1 else f"{count} known members"


def message_of(type_name: str, body: str | None, imports: list[str]) -> Any:
    """Make the message, outside of any loop: Ctrl-C ends what waits for standard input."""
    try:
        return _read(type_name, body, imports)
    except ConfigError as error:
        fail(str(error), codes.USAGE)


def _read(type_name: str, body: str | None, imports: list[str]) -> Any:
    import_modules(imports)
    if body == "-":
        body = sys.stdin.read()
    try:
        value = parsed_strictly(body) if body else ({} if type_name != "-" else None)
    except (ValueError, RecursionError) as error:
        reason = f"it is not JSON: {error}"
        raise ConfigError("JSON", reason, """quote it: '{"sku": 1}'""") from None
    message = value if type_name == "-" else _typed(type_name, value)
    try:  # what a program could not send, a command does not either
        Serializer().dump(message)
    except (EncodeError, MessageTooLarge) as error:
        raise ConfigError("JSON", str(error)) from None
    return message


def parsed_strictly(text: str) -> Any:
    """Read strict JSON: no NaN, and no key twice. Raises `ValueError`."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(name for name, _ in pairs if [key for key, _ in pairs].count(name) > 1)
            raise ValueError(f"the key {twice!r} is there twice")
        return found

    def refused(name: str) -> Any:
        raise ValueError(f"{name} has no form in JSON")

    return json.loads(text, object_pairs_hook=once, parse_constant=refused)


def converted(type_name: str, known: type, value: Any) -> Any:
    """Return the message of a registered type. Raises `ConfigError` when `value` is none."""
    try:
        return msgspec.convert(value, known, str_keys=True)
    except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ConfigError("JSON", f"it is not a {type_name}: {error}") from None


def _typed(type_name: str, value: Any) -> Any:
    known = readable_types().get(type_name)
    if known is not None:
        return converted(type_name, known, value)
    if not isinstance(value, dict):
        raise ConfigError("JSON", "the fields of a message are an object", "write {...}")
    return _declare(type_name, value)


def _declare(type_name: str, fields: dict[str, Any]) -> Any:
    """Return a message of an unknown type with these fields, whatever they are."""
    from actors import message

    # A name on the wire need not be one of Python: "from", "first-name".
    wire = {f"field_{number}": name for number, name in enumerate(fields)}
    try:
        shape = message(type_name)(
            msgspec.defstruct("Message", [(name, Any) for name in wire], rename=wire)
        )
    except (ValueError, TypeError) as error:
        raise ConfigError("TYPE", str(error)) from None
    return shape(**{name: fields[field] for name, field in wire.items()})
