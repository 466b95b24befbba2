"""`irismq tail ADDRESS|TOPIC`: stored messages as they come, none taken from anybody.

The messages are copies, of a channel of the command's own that ends with it. nsqd
keeps for a topic's first channel what came before it, and copies to those that
exist: so where the topic has no other channel, that of its members (or of the dead
letters) is made first, or this command would be the only one to get what was told.
A message is finished when it has been written, whole; what was not goes back.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.completion import topics
from irismq_runtime.cli.console import execute, fail, remark
from irismq_runtime.cli.http import get_json, post
from irismq_runtime.cli.message_format import as_frame, as_json, as_raw, as_text
from irismq_runtime.cli.options import quiet_while_connecting
from irismq_runtime.cli.pipe import Pipe
from irismq_runtime.cli.probes import Target, examine_all
from irismq_runtime.cli.server_identification import ServerKind, judge, sentence
from irismq_runtime.cli.topic_stats import broker_pairs
from irismq_runtime.config import need_address
from irismq_runtime.errors import ConfigError, NotConnected
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.messaging import DEAD_CHANNEL, MAILBOX_CHANNEL, mailbox_topic
from irismq_runtime.node.process.signals import Signals
from irismq_runtime.protocols.nsq import InvalidName, channel_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.config import Endpoint
    from irismq_runtime.ports import Consumption, StoredMessage

__all__ = ["tail"]

#: Messages held and not written yet, at most.
_WINDOW: Final = 100
#: Seconds until it is looked at what is there instead of a broker.
_PATIENCE: Final = 0.5
#: Seconds until a broker must have answered, and the channel must stand.
_CONNECT: Final = 15.0
_OWN: Final = "tail."


@takes_brokers
def tail(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|TOPIC",
            help="Whose stored messages; ADDRESS.dead too.",
            autocompletion=topics,
        ),
    ],
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="End after so many.")
    ] = None,
    as_lines_of_json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line, with headers and delivery.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="The body as it is stored, escaped, and nothing else.")
    ] = False,
    frame: Annotated[
        bool,
        typer.Option("--frame", help="The body as it is stored, after its length in 4 bytes."),
    ] = False,
    channel: Annotated[
        str,
        typer.Option(help="Read a channel of this name, which stays; else one that ends with it."),
    ] = "",
    take: Annotated[
        bool,
        typer.Option("--take", help="Make no channel `mailbox` where the topic has no channel."),
    ] = False,
    brokers: Brokers = Brokers(),
) -> None:
    """Print stored messages as they come, a line each; nothing is taken from the mailbox.

    Lines are escaped and flushed one by one. A reader that goes away ends the
    command with code 0. nsqd's HTTP port is the one after its TCP port, unless
    --nsqd-http says otherwise.

    Example: `irismq tail shop.inventory --json | jq .body`

    Example: `irismq tail shop.inventory.dead --count 1`
    """
    forms = [
        form
        for form, wanted in ((as_json, as_lines_of_json), (as_raw, raw), (as_frame, frame))
        if wanted
    ]
    if len(forms) > 1:
        fail("--json, --raw and --frame exclude each other", codes.USAGE)

    async def work() -> None:
        where = brokers.endpoints
        config = brokers.config(start_timeout=_CONNECT)
        need_address(address)
        topic = mailbox_topic(address)
        keeper = DEAD_CHANNEL if address.endswith(".dead") else MAILBOX_CHANNEL
        if channel in {DEAD_CHANNEL, MAILBOX_CHANNEL}:
            raise ConfigError("--channel", f"{channel} is its members'", "give another name")
        if channel:
            _check_channel(channel)
        if not take:
            pairs = await broker_pairs(brokers)
            where = tuple(broker for broker, _ in pairs)
            for broker, at in pairs:
                on_wire = brokers.names.topic(topic)
                await _keep_for_others(on_wire, channel, keeper, at, broker, config.tls)
        mailbox = NsqMailbox(
            [str(broker) for broker in where], config=config, namespace=brokers.names
        )
        await _follow(where, mailbox, topic, channel, count or 0, forms[0] if forms else as_text)

    execute(work())


def _check_channel(channel: str) -> None:
    try:
        channel_name(channel)
    except InvalidName as error:
        raise ConfigError("--channel", error.reason, "give another name") from error


async def _keep_for_others(
    topic: str, channel: str, keeper: str, at: Endpoint, broker: Endpoint, tls: Any
) -> None:
    """See to it that the topic has a channel besides ours, and that ours is ours.

    `at`: where `broker` answers HTTP; `tls`: how, inside TLS.
    """
    try:
        stats = await get_json(str(at), "/stats", tls=tls, topic=topic)
        consumers = _consumers_untrusted(stats, topic)
        if consumers.get(channel):
            fail(f"somebody consumes channel {channel} of {topic}: give another", codes.USAGE)
        if any(name != channel and not name.startswith(_OWN) for name in consumers):
            return
        await post(str(at), "/topic/create", tls=tls, topic=topic)
        await post(str(at), "/channel/create", tls=tls, topic=topic, channel=keeper)
    except NotConnected as error:
        if found := await _instead((broker,)):
            raise NotConnected("", found) from error
        fail(
            f"{error.peer} does not answer: {error.reason}; give nsqd's HTTP address with "
            "--nsqd-http, or --take to take what no other channel is there to get",
            codes.UNREACHABLE,
        )
    known = _topics_untrusted(stats, topic)
    never = "nobody has consumed" if known else "nothing was ever told to"
    note = f"{never} {topic} at {at} yet: made its channel {keeper}, "
    remark(f"{note}so that what is told is kept")


def _consumers_untrusted(stats: Any, topic: str) -> dict[str, int]:
    """Return channel -> connections of `topic`, from an nsqd's statistics."""
    return {
        found.get("channel_name", ""): found.get("client_count", 0)
        for entry in _topics_untrusted(stats, topic)
        for found in entry.get("channels") or ()
        if isinstance(found, dict)
    }


def _topics_untrusted(stats: Any, topic: str) -> list[dict[str, Any]]:
    """The entries of `topic` in an nsqd's statistics: one, or none."""
    listed = stats.get("topics") if isinstance(stats, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [one for one in entries if isinstance(one, dict) and one.get("topic_name") == topic]


async def _follow(
    brokers: tuple[Endpoint, ...],
    mailbox: NsqMailbox,
    topic: str,
    channel: str,
    count: int,
    form: Callable[[StoredMessage], bytes],
) -> None:
    over = asyncio.Event()
    arrived: asyncio.Queue[StoredMessage] = asyncio.Queue()
    name = channel or f"{_OWN}{secrets.token_hex(4)}#ephemeral"
    with Signals(asyncio.get_running_loop(), lambda _: over.set(), codes.FORCED):
        ending = asyncio.ensure_future(over.wait())
        try:
            await _unless(ending, asyncio.ensure_future(_started(mailbox, brokers)))
            window = min(_WINDOW, count or _WINDOW)
            consumption = await mailbox.consume(topic, name, arrived.put_nowait, window=window)
            try:
                where = ", ".join(map(str, brokers))
                await _unless(ending, asyncio.ensure_future(_connected(consumption, where)))
                remark(f"tailing {topic} at {where} through {name}; Ctrl-C stops")
                await _print(arrived, consumption, count, form, Pipe(1, over.set), ending)
            finally:
                await consumption.stop(0.0)
        finally:
            ending.cancel()
            await mailbox.close(2.0)


async def _started(mailbox: NsqMailbox, brokers: tuple[Endpoint, ...]) -> None:
    """Connect, or say what answers instead as soon as that is known. Raises `NotConnected`."""
    quiet_while_connecting(True)
    start = asyncio.ensure_future(mailbox.start())
    try:
        await asyncio.wait({start}, timeout=_PATIENCE)
        if not start.done() and (found := await _instead(brokers)):
            raise NotConnected("", found)
        await asyncio.wait({start})
        if start.exception() and (found := await _instead(brokers)):
            raise NotConnected("", found)
        await start
    finally:
        start.cancel()
    quiet_while_connecting(False)


async def _instead(brokers: tuple[Endpoint, ...]) -> str:
    """Return what is in the places of the brokers, "" when one may be there."""
    found = await examine_all(Target(ServerKind.NSQD, broker) for broker in brokers)
    if any(answer.kind is ServerKind.NSQD or not answer.is_certain for _, answer in found):
        return ""
    return sentence(judge(place.role, str(place.endpoint), one) for place, one in found)


async def _connected(consumption: Consumption, where: str) -> None:
    deadline = asyncio.get_running_loop().time() + _CONNECT
    while not (health := consumption.health()).ok:
        if asyncio.get_running_loop().time() > deadline:
            raise NotConnected(f"nsqd at {where}", health.reason)
        await asyncio.sleep(0.01)


async def _print(
    arrived: asyncio.Queue[StoredMessage],
    consumption: Consumption,
    count: int,
    form: Callable[[StoredMessage], bytes],
    pipe: Pipe,
    ending: asyncio.Future[Any],
) -> None:
    """Write what arrives until `count` are written, the reader is gone, or it is over."""
    written = 0
    while not count or written < count:
        stored = await _unless(ending, asyncio.ensure_future(arrived.get()))
        if stored is None:
            return
        if not consumption.claim(stored):
            continue  # its lease was lost: it comes again
        if not await _unless(ending, pipe.write(form(stored))):
            stored.requeue(0.0, penalty=False)
            return
        stored.finish()
        written += 1
        if count:
            consumption.set_window(min(_WINDOW, count - written))


async def _unless(ending: asyncio.Future[Any], work: asyncio.Future[Any]) -> Any:
    """Return what `work` gives; None when `ending` is first."""
    await asyncio.wait((ending, work), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
        return None
    return work.result()
