"""What apps and servers really send through the middleware, message by message."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Message

from faults.conftest import CHAT, Site, run
from integration.metering.apps import chat_answer, chat_events
from integration.metering.conftest import App, closed, http_scope
from tollkeeper import MeteringMiddleware, record_usage

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
EVENTS = chat_events(50, 950)
ANSWER = b'{"object": "chat.completion", "model": "gpt-4o", "usage": {"prompt_tokens": 50, "completion_tokens": 950}}'


@pytest.fixture
def key(site: Site) -> str:
    site.desk.plan('spend_cap = "10.00"')
    return site.desk.customer("alice")


def sending(*messages: dict[str, Any]) -> App:
    """An app that sends just these messages, without looking at the request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        for message in messages:
            await send(message)

    return app


def body(data: Any = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


async def messages_of(middleware: App, key: str, scope: dict[str, Any] | None = None) -> list[Message]:
    """Everything that the server is sent."""
    seen: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        seen.append(message)

    await middleware(scope or http_scope(headers={"authorization": f"Bearer {key}"}), receive, send)
    return seen


SHAPES: dict[str, list[dict[str, Any]]] = {
    "empty first": [body(more_body=True), body(ANSWER)],
    "empty last": [body(ANSWER, more_body=True), body()],
    "more_body missing": [body(ANSWER)],
    "body missing at the end": [body(ANSWER, more_body=True), {"type": "http.response.body"}],
    "memoryview": [body(memoryview(ANSWER)[:20], more_body=True), body(memoryview(ANSWER)[20:])],
    "bytearray": [body(bytearray(ANSWER))],
    "byte by byte": [*[body(ANSWER[n : n + 1], more_body=True) for n in range(len(ANSWER))], body()],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_body_goes_through_unchanged_and_is_read(site: Site, key: str, shape: str) -> None:
    middleware = site.mounted(sending(START, *SHAPES[shape]))
    seen = run(middleware, lambda: messages_of(middleware, key))
    assert seen[1:] == SHAPES[shape]
    [row] = site.desk.events()
    assert (row["tokens_in"], row["tokens_out"], row["complete"]) == (50, 950, True)


def test_trailers_and_early_hints_go_through_in_their_places(site: Site, key: str) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}
    trailers = {"type": "http.response.trailers", "headers": [(b"x-checksum", b"1")], "more_trailers": False}
    middleware = site.mounted(sending(hint, {**START, "trailers": True}, body(ANSWER), trailers))
    seen = run(middleware, lambda: messages_of(middleware, key))
    assert [message["type"].rsplit(".", 1)[1] for message in seen] == ["early_hint", "start", "body", "trailers"]
    assert (seen[0], seen[3]) == (hint, trailers)
    assert site.desk.events()[0]["complete"]


def test_a_file_sent_by_path_is_one_request_without_tokens(site: Site, key: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(ANSWER)
    middleware = site.mounted(FileResponse(path))
    scope = http_scope(
        method="GET", headers={"authorization": f"Bearer {key}"}, extensions={"http.response.pathsend": {}}
    )
    seen = run(middleware, lambda: messages_of(middleware, key, scope))
    assert seen[-1] == {"type": "http.response.pathsend", "path": str(path)}
    [row] = site.desk.events()
    assert (row["tokens_in"], row["complete"], row["usage_state"]) == (0, True, "not_reported")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body_bills_no_tokens(site: Site, key: str, method: str, status: int) -> None:
    middleware = site.mounted(sending({**START, "status": status}, body(ANSWER if method == "HEAD" else b"")))
    scope = http_scope(method=method, headers={"authorization": f"Bearer {key}"})
    run(middleware, lambda: messages_of(middleware, key, scope))
    [row] = site.desk.events()
    assert (row["tokens_in"], row["tokens_out"], row["cost_units"], row["complete"]) == (0, 0, 0, True)


def test_an_answer_with_a_status_of_its_own_invention_is_stored_without_it(site: Site, key: str) -> None:
    middleware = site.mounted(sending({**START, "status": 999}, body(ANSWER)))
    seen = run(middleware, lambda: messages_of(middleware, key))
    assert seen[0]["status"] == 999
    [row] = site.desk.events()
    assert (row["status_code"], row["complete"], row["path"]) == (None, True, "/v1/chat/completions")


class Above(BaseHTTPMiddleware):
    """Does nothing, in the way that disturbs most."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response


def routes() -> list[Route | Mount]:
    async def plain(request: Request) -> Response:
        await request.body()
        return JSONResponse({**chat_answer(50, 950), "padding": "x" * 2000})

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for event in EVENTS:
                yield event

        return StreamingResponse(parts(), media_type="text/event-stream")

    def threaded(request: Request) -> Response:
        def parts() -> Iterator[bytes]:
            record_usage(request, model_id="gpt-4o", tokens_in=50, tokens_out=950)
            yield from EVENTS

        return StreamingResponse(parts(), media_type="text/event-stream")

    under = [Route("/plain", plain, methods=["POST"]), Route("/stream", stream, methods=["POST"])]
    return [*under, Route("/threaded", threaded, methods=["POST"]), Mount("/sub", routes=under)]


STACKS: dict[str, tuple[list[Any], list[Any]]] = {
    "alone": ([], []),
    "gzip above": ([GZipMiddleware], []),
    "gzip below": ([], [GZipMiddleware]),
    "base above": ([Above], []),
    "base below": ([], [Above]),
    "all of them": ([Above, GZipMiddleware], [GZipMiddleware, Above]),
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.filterwarnings("ignore")
def test_usage_is_read_once_among_other_middleware(site: Site, key: str, stack: str) -> None:
    above, below = STACKS[stack]
    ours = Middleware(MeteringMiddleware, settings=site.settings())
    app = Starlette(routes=routes(), middleware=[*map(Middleware, above), ours, *map(Middleware, below)])
    paths = ["/plain", "/stream", "/threaded", "/sub/plain", "/sub/stream"]
    with TestClient(app) as client:
        for path in paths:
            headers = {"authorization": f"Bearer {key}", "accept-encoding": "gzip"}
            answer = client.post(path, json=CHAT, headers=headers)
            assert answer.status_code == 200
            assert answer.content.endswith(b"data: [DONE]\n\n" if path.endswith(("stream", "threaded")) else b'"}')
    rows = site.desk.events()
    assert [(row["path"], row["tokens_in"], row["tokens_out"], row["complete"]) for row in rows] == [
        (path, 50, 950, True) for path in paths
    ]
    site.sums_agree()


def test_a_request_that_passes_two_meters_is_counted_once_and_the_log_says_so_once(
    site: Site, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours = Middleware(MeteringMiddleware, settings=site.settings())
    app = Starlette(routes=[Mount("/", app=Starlette(routes=routes(), middleware=[ours]))], middleware=[ours])
    with caplog.at_level(logging.WARNING), TestClient(app) as client:
        for _ in range(3):
            assert client.post("/plain", json=CHAT, headers={"x-api-key": key}).status_code == 200
    assert len(site.desk.events()) == 3
    assert caplog.text.count("mounted twice") == 1


def test_a_test_client_without_a_context_keeps_nothing_open(site: Site, key: str) -> None:
    ours = Middleware(MeteringMiddleware, settings=site.settings())
    client = TestClient(Starlette(routes=routes(), middleware=[ours]))
    for path in ("/plain", "/stream") * 15:
        assert client.post(path, json=CHAT, headers={"x-api-key": key}).status_code == 200
    assert len(site.desk.events()) == 30
    gc.collect()  # the loops of earlier requests, with their sockets
    assert len(site.backends()) <= 6
    with site.counters() as counters:
        assert len(counters.client_list()) <= 8
        # A loop that closed before it told of the end of its hold has left that to the next one; the last has no next one.
        assert sum(counters.hlen(name) for name in counters.keys("tk:*:holds")) <= 1
    site.sums_agree()


@pytest.mark.parametrize("began", [False, True])
def test_a_route_that_raises_leaves_its_row_and_its_error(site: Site, key: str, began: bool) -> None:
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        if began:
            await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
            for event in EVENTS[:-2]:
                await send(body(event, more_body=True))
        raise RuntimeError("the route's own")

    middleware = site.mounted(raises)
    with pytest.raises(RuntimeError, match="the route's own"):
        run(middleware, lambda: messages_of(middleware, key))
    [row] = site.desk.events()
    assert (row["complete"], row["status_code"], row["billable"]) == (False, 200 if began else 500, began)
    assert (row["tokens_out"] > 0, row["estimated"]) == (began, began)
    site.sweep()
    assert site.desk.rows("SELECT id FROM holds") == []


def test_a_stream_that_is_open_when_the_app_shuts_down_is_settled_with_what_it_has_shown(site: Site, key: str) -> None:
    shown = asyncio.Event()

    async def stalls(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        for event in EVENTS[:3]:
            await send(body(event, more_body=True))
        shown.set()
        await asyncio.Event().wait()

    middleware = site.mounted(stalls)

    async def day() -> list[dict[str, Any]]:
        request = asyncio.create_task(messages_of(middleware, key))
        await shown.wait()
        await closed(middleware)
        rows = site.desk.events()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        return rows

    [row] = asyncio.run(day())
    assert (row["complete"], row["estimated"], row["tokens_out"] > 0) == (False, True, True)
    site.sums_agree()


def test_a_server_whose_send_raises_when_the_client_left_gets_a_row_of_what_was_seen(site: Site, key: str) -> None:
    app = Starlette(routes=routes())
    middleware = site.mounted(app)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) > 3:
            raise OSError("connection lost")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def day() -> None:
        headers = {"authorization": f"Bearer {key}"}
        scope = http_scope("/stream", headers=headers, asgi={"version": "3.0", "spec_version": "2.4"})
        await middleware(scope, receive, send)

    with pytest.raises(ClientDisconnect):
        run(middleware, day)
    [row] = site.desk.events()
    assert (row["complete"], row["estimated"], row["tokens_out"] > 0) == (False, True, True)
    site.sums_agree()


def test_a_slow_reader_holds_the_route_back_and_nothing_piles_up(site: Site, key: str) -> None:
    made = 0

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        for event in EVENTS * 5:
            made += 1
            await send(body(event, more_body=True))
        await send(body())

    middleware = site.mounted(stream)
    behind: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def day() -> None:
        taken = 0

        async def send(message: Message) -> None:
            nonlocal taken
            if message["type"] == "http.response.body" and message["body"]:
                await asyncio.sleep(0.002)
                taken += 1
                behind.append(made - taken)

        await middleware(http_scope(headers={"authorization": f"Bearer {key}"}), receive, send)

    run(middleware, day)
    assert len(behind) == 5 * len(EVENTS)
    assert max(behind) <= 1


def test_gzip_that_the_route_passes_through_reaches_the_client_as_it_is(site: Site, key: str) -> None:
    packed = gzip.compress(ANSWER)
    start = {**START, "headers": [*START["headers"], (b"content-encoding", b"gzip")]}  # type: ignore[misc] # a list
    middleware = site.mounted(sending(start, body(packed[:9], more_body=True), body(packed[9:])))
    seen = run(middleware, lambda: messages_of(middleware, key))
    assert b"".join(message["body"] for message in seen[1:]) == packed
    assert site.desk.events()[0]["tokens_out"] == 950
