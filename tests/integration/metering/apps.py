"""Small ASGI apps that answer as AI APIs do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


def chat_answer(tokens_in: int, tokens_out: int, model: str = "gpt-4o-2024-08-06") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1795000000,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A fine day."}}],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def chat_events(tokens_in: int, tokens_out: int, words: Sequence[str] = ("A", " fine", " day.")) -> list[bytes]:
    """The events of a stream with `include_usage`, one chunk each, `[DONE]` last."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795000000, "model": "gpt-4o"}
    chunks: list[dict[str, Any]] = [
        {**base, "usage": None, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        for word in words
    ]
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    chunks.append({**base, "choices": [], "usage": usage})
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def message_answer(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "A fine day."}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": tokens_in,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens_out,
        },
    }


def message_events(tokens_in: int, tokens_out: int) -> list[bytes]:
    """The events of an Anthropic stream: input at its start, output at its end."""
    start = {**message_answer(tokens_in, 1), "content": []}
    events: list[tuple[str, dict[str, Any]]] = [
        ("message_start", {"message": start}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "A fine day."}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens_out}}),
        ("message_stop", {}),
    ]
    return [f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode() for name, data in events]


def answering(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Starlette:
    """An app that answers every request with the same JSON."""

    async def answer(request: Request) -> Response:
        await request.body()
        return JSONResponse(content, status_code=status, headers=headers)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "HEAD"])])


def streaming(chunks: Sequence[bytes]) -> Starlette:
    """An app that answers every request with the same stream."""

    async def answer(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
