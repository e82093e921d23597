"""An app that servers of every kind serve: metered by the environment, quick, streaming, and slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from integration.metering.apps import chat_answer, chat_events
from tollkeeper import MeteringMiddleware

WORDS = [f" word{n}" for n in range(100)]


async def chat(request: Request) -> Response:
    asked = await request.json()
    if asked.get("stream"):
        return StreamingResponse(_events(0), media_type="text/event-stream")
    return JSONResponse(chat_answer(50, 950))


async def slow(request: Request) -> Response:
    await request.body()
    return StreamingResponse(_events(0.05), media_type="text/event-stream")


async def _events(pause: float) -> AsyncIterator[bytes]:
    for event in chat_events(50, 950, WORDS):
        yield event
        if pause:
            await asyncio.sleep(pause)


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/slow", slow, methods=["POST"])])
app.add_middleware(MeteringMiddleware)
