"""One request, one row, with the right figures and nothing of ours in the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from integration.metering.apps import answering, chat_answer, chat_events, message_answer, message_events, streaming
from integration.metering.conftest import NOW, Answer, Desk, ask, closed
from tollkeeper import MeteringMiddleware, record_usage
from tollkeeper.domain.errors import InvalidInput

Mount = Callable[..., MeteringMiddleware]
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}


@pytest.fixture
def key(desk: Desk) -> str:
    desk.plan()
    return desk.customer("alice")


def send(middleware: MeteringMiddleware, key: str | None, body: Any = CHAT, **options: Any) -> Answer:
    async def once() -> Answer:
        try:
            return await ask(middleware, key, body, **options)
        finally:
            await closed(middleware)

    return asyncio.run(once())


def test_a_chat_answer_leaves_one_row_with_its_tokens_and_their_price(meter: Mount, desk: Desk, key: str) -> None:
    answer = send(meter(answering(chat_answer(1200, 300))), key)

    assert answer.status == 200
    assert answer.json() == chat_answer(1200, 300)
    [event] = desk.events()
    assert (event["user_id"], event["model_id"]) == ("alice", "gpt-4o-2024-08-06")
    assert (event["tokens_in"], event["tokens_out"]) == (1200, 300)
    assert event["cost_units"] == Decimal("1.5")  # 1,500 tokens at 0.001 minor units
    assert event["timestamp"] == NOW
    assert (event["status_code"], event["method"], event["path"]) == (200, "POST", "/v1/chat/completions")
    assert event["complete"]
    assert not event["estimated"]
    assert event["usage_state"] == "reported"


@pytest.mark.parametrize(
    ("chunks", "model"),
    [(chat_events(1200, 300), "gpt-4o"), (message_events(1200, 300), "claude-sonnet-4-5")],
    ids=["openai", "anthropic"],
)
def test_a_stream_passes_chunk_by_chunk_and_is_stored_before_its_terminal_frame_leaves(
    meter: Mount, desk: Desk, key: str, chunks: list[bytes], model: str
) -> None:
    answer = send(meter(streaming(chunks)), key, on_chunk=lambda: len(desk.events()))

    assert answer.chunks == [*chunks, b""]
    # Everything but the terminal frame went on before anything was stored; that frame and the end came after.
    assert answer.rows_before == [0] * (len(chunks) - 1) + [1, 1]
    [event] = desk.events()
    assert (event["model_id"], event["tokens_in"], event["tokens_out"]) == (model, 1200, 300)
    assert event["complete"]


def test_a_stream_that_goes_on_after_a_terminal_frame_is_passed_on_and_counted_to_its_end(
    meter: Mount, desk: Desk, key: str
) -> None:
    chunks = [*message_events(100, 10), *message_events(200, 20)]

    answer = send(meter(streaming(chunks)), key)

    assert answer.body == b"".join(chunks)
    [event] = desk.events()
    assert event["tokens_out"] >= 20


def test_an_anthropic_answer_is_read(meter: Mount, desk: Desk, key: str) -> None:
    send(meter(answering(message_answer(70, 7))), key)

    [event] = desk.events()
    assert (event["model_id"], event["tokens_in"], event["tokens_out"]) == ("claude-sonnet-4-5", 70, 7)


def test_headers_state_the_usage_and_never_reach_the_client(meter: Mount, desk: Desk, key: str) -> None:
    headers = {"X-Tokens-In": "10", "x-tokens-used": "25", "X-Model-Id": "own-model", "X-Compute-Minutes": "1.5"}

    answer = send(meter(answering({"any": "thing"}, headers=headers)), key)

    assert [name for name, _ in answer.headers if name.startswith(("x-tokens", "x-model", "x-compute"))] == []
    [event] = desk.events()
    assert (event["model_id"], event["tokens_in"], event["tokens_out"]) == ("own-model", 10, 15)
    assert event["compute_minutes"] == Decimal("1.5")


@pytest.mark.parametrize("value", ["-5", "1_000", "９", "9" * 30, "1e3", "", "0x10"])
def test_a_token_header_that_cannot_be_believed_flags_the_event_and_charges_nothing(
    meter: Mount, desk: Desk, key: str, value: str
) -> None:
    async def odd(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Tokens-Used", value.encode()), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"fine"})

    answer = send(meter(odd), key)

    assert (answer.status, answer.body, answer.header("X-Tokens-Used")) == (200, b"fine", None)
    [event] = desk.events()
    assert (event["tokens_in"], event["tokens_out"], event["cost_units"]) == (0, 0, 0)
    assert event["usage_state"] == "unreadable"


def test_a_token_header_that_comes_twice_is_not_believed(meter: Mount, desk: Desk, key: str) -> None:
    async def twice(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Tokens-Used", b"5"), (b"x-tokens-used", b"7")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"fine"})

    send(meter(twice), key)

    [event] = desk.events()
    assert (event["tokens_in"], event["tokens_out"], event["usage_state"]) == (0, 0, "unreadable")


def test_token_headers_of_a_request_mean_nothing(meter: Mount, desk: Desk, key: str) -> None:
    send(meter(answering(chat_answer(1, 1))), key, headers={"X-Tokens-Used": "999999"})

    assert desk.events()[0]["tokens_in"] == 1


def test_what_the_route_records_wins_over_headers_and_answer(meter: Mount, desk: Desk, key: str) -> None:
    async def route(request: Request) -> Response:
        record_usage(request, model_id="own", tokens_in=5, tokens_out=6, cached_tokens_in=2, units={"images": 3})
        record_usage(request.scope, model_id="own", tokens_in=1, compute_minutes="0.25")
        return JSONResponse(chat_answer(1000, 1000), headers={"X-Tokens-Used": "77"})

    send(meter(Starlette(routes=[Route("/v1", route, methods=["POST"])])), key, path="/v1")

    [event] = desk.events()
    assert (event["model_id"], event["tokens_in"], event["tokens_out"], event["cached_tokens_in"]) == ("own", 6, 6, 2)
    assert event["units"] == {"images": 3}
    assert event["compute_minutes"] == Decimal("0.25")


def test_minutes_and_units_from_a_stopwatch_are_kept_as_they_print(meter: Mount, desk: Desk, key: str) -> None:
    async def route(request: Request) -> Response:
        record_usage(request, model_id="own", compute_minutes=0.1, units={"seconds": 12.5, "images": 3})
        record_usage(request, model_id="own", compute_minutes=1 / 60)
        return JSONResponse({})

    send(meter(Starlette(routes=[Route("/v1", route, methods=["POST"])])), key, path="/v1")

    [event] = desk.events()
    assert event["compute_minutes"] == Decimal("0.116666667")  # 0.1 + 0.016666667, nine decimals kept
    assert event["units"] == {"seconds": "12.5", "images": 3}


def test_record_usage_from_a_sync_route_in_a_thread_is_seen(meter: Mount, desk: Desk, key: str) -> None:
    def route(request: Request) -> Response:
        record_usage(request, model_id="own", tokens_out=9)
        return JSONResponse({})

    send(meter(Starlette(routes=[Route("/v1", route, methods=["POST"])])), key, path="/v1")

    assert desk.events()[0]["tokens_out"] == 9


@pytest.mark.parametrize(
    "usage",
    [
        {"tokens_in": -1}, {"tokens_in": 1.5}, {"tokens_in": True}, {"cached_tokens_in": 1}, {"compute_minutes": -0.5},
        {"compute_minutes": float("nan")}, {"compute_minutes": float("inf")}, {"compute_minutes": "soon"},
        {"units": {"s": -1.5}}, {"units": [1]},
    ],
)  # fmt: skip
def test_record_usage_refuses_counts_that_cannot_be(usage: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        record_usage({"type": "http"}, model_id="own", **usage)


def test_an_answer_that_states_nothing_is_recorded_with_zero_tokens_and_an_unknown_model(
    meter: Mount, desk: Desk, key: str
) -> None:
    send(meter(answering({"hello": "world"})), key)

    [event] = desk.events()
    assert (event["model_id"], event["tokens_in"], event["tokens_out"]) == ("unknown", 0, 0)
    assert event["usage_state"] == "not_reported"


def test_a_stream_without_a_usage_chunk_is_estimated_and_marked(meter: Mount, desk: Desk, key: str) -> None:
    chunks = [chunk for chunk in chat_events(9, 9, words=["word "] * 40) if b"prompt_tokens" not in chunk]

    send(meter(streaming(chunks)), key)

    [event] = desk.events()
    assert event["estimated"]
    assert event["usage_state"] == "not_reported"
    assert event["tokens_out"] == 50  # 40 times "word " is 200 bytes, at 4 bytes a token
    assert event["model_id"] == "gpt-4o"


def test_a_route_that_raises_is_recorded_without_charge_and_its_exception_goes_through(
    meter: Mount, desk: Desk, key: str
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("the route's own")

    with pytest.raises(ValueError, match="the route's own"):
        send(meter(broken), key)

    [event] = desk.events()
    assert (event["status_code"], event["cost_units"], event["tokens_in"]) == (500, 0, 0)
    assert not event["complete"]
    assert not event["billable"]
    assert desk.rows("SELECT * FROM holds") == []


def test_a_client_that_leaves_in_the_middle_is_charged_for_what_was_seen(meter: Mount, desk: Desk, key: str) -> None:
    events = message_events(500, 60)

    async def left(scope: Any, receive: Any, send: Any) -> None:
        # Starlette's StreamingResponse just returns when the client has gone: no last message, no exception.
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in events[:3]:
            await send({"type": "http.response.body", "body": event, "more_body": True})

    send(meter(left), key)

    [event] = desk.events()
    assert not event["complete"]
    assert event["estimated"]
    assert event["tokens_in"] == 500
    assert 0 < event["tokens_out"] < 60


def test_settling_survives_the_cancellation_of_the_request(meter: Mount, desk: Desk, key: str) -> None:
    started = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        started.set()
        await asyncio.sleep(30)

    async def cancelled() -> None:
        middleware = meter(slow)
        request = asyncio.create_task(ask(middleware, key, CHAT))
        await asyncio.wait_for(started.wait(), 10)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await closed(middleware)

    asyncio.run(cancelled())

    [event] = desk.events()
    assert not event["complete"]
    assert desk.rows("SELECT * FROM holds") == []


def test_mounted_twice_it_counts_once(meter: Mount, desk: Desk, key: str) -> None:
    send(meter(meter(answering(chat_answer(3, 4)))), key)

    assert len(desk.events()) == 1


def test_other_scopes_pass_untouched(meter: Mount, desk: Desk) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    async def run() -> None:
        middleware = meter(app)
        for scope in ({"type": "websocket", "path": "/v1"}, {"type": "something.new"}):
            receive, send_ = object(), object()
            await middleware(scope, receive, send_)  # type: ignore[arg-type] # whatever they are, they pass
            assert seen.pop() == (scope, receive, send_)
            assert set(scope) <= {"type", "path"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "options", "metered"),
    [
        ("/v1/chat", {"include": ["/v1/*"]}, True),
        ("/health", {"include": ["/v1/*"]}, False),
        ("/v1/models", {"include": ["/v1/*"], "exclude": ["/v1/models"]}, False),
        ("/billing/webhooks/stripe", {}, False),
        ("/billings", {}, True),
    ],
)
def test_include_and_exclude_choose_the_paths(
    meter: Mount, desk: Desk, key: str, path: str, options: dict[str, Any], metered: bool
) -> None:
    answer = send(meter(answering(chat_answer(1, 1)), **options), None, path=path)

    assert answer.status == (401 if metered else 200)


def test_a_large_body_reaches_the_route_unchanged(meter: Mount, desk: Desk, key: str) -> None:
    got: list[bytes] = []

    async def route(request: Request) -> Response:
        got.append(await request.body())
        return JSONResponse({})

    body = {"model": "gpt-4o", "text": "x" * 3_000_000}
    send(meter(Starlette(routes=[Route("/v1", route, methods=["POST"])])), key, body, path="/v1")

    assert len(got[0]) > 3_000_000


def test_hostile_text_in_path_and_request_id_is_stored_safely(meter: Mount, desk: Desk, key: str) -> None:
    path = "/v1/\0\udc80/'; DROP TABLE usage_events; --" + "é" * 400
    from integration.metering.conftest import http_scope

    scope = http_scope("/v1", headers={"authorization": f"Bearer {key}", "x-request-id": "r" * 1000})
    scope["path"] = path

    send(meter(answering({}), include=["*"]), key, scope=scope)

    [event] = desk.events()
    assert event["path"].startswith("/v1/")
    assert len(event["path"].encode()) <= 255
    assert len(event["request_id"]) == 255


def test_what_a_background_task_records_after_the_answer_is_an_event_of_its_own(
    meter: Mount, desk: Desk, key: str
) -> None:
    async def route(request: Request) -> Response:
        def afterwards() -> None:
            record_usage(request, model_id="own", tokens_out=7)

        return JSONResponse(chat_answer(10, 20), background=BackgroundTask(afterwards))

    send(meter(Starlette(routes=[Route("/v1", route, methods=["POST"])])), key, path="/v1")

    events = desk.events()
    assert sorted((event["model_id"], event["tokens_out"]) for event in events) == [
        ("gpt-4o-2024-08-06", 20),
        ("own", 7),
    ]


def test_every_answer_says_where_the_customer_stands(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "1.00"\nquota_tokens = 5000\nrate_limit = "10/minute"')
    key = desk.customer("bob")
    middleware = meter(answering(chat_answer(900, 100)))

    async def two() -> list[Answer]:
        try:
            return [await ask(middleware, key, CHAT) for _ in range(2)]
        finally:
            await closed(middleware)

    second = asyncio.run(two())[1]

    names = ("spent", "spend-cap", "currency", "quota-remaining", "period-end")
    assert [second.header(f"tollkeeper-{name}") for name in names] == [
        "1",
        "100",
        "usd",
        "4000",
        "2026-12-01T00:00:00+00:00",
    ]
    assert second.header("ratelimit") == '"requests";r=8'
    assert second.header("ratelimit-policy") == '"requests";q=10;w=60'
