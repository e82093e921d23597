"""Paystack's door: a bearer key, JSON in, an envelope of status, message and data out."""

from __future__ import annotations

import hmac
import json
from typing import Any

from starlette.requests import Request

from tollkeeper.testing.paystack_standin.account import Integration
from tollkeeper.testing.paystack_standin.problem import Problem, broken, invalid, no_key, wrong_key
from tollkeeper.testing.paystack_standin.resources import ROUTES
from tollkeeper.testing.paystack_standin.routing import Route, find_route
from tollkeeper.testing.standin.calls import CallRecord
from tollkeeper.testing.standin.door import Answer, Door


class PaystackDoor(Door):
    """Paystack's API. There are no idempotency keys: what is sent twice is done twice."""

    def __init__(self, integration: Integration, secret_key: str) -> None:
        super().__init__()
        self._integration = integration
        self._secret_key = secret_key

    def record(self, request: Request) -> CallRecord:
        return CallRecord(method=request.method, path=request.scope["path"])

    async def answer(self, request: Request, record: CallRecord) -> Answer:
        try:
            self._authorize(request)
            route, named = find_route(ROUTES, record.method, record.path)
            record.params = await _params(request)
            params = route.read(record.params)
        except Problem as problem:
            return _refusal(problem)
        return await self.apply(record, lambda: self._applied(route, params, named))

    def trouble(self, status: int) -> Answer:
        return _refusal(broken(status))

    def _applied(self, route: Route, params: dict[str, Any], named: str) -> Answer:
        try:
            with self._integration.lock:
                return Answer(200, _json(route.operation(self._integration, params, named).body()))
        except Problem as problem:
            return _refusal(problem)

    def _authorize(self, request: Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise no_key()
        if not hmac.compare_digest(key.encode(), self._secret_key.encode()):
            raise wrong_key()


async def _params(request: Request) -> dict[str, Any]:
    body = await request.body()
    if not body:
        return dict(request.query_params)
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise invalid("The stand-in takes application/json only")
    try:
        params = json.loads(body)
    except ValueError:
        raise invalid("Invalid JSON") from None
    if not isinstance(params, dict):
        raise invalid("Invalid JSON")
    return params


def _refusal(problem: Problem) -> Answer:
    return Answer(problem.status, _json(problem.body))


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
