"""Subscribing from the browser or a program: the way to Stripe's checkout, back from it with an API key, and to its portal."""

from __future__ import annotations

import json
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tollkeeper.domain.errors import InvalidInput, SettingMissing, TollkeeperError
from tollkeeper.payments.stripe_selling import StripeSelling
from tollkeeper.runtime import Runtime
from tollkeeper.services.checking_out import (
    SESSION_PLACEHOLDER,
    ClaimRefused,
    HandedOver,
    KeyHandedOver,
    NotPaidYet,
    claim_key,
    open_portal,
    start_checkout,
)
from tollkeeper.web.failing import problem
from tollkeeper.web.guard import CustomerGuard
from tollkeeper.web.rendering import Renderer
from tollkeeper.web.security import checked_form, drop_cookie, secured, set_cookie

CLAIM_COOKIE = "tollkeeper_claim"
DONE_PATH = "/checkout/done"
_CLAIM_SECONDS = 86_400
_MOST_BYTES = 4_096
_STATUS: tuple[tuple[type[TollkeeperError], int], ...] = ((ClaimRefused, 403), (NotPaidYet, 409), (KeyHandedOver, 410))
_SAID = {
    403: ("This key is not for this browser", "It is handed over where the subscription was begun, and only there."),
    409: ("One moment, please", "The payment is not confirmed yet. Load this page again in a few seconds."),
    410: ("The key was shown before", "It is shown once. Ask for a new one if it is lost."),
}


class Checkout:
    """`/api/checkout`, `/api/checkout/claim`, `/api/portal`, `/checkout`, `/checkout/done` and `/portal`."""

    def __init__(self, runtime: Runtime, guard: CustomerGuard, renderer: Renderer) -> None:
        self._runtime = runtime
        self._guard = guard
        self._renderer = renderer

    async def start(self, request: Request) -> Response:
        """Begin a checkout of the customer's: the address of its page, and the claim to the key that comes of it."""
        user_id = await self._guard.customer(request)
        plan_id = _text(await _json_body(request), "plan")
        started = await run_in_threadpool(self._start, user_id, plan_id)
        body = {"url": started.url, "session_id": started.session_id, "claim": started.claim}
        response = secured(JSONResponse(body, status_code=201))
        set_cookie(request, response, CLAIM_COOKIE, started.claim, _CLAIM_SECONDS)
        return response

    async def leave(self, request: Request) -> Response:
        """The same from the customer's page: a page that goes on to Stripe.

        A form of ours may lead only to ourselves, and where Stripe's page is, an account can choose; so it is no redirect.
        """
        user_id = await self._guard.customer(request)
        form = await checked_form(request)
        started = await run_in_threadpool(self._start, user_id, form.get("plan", ""))
        response = self._renderer.page(request, "leaving.html", url=started.url)
        set_cookie(request, response, CLAIM_COOKIE, started.claim, _CLAIM_SECONDS)
        return response

    async def claim(self, request: Request) -> Response:
        """Hand over the API key of a paid checkout to whoever has its claim, once."""
        asked = await _json_body(request)
        claim = asked.get("claim", request.cookies.get(CLAIM_COOKIE))
        try:
            handed = await self._claim(_text(asked, "session_id"), claim if isinstance(claim, str) else "")
        except (ClaimRefused, NotPaidYet, KeyHandedOver) as error:
            return _refused(error)
        body = {"user_id": handed.user_id, "plan": handed.plan_id, "api_key": handed.key}
        return secured(JSONResponse(body))

    async def done(self, request: Request) -> Response:
        """Where Stripe sends the customer back to: a button, because a page that is merely loaded must not use up the key."""
        session_id = request.query_params.get("session_id", "")[:255]
        return self._renderer.page(request, "checkout_done.html", session_id=session_id, key=None)

    async def show_key(self, request: Request) -> Response:
        """The key, for the browser that the checkout was begun in."""
        form = await checked_form(request)
        try:
            handed = await self._claim(form.get("session_id", ""), request.cookies.get(CLAIM_COOKIE, ""))
        except (ClaimRefused, NotPaidYet, KeyHandedOver) as error:
            status = _status_of(error)
            title, text = _SAID[status]
            return self._renderer.page(
                request, "message.html", status=status, title=title, text=text, link_url=None, link_text=""
            )
        key = handed.key or ""
        response = self._renderer.page(request, "checkout_done.html", session_id="", key=key)
        drop_cookie(request, response, CLAIM_COOKIE)
        return response

    async def portal(self, request: Request) -> Response:
        """To Stripe's portal: cards, invoices, cancelling. The address is made for this click and kept nowhere."""
        url = await run_in_threadpool(self._portal, await self._guard.customer(request))
        return secured(RedirectResponse(url, status_code=303))

    async def portal_address(self, request: Request) -> Response:
        """The same for a program."""
        url = await run_in_threadpool(self._portal, await self._guard.customer(request))
        return secured(JSONResponse({"url": url}, status_code=201))

    async def _claim(self, session_id: str, claim: str) -> HandedOver:
        now = self._runtime.clock.now()
        return await run_in_threadpool(claim_key, self._runtime.database, session_id, claim, now)

    def _start(self, user_id: str, plan_id: str) -> Any:
        own = self._runtime
        base = own.settings.public_url
        if base is None:
            raise SettingMissing("TOLLKEEPER_PUBLIC_URL", "to come back from the checkout")
        return start_checkout(
            own.database,
            self._selling(),
            user_id,
            plan_id,
            now=own.clock.now(),
            success_url=f"{base}{DONE_PATH}?session_id={SESSION_PLACEHOLDER}",
            cancel_url=f"{base}/",
            collect=own.settings.collect,
        )

    def _portal(self, user_id: str) -> str:
        own = self._runtime
        return open_portal(
            own.database, self._selling(), user_id, now=own.clock.now(), return_url=own.settings.public_url
        )

    def _selling(self) -> StripeSelling:
        if self._runtime.selling is None:
            raise SettingMissing("STRIPE_API_KEY", "to subscribe")
        return self._runtime.selling


async def _json_body(request: Request) -> dict[str, Any]:
    """The body, which must say that it is JSON: a form of another site cannot."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidInput("content-type", "application/json")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > _MOST_BYTES:
            raise InvalidInput("body", f"at most {_MOST_BYTES} bytes")
        parts.append(part)
    try:
        value = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise InvalidInput("body", "a JSON object") from None
    if not isinstance(value, dict):
        raise InvalidInput("body", "a JSON object")
    return value


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise InvalidInput(name, "a string")
    return value


def _status_of(error: TollkeeperError) -> int:
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def _refused(error: TollkeeperError) -> Response:
    status = _status_of(error)
    title, text = _SAID[status]
    response = problem(status, error.code, title, text)
    if status == 409:
        response.headers["Retry-After"] = "2"
    return response
