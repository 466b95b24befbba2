"""The web application: HTTP on one side, messages on the other, and nothing between.

`uvicorn examples.web.application:app` runs it, with the servers that the variables
IRISMQ_NSQD_ADDRESS and IRISMQ_IRIS_ADDRESS name. It serves no address itself.
"""

from __future__ import annotations

import json
import pathlib
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from irismq_runtime import Node, ServiceRef
from irismq_runtime.asgi import Problems, lifespan

from .messages import Bid, Leading, Place, Watch
from .services import AUCTIONEER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["app", "application"]

_PAGE = pathlib.Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Offer:
    """The body of a bid."""

    who: str
    amount: int


def _auctioneer(request: Request) -> ServiceRef[Place | Leading | Watch]:
    node: Node = request.app.state.node
    return node.ref(AUCTIONEER)


Auctioneer = Annotated[ServiceRef[Place | Leading | Watch], Depends(_auctioneer)]


async def _events(bids: AsyncIterator[Bid]) -> AsyncIterator[str]:
    """Bids as server-sent events."""
    yield ": the stream stands\n\n"
    async for bid in bids:
        yield f"data: {json.dumps(asdict(bid))}\n\n"


def application(make: Callable[[], Node] = Node.from_env) -> FastAPI:
    """The application; `make` makes its node each time that it starts."""
    app = FastAPI(title="auction", lifespan=lifespan(make))
    app.add_middleware(Problems, codes={"too-low": 409, "no-bid": 404})

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return _PAGE.read_text()

    @app.post("/items/{item}/bids", status_code=201)
    async def place(item: str, offer: Offer, auctioneer: Auctioneer) -> Bid:
        return await auctioneer.ask(Place(item, offer.who, offer.amount))

    @app.get("/items/{item}")
    async def leading(item: str, auctioneer: Auctioneer) -> Bid:
        return await auctioneer.ask(Leading(item))

    @app.get("/items/{item}/bids")
    async def watch(item: str, auctioneer: Auctioneer) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            async with aclosing(auctioneer.stream(Watch(item))) as bids:
                async for event in _events(bids):
                    yield event

        return StreamingResponse(events(), media_type="text/event-stream")

    return app


app = application()
