"""Stripe's door: who asks, what for, was it asked before, do it, answer."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import stripe
from starlette.requests import Request

from tollkeeper.testing.standin.calls import CallRecord
from tollkeeper.testing.standin.door import Answer, Door
from tollkeeper.testing.stripe_standin.account import Account
from tollkeeper.testing.stripe_standin.forms import read_form, read_json
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
from tollkeeper.testing.stripe_standin.shapes import read_params
from tollkeeper.testing.stripe_standin.wire import encoded

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


class StripeDoor(Door):
    """Stripe's API: forms in, JSON out, one execution for each idempotency key."""

    def __init__(self, account: Account, api_key: str, restricted_keys: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.account = account
        self.keys = IdempotencyKeys(account.rules.keys_kept_for)
        self._api_key = api_key
        self._restricted_keys = restricted_keys

    def record(self, request: Request) -> CallRecord:
        return CallRecord(
            method=request.method,
            path=request.scope["path"],
            request_id=self.account.ids.new("req", 14),
            idempotency_key=request.headers.get("Idempotency-Key") or None,
        )

    async def answer(self, request: Request, record: CallRecord) -> Answer:
        try:
            return await self._answer(request, record)
        except Problem as problem:
            return _refusal(problem)

    def trouble(self, status: int) -> Answer:
        return _refusal(too_many_requests() if status == 429 else broken(status))

    def headers(self, answer: Answer, record: CallRecord) -> dict[str, str]:
        headers = {"Request-Id": str(record.request_id), "Stripe-Version": stripe.api_version, **answer.headers}
        if record.idempotency_key is not None:
            headers["Idempotency-Key"] = record.idempotency_key
        return headers

    async def _answer(self, request: Request, record: CallRecord) -> Answer:
        self._authorize(request)
        _refuse_what_it_cannot_be(request)
        route, named = find_route(ROUTES, record.method, record.path)
        record.params = read_params(await _form(request), route.shape)
        route.refuse_what_is_ignored(record.params)
        call = Call(record.path, record.params, named)
        if record.method != "POST" or record.idempotency_key is None:
            return await self.apply(record, lambda: self._applied(route, call))
        return await self._once(record.idempotency_key, route, call, record)

    async def _once(self, key: str, route: Route, call: Call, record: CallRecord) -> Answer:
        kept = self.keys.begin(key, call.path, call.params, self.account.clock.now())
        if kept is not None:
            record.replayed = True
            return Answer(kept.status, kept.body, {"Idempotent-Replayed": "true", "Original-Request": kept.request_id})
        try:
            answer = await self.apply(record, lambda: self._applied(route, call))
            self.keys.finish(key, KeptAnswer(answer.status, answer.body, str(record.request_id)))
            return answer
        finally:
            self.keys.abandon(key)

    def _applied(self, route: Route, call: Call) -> Answer:
        try:
            with self.account.lock:
                return Answer(200, encoded(route.operation(self.account, call)))
        except Problem as problem:
            return _refusal(problem)

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


def _refusal(problem: Problem) -> Answer:
    return Answer(problem.status, encoded(problem.body))


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
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if request.scope["path"].startswith("/v2/") and content_type == _JSON:
        return read_json(body)
    if body and content_type != _FORM:
        raise bad_request(None, f"Invalid request (check that your POST content type is {_FORM}).")
    return read_form(b"&".join(part for part in (query, body) if part))
