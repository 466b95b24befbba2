"""nsqd's HTTP API on Tornado: publishing, statistics, administration.

Paths, parameters, status codes and messages are nsqd's, so its tools work here.
Not here by design: /config (options do not change while the server runs) and
/debug/pprof (Go's profiler). A request body is refused by its declared length
before it is read, and by what has come when it declares none. What changes something
is refused to another site's page in a browser, which nsqd would do; programs send
neither `Origin` nor `Sec-Fetch-Site`, and go on as with nsqd.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from tornado.web import Application, RequestHandler, stream_request_body

from irismq_runtime.embedded.nsqd.options import VERSION
from irismq_runtime.embedded.nsqd.stats import health, stats_text, stats_value
from irismq_runtime.json_text import json_text
from irismq_runtime.observe.http_guard import is_cross_site, is_own_name
from irismq_runtime.observe.http_server import bounded
from irismq_runtime.protocols.nsq.batch import decode_batch_untrusted
from irismq_runtime.protocols.nsq.errors import NsqProtocolError
from irismq_runtime.protocols.nsq.names import is_valid_name

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from irismq_runtime.embedded.nsqd.channel import Channel
    from irismq_runtime.embedded.nsqd.context import ServerContext
    from irismq_runtime.embedded.nsqd.topic import Topic

__all__ = ["HttpApi"]

#: Connections at once: many more than tools and publishers keep.
_MOST = 512
#: Seconds for a body; and between two requests: Go's client keeps connections for 90.
_BODY_SECONDS = 30.0
_IDLE_SECONDS = 120.0
_TRUE = {"true", "1"}
_FALSE = {"false", "0"}


class _Refusal(Exception):
    """An answer other than 200, with nsqd's message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class _HttpRequest(NamedTuple):
    context: ServerContext
    arguments: Mapping[str, str]
    body: bytes

    def topic_name(self, invalid: str = "INVALID_TOPIC") -> str:
        name = self.arguments.get("topic")
        if name is None:
            raise _Refusal(400, "MISSING_ARG_TOPIC")
        if not is_valid_name(name.encode()):
            raise _Refusal(400, invalid)
        return name

    def topic(self, invalid: str = "INVALID_TOPIC") -> Topic:
        topic = self.context.broker.topics.get(self.topic_name(invalid))
        if topic is None:
            raise _Refusal(404, "TOPIC_NOT_FOUND")
        return topic

    def topic_and_channel(self) -> tuple[Topic, str]:
        self.topic_name("INVALID_ARG_TOPIC")
        name = self.arguments.get("channel")
        if name is None:
            raise _Refusal(400, "MISSING_ARG_CHANNEL")
        if not is_valid_name(name.encode()):
            raise _Refusal(400, "INVALID_ARG_CHANNEL")
        return self.topic("INVALID_ARG_TOPIC"), name

    def channel(self) -> tuple[Topic, Channel]:
        topic, name = self.topic_and_channel()
        if name not in topic.channels:
            raise _Refusal(404, "CHANNEL_NOT_FOUND")
        return topic, topic.channels[name]

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.arguments.get(name, "")
        return value in _TRUE if value in _TRUE | _FALSE else default


# -- handlers: a text, bytes or JSON value for 200, `_Refusal` for the rest -----------


async def _ping(request: _HttpRequest) -> str:
    state = health(request.context)
    if state != "OK":
        raise _Refusal(500, state)
    return state


async def _info(request: _HttpRequest) -> dict[str, Any]:
    context, options = request.context, request.context.options
    return {
        "version": VERSION,
        "broadcast_address": context.host,
        "hostname": socket.gethostname(),
        "http_port": context.http_port,
        "tcp_port": context.tcp_port,
        "start_time": int(context.started_at),
        "max_heartbeat_interval": int(options.max_heartbeat_interval * 1e9),
        "max_output_buffer_size": options.max_output_buffer_size,
        "max_output_buffer_timeout": int(options.max_output_buffer_timeout * 1e9),
        "max_deflate_level": options.max_deflate_level,
        "topology_zone": "",
        "topology_region": "",
    }


async def _stats(request: _HttpRequest) -> dict[str, Any] | str:
    arguments = request.arguments
    value = stats_value(
        request.context,
        topic=arguments.get("topic", ""),
        channel=arguments.get("channel", ""),
        clients=request.flag("include_clients", default=True),
        memory=request.flag("include_mem", default=True),
    )
    if arguments.get("format") == "json":
        return value
    return stats_text(value, now=request.context.clock.time())


async def _pub(request: _HttpRequest) -> str:
    options = request.context.options
    if len(request.body) > options.max_msg_size:
        raise _Refusal(413, "MSG_TOO_BIG")
    if not request.body:
        raise _Refusal(400, "MSG_EMPTY")
    topic = request.topic_name()
    delay = 0.0
    if "defer" in request.arguments:
        text = request.arguments["defer"]
        try:
            delay = int(text[:20]) / 1000
        except ValueError:
            raise _Refusal(400, "INVALID_DEFER") from None
        if not 0 <= delay <= options.max_req_timeout:
            raise _Refusal(400, "INVALID_DEFER")
    return await _publish(request.context, topic, [request.body], delay)


async def _mpub(request: _HttpRequest) -> str:
    options = request.context.options
    topic = request.topic_name()
    text = request.arguments.get("binary")
    if text is not None and text not in _FALSE:
        try:
            bodies = decode_batch_untrusted(request.body, options.limits)
        except NsqProtocolError as error:
            raise _Refusal(413, error.code.removeprefix("E_")) from error
    else:
        bodies = [line for line in request.body.split(b"\n") if line]
        if any(len(line) > options.max_msg_size for line in bodies):
            raise _Refusal(413, "MSG_TOO_BIG")
    return await _publish(request.context, topic, bodies, 0.0) if bodies else "OK"


async def _publish(
    context: ServerContext, topic: str, bodies: Sequence[bytes], delay: float
) -> str:
    result: asyncio.Future[None] = context.loop.create_future()

    def done(error: Exception | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(None)
        else:
            result.set_exception(_Refusal(503, f"PUB_FAILED {error}"))

    context.broker.publish(topic, bodies, delay, done)
    await result
    return "OK"


async def _create_topic(request: _HttpRequest) -> None:
    request.context.broker.topic(request.topic_name())


async def _delete_topic(request: _HttpRequest) -> None:
    if "topic" not in request.arguments:
        raise _Refusal(400, "MISSING_ARG_TOPIC")
    if not request.context.broker.delete_topic(request.arguments["topic"]):
        raise _Refusal(404, "TOPIC_NOT_FOUND")


async def _empty_topic(request: _HttpRequest) -> None:
    request.topic().empty()


async def _pause_topic(request: _HttpRequest) -> None:
    request.context.broker.pause_topic(request.topic(), paused=True)


async def _unpause_topic(request: _HttpRequest) -> None:
    request.context.broker.pause_topic(request.topic(), paused=False)


async def _create_channel(request: _HttpRequest) -> None:
    topic, name = request.topic_and_channel()
    request.context.broker.channel(topic.name, name)


async def _delete_channel(request: _HttpRequest) -> None:
    topic, channel = request.channel()
    request.context.broker.delete_channel(topic, channel.name)


async def _empty_channel(request: _HttpRequest) -> None:
    _, channel = request.channel()
    channel.empty()


async def _pause_channel(request: _HttpRequest) -> None:
    topic, channel = request.channel()
    request.context.broker.pause_channel(topic, channel, paused=True)


async def _unpause_channel(request: _HttpRequest) -> None:
    topic, channel = request.channel()
    request.context.broker.pause_channel(topic, channel, paused=False)


_ROUTES: dict[str, tuple[str, Callable[[_HttpRequest], Awaitable[Any]]]] = {
    "/ping": ("GET", _ping),
    "/info": ("GET", _info),
    "/stats": ("GET", _stats),
    "/pub": ("POST", _pub),
    "/mpub": ("POST", _mpub),
    "/topic/create": ("POST", _create_topic),
    "/topic/delete": ("POST", _delete_topic),
    "/topic/empty": ("POST", _empty_topic),
    "/topic/pause": ("POST", _pause_topic),
    "/topic/unpause": ("POST", _unpause_topic),
    "/channel/create": ("POST", _create_channel),
    "/channel/delete": ("POST", _delete_channel),
    "/channel/empty": ("POST", _empty_channel),
    "/channel/pause": ("POST", _pause_channel),
    "/channel/unpause": ("POST", _unpause_channel),
}


@stream_request_body
class _RouteHandler(RequestHandler):
    """One request: its route, its body, its answer."""

    def initialize(self, context: ServerContext) -> None:
        self._context = context
        self._body = bytearray()
        self._limit = context.options.max_body_size
        self._too_big = "BODY_TOO_BIG"

    async def prepare(self) -> None:
        if self.request.path == "/pub":
            self._limit, self._too_big = self._context.options.max_msg_size, "MSG_TOO_BIG"
        route = _ROUTES.get(self.request.path)
        declared = self.request.headers.get("Content-Length", "0")
        if route is None:
            self._answer_refusal(_Refusal(404, "NOT_FOUND"))
        elif route[0] != self.request.method:
            self._answer_refusal(_Refusal(405, "METHOD_NOT_ALLOWED"))
        elif route[0] == "POST" and self._is_foreign():
            self._answer_refusal(_Refusal(403, "CROSS_SITE"))
        elif declared.isdigit() and int(declared[:20]) > self._limit:
            self._answer_refusal(_Refusal(413, self._too_big))

    def _is_foreign(self) -> bool:
        """Whether a browser was tricked into this; see http_guard.

        Where only this machine can reach the port, a name in `Host` that is neither
        of it nor an address was pointed here; one without a dot is of this network,
        as in a compose file, and nobody else's name server has it.
        """
        headers, host = self.request.headers, self.request.host
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        names = {self._context.host.lower(), socket.gethostname().lower()}
        by_browser = origin is not None or site is not None
        near = self._context.host.startswith("127.") or self._context.host in {"localhost", "::1"}
        known = is_own_name(host, names) or (not by_browser and "." not in host)
        if (by_browser or near) and not known:
            return True
        return is_cross_site(host, origin, site)

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= self._limit:
            self._body += chunk

    async def get(self) -> None:
        await self._serve()

    async def post(self) -> None:
        await self._serve()

    async def _serve(self) -> None:
        arguments = {
            name: values[0].decode("utf-8", "replace")
            for name, values in self.request.query_arguments.items()
        }
        _, route = _ROUTES[self.request.path]
        if len(self._body) > self._limit:
            self._answer_refusal(_Refusal(413, self._too_big))
            return
        try:
            value = await route(_HttpRequest(self._context, arguments, bytes(self._body)))
        except _Refusal as refusal:
            self._answer_refusal(refusal)
        else:
            self._answer(value)

    def _answer(self, value: object) -> None:
        self.set_header("X-NSQ-Content-Type", "nsq; version=1.0")
        if isinstance(value, dict):
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(json_text(value))
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(value if isinstance(value, str) else "")

    def _answer_refusal(self, refusal: _Refusal) -> None:
        self.set_status(refusal.status)
        if refusal.status == 500:
            self._answer(refusal.message)
        else:
            self._answer({"message": refusal.message})


class HttpApi:
    """The listening API. On the loop that `start` was called on."""

    def __init__(self, context: ServerContext, listener: socket.socket) -> None:
        application = Application(
            [(r"/.*", _RouteHandler, {"context": context})], log_function=lambda _: None
        )
        self._server = bounded(
            application,
            most=_MOST,
            most_of_one=_MOST,
            seconds=_BODY_SECONDS,
            idle=_IDLE_SECONDS,
            max_body_size=context.options.max_body_size + 1024 * 1024,
        )
        self._listener = listener

    def start(self) -> None:
        """Take requests."""
        self._server.add_sockets([self._listener])

    async def stop(self) -> None:
        """Take no more requests and close every connection."""
        self._server.stop()
        await self._server.close_all_connections()
