"""The apps that are compared. All answer the same; they differ only in what stands in front of the route."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import time_ns
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.traffic import PATH

USAGE = {"prompt_tokens": 72, "completion_tokens": 61, "total_tokens": 133}
PARAGRAPH = (
    "Small bubbles of steam form at the hot bottom, rise into cooler water and collapse; thousands of those little "
    "claps a second are the song. Once all of the water is hot the bubbles reach the top whole, and it grows quiet."
)
LIMIT = 1_000_000
"""Requests a minute for each customer: so many that nobody is ever turned away."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the servers are, and a folder for what waits while they are not."""

    database_url: str
    redis_url: str
    folder: str


def answer(model: str) -> dict[str, Any]:
    """A chat answer as OpenAI's API gives it."""
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": PARAGRAPH}}],
        "usage": USAGE,
    }


def _stream_frames(pieces: int = 20) -> list[bytes]:
    base = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "gpt-4o"}
    size = -(-len(PARAGRAPH) // pieces)
    parts = [PARAGRAPH[at : at + size] for at in range(0, len(PARAGRAPH), size)]
    events: list[dict[str, Any]] = [
        {**base, "usage": None, "choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]}
        for part in parts
    ]
    events.append({**base, "choices": [], "usage": USAGE})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


STREAM = _stream_frames()


async def _stream() -> AsyncIterator[bytes]:
    for frame in STREAM:
        yield frame


async def chat(request: Request) -> Response:
    asked = await request.json()
    if asked["stream"]:
        return StreamingResponse(_stream(), media_type="text/event-stream")
    return JSONResponse(answer(asked["model"]))


class NoopMiddleware:
    """A plain ASGI middleware that does nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class NoopBaseMiddleware(BaseHTTPMiddleware):
    """The other kind of middleware, doing nothing either."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


def _starlette() -> Starlette:
    return Starlette(routes=[Route(PATH, chat, methods=["POST"])])


def bare(stores: Stores) -> ASGIApp:
    return _starlette()


def noop_asgi(stores: Stores) -> ASGIApp:
    app = _starlette()
    app.add_middleware(NoopMiddleware)
    return app


def noop_base(stores: Stores) -> ASGIApp:
    app = _starlette()
    app.add_middleware(NoopBaseMiddleware)
    return app


def naive(stores: Stores) -> ASGIApp:
    from bench.naive import NaiveMetering

    app = _starlette()
    app.add_middleware(NaiveMetering, database_url=stores.database_url)
    return app


def slowapi(stores: Stores) -> ASGIApp:
    """slowapi's quicker middleware, one limit for each customer, counted in Redis."""
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware

    app = _starlette()
    app.state.limiter = Limiter(key_func=_credential, default_limits=[f"{LIMIT}/minute"], storage_uri=stores.redis_url)
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


def fastapi(stores: Stores) -> ASGIApp:
    return _fastapi([])


def fastapi_limiter(stores: Stores) -> ASGIApp:
    """fastapi-limiter as its own pages mount it, with one bucket for each customer in Redis."""
    from fastapi import Depends
    from fastapi_limiter.depends import RateLimiter
    from pyrate_limiter import BucketFactory, Duration, Limiter, Rate, RateItem, RedisBucket
    from redis.asyncio import Redis

    class Buckets(BucketFactory):
        """Nothing is cleaned up in the background: within a run no bucket grows enough to need it."""

        def __init__(self) -> None:
            self._redis = Redis.from_url(stores.redis_url)
            self._template: RedisBucket | None = None

        def wrap_item(self, name: str, weight: int = 1) -> RateItem:
            return RateItem(name, time_ns() // 1_000_000, weight=weight)

        async def get(self, item: RateItem) -> RedisBucket:
            rates = [Rate(LIMIT, Duration.MINUTE)]
            if self._template is None:
                self._template = await RedisBucket.init(rates, self._redis, "limiter")
            return RedisBucket(rates, self._redis, f"limiter:{item.name}", self._template.script_hash)

    async def identifier(request: Request) -> str:
        return _credential(request)

    return _fastapi([Depends(RateLimiter(limiter=Limiter(Buckets()), identifier=identifier))])


def ours(stores: Stores) -> ASGIApp:
    from tollkeeper import MeteringMiddleware
    from tollkeeper.telemetry import prometheus

    # An extra that is installed here for the tests. None of the others counts anything for anybody to see.
    prometheus.installed = False
    app = _starlette()
    app.add_middleware(
        MeteringMiddleware, database_url=stores.database_url, redis_url=stores.redis_url, journal_dir=stores.folder
    )
    return app


def _fastapi(dependencies: list[Any]) -> ASGIApp:
    from fastapi import FastAPI

    app = FastAPI()

    @app.post(PATH, dependencies=dependencies)
    async def route(asked: dict[str, Any]) -> dict[str, Any]:
        return answer(asked["model"])

    return app


def _credential(request: Request) -> str:
    return request.headers["authorization"]


APPS: dict[str, Callable[[Stores], ASGIApp]] = {
    build.__name__: build for build in (bare, noop_asgi, noop_base, naive, slowapi, fastapi, fastapi_limiter, ours)
}
