"""The way every call takes: who asks, what for, was it asked before, do it, answer — and what goes wrong on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import stripe
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tollkeeper.testing.stripe_standin.account import Account
from tollkeeper.testing.stripe_standin.calls import CallRecord
from tollkeeper.testing.stripe_standin.faults import ON_THE_WAY, WHILE_APPLYING, Fault, FaultKind, Faults
from tollkeeper.testing.stripe_standin.forms import read_form
from tollkeeper.testing.stripe_standin.idempotency import IdempotencyKeys, KeptAnswer
from tollkeeper.testing.stripe_standin.problem import (
    Problem,
    bad_request,
    broken,
    no_api_key,
    not_permitted,
    not_rehearsed,
    too_many_requests,
    wrong_api_key,
)
from tollkeeper.testing.stripe_standin.resources import ROUTES
from tollkeeper.testing.stripe_standin.routing import Call, Route, find_route
from tollkeeper.testing.stripe_standin.server import DROP
from tollkeeper.testing.stripe_standin.shapes import read_params

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: Problem, **headers: str) -> Answer:
        return cls(problem.status, _json(problem.body), headers)


class Door:
    """The ASGI app behind every path of the API."""

    def __init__(self, account: Account, api_key: str, restricted_keys: Mapping[str, tuple[str, ...]]) -> None:
        self.account = account
        self.faults = Faults()
        self.keys = IdempotencyKeys(account.rules.keys_kept_for)
        self.calls: list[CallRecord] = []
        self._api_key = api_key
        self._restricted_keys = restricted_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        record = CallRecord(
            method=request.method,
            path=request.scope["path"],
            request_id=self.account.ids.new("req", 14),
            idempotency_key=request.headers.get("Idempotency-Key") or None,
        )
        self.calls.append(record)
        fault = self.faults.take(ON_THE_WAY, record.method, record.path)
        record.fault = fault.kind.value if fault else None
        answer = await self._through(fault, request, record)
        if answer is None:
            record.replied = False
            return await _drop(scope, receive)
        record.status = answer.status
        response = Response(answer.body, answer.status, self._headers(answer, record), "application/json")
        return await response(scope, receive, send)

    async def _through(self, fault: Fault | None, request: Request, record: CallRecord) -> Answer | None:
        """The answer as it leaves the account, or None if the connection is to be dropped."""
        kind = fault.kind if fault else None
        if kind is FaultKind.DROP_BEFORE:
            return None
        if fault and kind is FaultKind.RATE_LIMIT:
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return Answer(429, _json(too_many_requests().body), wait)
        try:
            answer = await self._answer(request, record)
        except Problem as problem:
            answer = Answer.of(problem)
        if fault and kind is FaultKind.HANG_AFTER:
            await asyncio.sleep(fault.seconds)
        if kind is FaultKind.DROP_AFTER:
            record.status = answer.status
            return None
        return answer

    async def _answer(self, request: Request, record: CallRecord) -> Answer:
        self._authorize(request)
        _refuse_what_it_cannot_be(request)
        route, named = find_route(ROUTES, record.method, record.path)
        record.params = read_params(await _form(request), route.shape)
        route.refuse_what_is_ignored(record.params)
        call = Call(record.path, record.params, named)
        if record.method != "POST" or record.idempotency_key is None:
            return await self._apply(route, call, record)
        return await self._once(record.idempotency_key, route, call, record)

    async def _once(self, key: str, route: Route, call: Call, record: CallRecord) -> Answer:
        kept = self.keys.begin(key, call.path, call.params, self.account.clock.now())
        if kept is not None:
            record.replayed = True
            return Answer(kept.status, kept.body, {"Idempotent-Replayed": "true", "Original-Request": kept.request_id})
        try:
            answer = await self._apply(route, call, record)
            self.keys.finish(key, KeptAnswer(answer.status, answer.body, record.request_id))
            return answer
        finally:
            self.keys.abandon(key)

    async def _apply(self, route: Route, call: Call, record: CallRecord) -> Answer:
        fault = self.faults.take(WHILE_APPLYING, record.method, record.path)
        if fault is None:
            return self._applied(route, call)
        record.fault = fault.kind.value
        if fault.kind is FaultKind.HANG_BEFORE:
            await asyncio.sleep(fault.seconds)
            return self._applied(route, call)
        if fault.kind is FaultKind.ERROR_AFTER:
            self._applied(route, call)
        return Answer.of(broken(fault.status))

    def _applied(self, route: Route, call: Call) -> Answer:
        try:
            with self.account.lock:
                return Answer(200, _json(route.operation(self.account, call)))
        except Problem as problem:
            return Answer.of(problem)

    def _authorize(self, request: Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise no_api_key()
        if key == self._api_key:
            return
        if key not in self._restricted_keys:
            raise wrong_api_key(key)
        operation = f"{request.method} {request.scope['path']}"
        if not any(fnmatchcase(operation, allowed) for allowed in self._restricted_keys[key]):
            raise not_permitted(request.method, request.scope["path"])

    def _headers(self, answer: Answer, record: CallRecord) -> dict[str, str]:
        headers = {"Request-Id": record.request_id, "Stripe-Version": stripe.api_version, **answer.headers}
        if record.idempotency_key is not None:
            headers["Idempotency-Key"] = record.idempotency_key
        return headers


def _refuse_what_it_cannot_be(request: Request) -> None:
    """The real API speaks all its versions and for connected accounts too; the stand-in is one account, one version."""
    if "Stripe-Account" in request.headers:
        raise not_rehearsed("the header Stripe-Account")
    version = request.headers.get("Stripe-Version", stripe.api_version)
    if version != stripe.api_version:
        raise bad_request(None, f"Invalid Stripe API version: {version}; this stand-in speaks {stripe.api_version}.")


async def _form(request: Request) -> dict[str, Any]:
    query = request.scope["query_string"]
    body = await request.body()
    if body and request.headers.get("Content-Type", "").partition(";")[0].strip() != _FORM:
        raise bad_request(None, f"Invalid request (check that your POST content type is {_FORM}).")
    return read_form(b"&".join(part for part in (query, body) if part))


async def _drop(scope: Scope, receive: Receive) -> None:
    """Closes the connection without a byte; where the server offers no way to, the caller gets the exception."""
    drop = scope.get("extensions", {}).get(DROP)
    if drop is None:
        raise ConnectionResetError("the stand-in drops this connection, as it was told to")
    drop["now"]()
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, default=_as_text).encode()


def _as_text(value: object) -> str:
    """Decimals are strings in Stripe's JSON, without an exponent."""
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no place in an answer")
