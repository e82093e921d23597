"""A small FastAPI app of the kind that tollkeeper is made for. Its "AI" counts a word as a token and answers with words.

Two lines make it metered: the middleware and the billing routes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from tollkeeper import MeteringMiddleware, billing_routes

app = FastAPI(title="tollkeeper demo")
app.add_middleware(MeteringMiddleware, include=["/v1/*"])
app.mount("/billing", billing_routes())

WORDS_AT_ONCE = 1_000


class ChatMessage(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """The part of OpenAI's chat request that this AI understands."""

    model: str
    messages: list[ChatMessage]
    max_tokens: int = Field(16, gt=0, le=1_000_000)
    stream: bool = False


@app.post("/v1/chat/completions")
def chat(request: Annotated[ChatRequest, Body()]) -> Response:
    """Answer with exactly `max_tokens` words, and say how many tokens that took."""
    tokens_in = sum(len(message.content.split()) for message in request.messages)
    if request.stream:
        return StreamingResponse(_events(request, tokens_in), media_type="text/event-stream")
    message = {"role": "assistant", "content": _words(request.max_tokens)}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return JSONResponse(_frame(request, "chat.completion", [choice], _usage(tokens_in, request.max_tokens)))


def _events(request: ChatRequest, tokens_in: int) -> Iterator[str]:
    for begun in range(0, request.max_tokens, WORDS_AT_ONCE):
        words = _words(min(WORDS_AT_ONCE, request.max_tokens - begun))
        choice = {"index": 0, "delta": {"content": words}, "finish_reason": None}
        yield _event(_frame(request, "chat.completion.chunk", [choice], None))
    yield _event(_frame(request, "chat.completion.chunk", [], _usage(tokens_in, request.max_tokens)))
    yield "data: [DONE]\n\n"


def _frame(
    request: ChatRequest, kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None
) -> dict[str, Any]:
    created = int(time.time())
    frame = {"id": "chatcmpl-demo", "object": kind, "created": created, "model": request.model, "choices": choices}
    return frame | {"usage": usage}


def _event(frame: dict[str, Any]) -> str:
    return f"data: {json.dumps(frame)}\n\n"


def _words(count: int) -> str:
    return "la " * count


def _usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
