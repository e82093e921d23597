"""An app as a host would serve it: metered, answering at once and in streams. Settings come from the environment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tollkeeper import MeteringMiddleware

USAGE = {"prompt_tokens": 50, "completion_tokens": 950, "total_tokens": 1000}


async def chat(request: Request) -> Response:
    asked = await request.json()
    if asked.get("stream"):
        return StreamingResponse(_events(), media_type="text/event-stream")
    await asyncio.sleep(0.002)
    return JSONResponse({"object": "chat.completion", "model": "gpt-4o", "choices": [], "usage": USAGE})


async def _events() -> AsyncIterator[str]:
    base = {"object": "chat.completion.chunk", "model": "gpt-4o"}
    for word in ("one ", "two ", "three "):
        yield f"data: {json.dumps({**base, 'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n"
        await asyncio.sleep(0.001)
    yield f"data: {json.dumps({**base, 'choices': [], 'usage': USAGE})}\n\n"
    yield "data: [DONE]\n\n"


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
app.add_middleware(MeteringMiddleware)
