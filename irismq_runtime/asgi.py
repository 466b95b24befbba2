"""A node in a web application: its life as the application's, its errors as HTTP.

    app = FastAPI(lifespan=lifespan(Node.from_env, Shop))
    app.add_middleware(Problems)

    @app.get("/stock/{sku}")
    async def stock(sku: str, request: Request) -> int:
        return await request.app.state.node.ref("shop.stock").ask(Count(sku))

For FastAPI, Starlette, Litestar and whatever else speaks ASGI; it imports none of them.
`lifespan` enters a node where the application starts, starts a tree if there is one, and
ends both with it. `problem_of` says which status an error is, and nothing of an application
is known there; `Problems` answers with it, as `application/problem+json` (RFC 9457). What a
handler's code raised in another process is never shown to a browser.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from actors import (
    ActorCrashed,
    ActorDeadError,
    ActorError,
    AskTimeout,
    HandlerTimeout,
    Overloaded,
    Refused,
    Restarting,
    Unhandled,
)
from irismq_runtime.errors import (
    ConnectionLost,
    DeliveryError,
    MessageTooLarge,
    NodeStopped,
    NoSuchService,
    NotConnected,
    RemoteFault,
    RuntimeFault,
    StoreUnavailable,
    TunnelTimeout,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping

    from irismq_runtime.node import Node

    _Message = MutableMapping[str, Any]
    _Application = Callable[
        [
            MutableMapping[str, Any],
            Callable[[], Awaitable[_Message]],
            Callable[[_Message], Awaitable[None]],
        ],
        Awaitable[None],
    ]

__all__ = ["HttpProblem", "Problems", "end_process", "lifespan", "problem_of"]

_LOG = logging.getLogger("irismq.asgi")


# -- the life of the node


def end_process(reason: str) -> None:
    """The tree gave up: have the server of this process end in order, as SIGTERM does."""
    _LOG.error("%s: the server is told to stop", reason)
    signal.raise_signal(signal.SIGTERM)


def lifespan(
    make: Callable[[], Node],
    tree: Any = None,
    *,
    on_give_up: Callable[[str], None] = end_process,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return what an application takes as its `lifespan`: a node from its start to its end.

    The node is `app.state.node`, and `request.state.node` where the server keeps the state
    of a lifespan (Starlette and FastAPI do).

    Args:
        make: Makes the node, in each life of the application: `Node.from_env`, or
            `lambda: Node(...)`.
        tree: What the node runs, as of `Node.start`; None: it serves nothing.
        on_give_up: Called with the reason when a root of the tree gives up, on the loop.

    Returns:
        A function of the application that gives an asynchronous context manager. Entering
        that raises `NotConnected`, and what the start of the tree failed with.
    """

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with make() as node:
            if tree is not None:
                await node.start(tree)
            app.state.node = node
            watching = asyncio.ensure_future(_give_up(node, on_give_up))
            try:
                yield {"node": node}
            finally:
                watching.cancel()
                await asyncio.wait([watching])

    return life


async def _give_up(node: Node, told: Callable[[str], None]) -> None:
    told(await node.stopping())


# -- errors


@dataclass(frozen=True, slots=True)
class HttpProblem:
    """What an error is in HTTP. `title` and `detail` are for people, `code` is for programs.

    `retry_after`: whole seconds after which the same may work; None: it says nothing of that.
    """

    status: int
    title: str
    detail: str = ""
    code: str = ""
    retry_after: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As RFC 9457 has it."""
        said: dict[str, Any] = {"title": self.title, "status": self.status}
        if self.detail:
            said["detail"] = self.detail
        if self.code:
            said["code"] = self.code
        return said


_SOON: Final = 1
#: Seconds at most that a browser is told to wait: what another process says may be anything.
_LONGEST_WAIT: Final = 3_600
#: In this order, as a class comes before its base: error -> status, title, whether it is
#: worth another try soon.
_STATUS: Final[tuple[tuple[type[BaseException], int, str, bool], ...]] = (
    (Unhandled, 501, "The service does not take this message", False),
    (Restarting, 503, "The service is restarting", True),
    (Overloaded, 503, "The service has no room now", True),
    (NoSuchService, 503, "Nobody serves this now", True),
    (NodeStopped, 503, "This server is stopping", True),
    (NotConnected, 503, "This server is not connected", True),
    (StoreUnavailable, 503, "The service cannot reach its store", True),
    (MessageTooLarge, 413, "The message is too large", False),
    (AskTimeout, 504, "The service did not answer in time", False),
    (HandlerTimeout, 504, "The service did not answer in time", False),
    (TunnelTimeout, 504, "The service did not answer in time", False),
    (ActorDeadError, 503, "The service has ended", True),
    (ActorCrashed, 502, "The service failed", False),  # RemoteError is one
    (RemoteFault, 502, "The service failed", False),
)
#: Those that say whether anything was done: what was not is worth another try.
_MAYBE_DONE: Final = (ConnectionLost, DeliveryError)


def problem_of(error: BaseException, codes: Mapping[str, int] | None = None) -> HttpProblem | None:
    """Return what an error of a node is in HTTP; None for one that is no such error.

    Args:
        error: What an ask or a tell raised.
        codes: The status of a refusal by its `code`, as `{"unknown": 404}`; 422 for others.
    """
    for kind, status, title, again in _STATUS:
        if isinstance(error, kind):
            wait = getattr(error, "retry_after", None) if again else None
            after = _SOON
            if isinstance(wait, int | float) and math.isfinite(wait):
                after = min(max(_SOON, math.ceil(wait)), _LONGEST_WAIT)
            return HttpProblem(status, title, retry_after=after if again else None)
    if isinstance(error, Refused):
        code = error.code or ""
        status = (codes or {}).get(code, 422)
        return HttpProblem(status, "The service refused", detail=error.reason, code=code)
    if isinstance(error, _MAYBE_DONE):
        if error.outcome == "not sent":
            return HttpProblem(503, "The service was not reached", retry_after=_SOON)
        return HttpProblem(502, "The connection to the service was lost", code="unknown-outcome")
    return None


class Problems:
    """ASGI middleware: answers with `problem_of` what an application raises and does not answer.

    Args:
        app: The application.
        codes: See `problem_of`.
    """

    def __init__(self, app: _Application, codes: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._codes = dict(codes or {})

    async def __call__(self, scope: _Message, receive: Any, send: Any) -> None:
        """Call the application; an error after its answer began is raised as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: _Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except (RuntimeFault, ActorError) as error:
            problem = None if begun else problem_of(error, self._codes)
            if problem is None:
                raise
            if problem.status >= 500:
                _LOG.warning("%s %.300r: %s", scope.get("method"), scope.get("path"), error)
            await _answer(problem, send)


async def _answer(problem: HttpProblem, send: Callable[[_Message], Awaitable[None]]) -> None:
    body = json.dumps(problem.to_dict()).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(problem.retry_after).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
