"""The handles of a stand-in over HTTP, under `/_standin`: a table of deeds in, routes out. All bodies are JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

StandIn = TypeVar("StandIn")
Deed = Callable[[StandIn, dict[str, Any]], Any]


def control_routes(standin: StandIn, deeds: Iterable[tuple[str, str, Deed[StandIn]]]) -> list[Route]:
    """A route for each method, path and deed; a deed that is asked for wrongly is a 400 with the reason."""
    return [Route(f"/_standin{path}", _endpoint(standin, deed), methods=[method]) for method, path, deed in deeds]


def _endpoint(standin: StandIn, deed: Deed[StandIn]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            asked = await request.json() if await request.body() else {}
            return _json(await run_in_threadpool(deed, standin, asked), 200)
        except (KeyError, TypeError, ValueError, OSError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)

    return endpoint


def _json(answer: Any, status: int) -> Response:
    return Response(json.dumps(answer, default=str), status, media_type="application/json")


def instant(text: str) -> datetime:
    """An instant in ISO 8601, which has to say its offset."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return read
