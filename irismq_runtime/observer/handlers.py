"""The page's HTTP: static files, a snapshot, a stream of changes, letters, actions.

| request | answer |
| --- | --- |
| `GET /`, `/observer.css`, `/*.js` | the page itself |
| `GET /api/snapshot` | everything as it is now, with the history |
| `GET /api/stream` | server-sent events: everything, then what changes |
| `GET /api/letters?address=` | the dead letters of an address, without messages |
| `GET /api/letter?address=&id=` | one of them, with its message |
| `GET /api/offers?node=` | what a node is, and which messages and methods its addresses take |
| `POST /api/act` | replay, drop, restart; needs the token |

Every request passes the guard first. Errors are JSON, {"error": text}, and never a
traceback. What is slow to read is told only the difference to what it has had.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from actors.errors import ActorError
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.observer.changes import changes
from irismq_runtime.observer.model import to_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.observer.dead_letter_service import DeadLetterService
    from irismq_runtime.observer.gatherer import Gatherer
    from irismq_runtime.observer.guard import Guard
    from irismq_runtime.observer.model import ServiceView

__all__ = ["TOKEN_HEADER", "PageContext", "routes"]

TOKEN_HEADER: Final = "X-Irismq-Token"  # noqa: S105  # the header's name
#: Streams at the same time; one more is refused.
MOST_STREAMS: Final = 64
#: Seconds without news after which a stream says that it lives.
_QUIET: Final = 15.0

#: Nothing but the page's own files, and nobody may frame it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "irismq",
}


class PageContext:
    """What all handlers of one server share."""

    def __init__(
        self,
        gatherer: Gatherer,
        dead_letters: DeadLetterService,
        guard: Guard,
        files: dict[str, tuple[str, bytes]],
    ) -> None:
        self.gatherer = gatherer
        self.dead_letters = dead_letters
        self.guard = guard
        #: Path to content type and content.
        self.files = files
        self.streams: set[asyncio.Task[Any]] = set()
        self.closing = asyncio.Event()


class _PageRefusal(HTTPError):
    """An answer other than 200, with a text for whoever asked."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status)
        self.text = text


class _PageHandler(RequestHandler):
    """What every answer has: the guard before it, our headers, errors as JSON."""

    def initialize(self, context: PageContext) -> None:
        self.context = context

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        headers = self.request.headers
        refusal = self.context.guard.refusal(
            self.request.host, headers.get("Origin"), headers.get("Sec-Fetch-Site")
        )
        if refusal:
            raise _PageRefusal(403, refusal)

    def send_json(self, value: Any) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(to_json(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        text = error.text if isinstance(error, _PageRefusal) else f"{status_code} {self._reason}"
        self.send_json({"error": text})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError | StreamClosedError):
            super().log_exception(typ, value, tb)

    def known(self, address: str) -> ServiceView:
        found = self.context.gatherer.latest.service(address)
        if found is None:
            raise _PageRefusal(404, "no such address is known")
        return found


class _File(_PageHandler):
    def get(self) -> None:
        found = self.context.files.get(self.request.path)
        if found is None:
            raise _PageRefusal(404, "there is no such page")
        self.set_header("Content-Type", found[0])
        self.finish(found[1])


class _SnapshotHandler(_PageHandler):
    def get(self) -> None:
        gatherer = self.context.gatherer
        self.send_json({**changes(None, gatherer.latest), "history": gatherer.history})


class _Stream(_PageHandler):
    """Server-sent events, until one side goes."""

    async def get(self) -> None:
        context = self.context
        task = asyncio.current_task()
        if task is None or len(context.streams) >= MOST_STREAMS:
            raise _PageRefusal(503, "too many look at this already")
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        context.streams.add(task)
        self._gone = asyncio.Event()
        try:
            await self._tell()
        except StreamClosedError:
            return
        finally:
            context.streams.discard(task)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if hasattr(self, "_gone"):
            self._gone.set()

    async def _tell(self) -> None:
        gatherer = self.context.gatherer
        had = gatherer.latest
        await self._event("all", {**changes(None, had), "history": gatherer.history})
        while True:
            news = await self._news(had.version)
            if self._gone.is_set() or self.context.closing.is_set():
                return
            if news is None:
                self.write(b": still here\n\n")
                await self.flush()
                continue
            await self._event("change", changes(had, news))
            had = news

    async def _news(self, version: int) -> Any:
        """The next snapshot; None when nothing happened for long, or it is over."""
        work: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self.context.gatherer.changed(version)),
            asyncio.ensure_future(self._gone.wait()),
            asyncio.ensure_future(self.context.closing.wait()),
        ]
        try:
            await asyncio.wait(work, timeout=_QUIET, return_when=asyncio.FIRST_COMPLETED)
            return work[0].result() if work[0].done() else None
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _event(self, name: str, value: Any) -> None:
        self.write(b"event: " + name.encode() + b"\ndata: " + to_json(value) + b"\n\n")
        await self.flush()


class _Letters(_PageHandler):
    async def get(self) -> None:
        service = self.known(self.get_query_argument("address", ""))
        self.send_json(await _done(self.context.dead_letters.listed(service.address, service.dead)))


class _LetterHandler(_PageHandler):
    async def get(self) -> None:
        service = self.known(self.get_query_argument("address", ""))
        wanted = self.get_query_argument("id", "")
        found = await _done(self.context.dead_letters.show(service.address, wanted, service.dead))
        if found is None:
            raise _PageRefusal(404, "this letter is not there any more")
        self.send_json(found)


class _Offers(_PageHandler):
    async def get(self) -> None:
        node = self.get_query_argument("node", "")
        if self.context.gatherer.latest.node(node) is None:
            raise _PageRefusal(404, "no such node is known")
        self.send_json(await _done(self.context.gatherer.offers(node)))


class _RestartOrder(msgspec.Struct, tag="restart", tag_field="act"):
    """End a child of a supervisor (its urn) on a node, and start it again."""

    node: str
    supervisor: str
    child: str


class _Replay(msgspec.Struct, tag="replay", tag_field="act"):
    """Put dead letters back into their mailbox."""

    address: str
    ids: list[str]


class _Drop(msgspec.Struct, tag="drop", tag_field="act"):
    """Give dead letters up."""

    address: str
    ids: list[str]


_read_order: Final = msgspec.json.Decoder(_RestartOrder | _Replay | _Drop).decode


class _Act(_PageHandler):
    def prepare(self) -> None:
        super().prepare()
        if not self.context.guard.may_act(self.request.headers.get(TOKEN_HEADER)):
            raise _PageRefusal(401, "acting needs the token that was printed at the start")
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise _PageRefusal(415, "an order is application/json")

    async def post(self) -> None:
        try:
            order = _read_order(self.request.body)
        except msgspec.MsgspecError as error:
            raise _PageRefusal(400, f"this is not an order: {error}") from error
        context = self.context
        if isinstance(order, _RestartOrder):
            await _done(context.gatherer.restart(order.node, order.supervisor, order.child))
            self.send_json({"done": 1, "back": 0})
            return
        service = self.known(order.address)
        verb: Callable[..., Awaitable[Any]] = (
            context.dead_letters.replay if isinstance(order, _Replay) else context.dead_letters.drop
        )
        self.send_json(await _done(verb(service.address, order.ids, service.dead)))


async def _done(work: Awaitable[Any]) -> Any:
    """The result; what the system answers instead of one becomes an HTTP error."""
    try:
        return await work
    except (RuntimeFault, ActorError) as error:
        raise _PageRefusal(502, f"{type(error).__name__}: {error}") from error


def routes(context: PageContext) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Path to handler, for tornado: the first that fits answers."""
    own = {"context": context}
    return [
        (r"/api/snapshot", _SnapshotHandler, own),
        (r"/api/stream", _Stream, own),
        (r"/api/letters", _Letters, own),
        (r"/api/letter", _LetterHandler, own),
        (r"/api/offers", _Offers, own),
        (r"/api/act", _Act, own),
        (r"/.*", _File, own),
    ]
