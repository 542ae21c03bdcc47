"""Server-sent events that are resumed where they were cut off."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import uvicorn
from limpet import EventsLostError, InvalidCursorError, InvalidValueError
from limpet.events import EventQueue, create_queue
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ALIVE_EVERY = 15.0
"""Seconds after which a silent stream says that it is there, so that nobody on the way closes it."""


LARGEST = 1024 * 1024
"""Bytes of a published event. More is refused while it is being read, so a large body costs no memory."""


async def publish(request: Request) -> Response:
    queue: EventQueue = request.app.state.queue
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A web page elsewhere can send a form or plain text without asking this server first, but not JSON.
        return JSONResponse({"error": "send the event as application/json"}, status_code=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return JSONResponse({"error": f"an event may have at most {LARGEST:,} bytes"}, status_code=413)
    try:
        cursor = await queue.publish(request.path_params["session"], json.loads(body))
    except (ValueError, RecursionError, InvalidValueError) as error:
        return JSONResponse({"error": f"this is not an event: {error}"}, status_code=400)
    return JSONResponse({"cursor": cursor}, status_code=201)


async def stream(request: Request) -> Response:
    queue: EventQueue = request.app.state.queue
    session, after = request.path_params["session"], request.headers.get("last-event-id")
    try:
        await queue.recover(session, after, limit=1)
    except InvalidCursorError as error:
        return JSONResponse({"error": str(error)}, status_code=400)  # a browser does not try that again
    return StreamingResponse(
        frames(queue, session, after), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def frames(queue: EventQueue, session: str, after: str | None) -> AsyncIterator[str]:
    """The events as a browser reads them."""
    while True:
        try:
            async with aclosing(queue.stream(session, after=after)) as events:
                while True:
                    async with asyncio.timeout(ALIVE_EVERY):
                        entry = await anext(events)
                    after = entry.cursor
                    yield f"id: {after}\ndata: {json.dumps(entry.event)}\n\n"
        except TimeoutError:
            yield ": alive\n\n"
        except EventsLostError as error:
            after = error.resume
            yield f"id: {after}\nevent: lost\ndata: {error.lost}\n\n"
        except StopAsyncIteration:  # the queue is closed
            return


def create_app(url: str, keep: int | None = None, middleware: Sequence[Middleware] = ()) -> Starlette:
    """An app on the events at `url`, which keeps at most `keep` of each session.

    Whoever reaches it may read and write every session. Authentication is middleware, such as Starlette's
    `AuthenticationMiddleware`; whether that user may use `request.path_params["session"]` is then decided in the routes.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with create_queue(url, max_count=keep) as app.state.queue:
            yield

    at = "/sessions/{session}/events"
    return Starlette(
        routes=[Route(at, publish, methods=["POST"]), Route(at, stream)], middleware=middleware, lifespan=lifespan
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where the events are kept, sqlite:///events.db")
    parser.add_argument("--port", type=int, default=0, help="any free one, unless told")
    parser.add_argument("--keep", type=int, help="how many events of a session are kept, at most")
    options = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", options.port))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        create_app(options.url, options.keep),
        log_level="warning",
        timeout_graceful_shutdown=2,  # streams do not end by themselves
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
