"""The customer's own pages: usage, invoices, and the events as CSV."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period, utc
from tollkeeper.runtime import Runtime
from tollkeeper.services.exporting import Span, check_are_stored, events_csv, spans_of_invoice
from tollkeeper.services.identifying import KEY_BYTES, SESSION_SECONDS, begin_session
from tollkeeper.services.offering import offers
from tollkeeper.services.presenting import customers_invoice, customers_invoices, present
from tollkeeper.services.showing import usage_of
from tollkeeper.web.guard import SESSION_COOKIE, CustomerGuard
from tollkeeper.web.places import invoice_id_in, invoice_place, written_place
from tollkeeper.web.rendering import Renderer
from tollkeeper.web.security import base_of, checked_form, drop_cookie, secured, set_cookie
from tollkeeper.web.usage_view import usage_view

_ON_A_PAGE = 50
_SIGN_IN = {
    "title": "Usage and billing",
    "hint": "Sign in with your API key. It is checked and not kept; you stay signed in for an hour.",
    "label": "API key",
    "action": "/sign-in",
    "ask_name": False,
}
_WRONG_KEY = "This is no key of ours, or it was revoked."


class CustomerPages:
    """What a customer sees. Every page is of the customer that the guard names, and of nobody else."""

    def __init__(self, runtime: Runtime, guard: CustomerGuard, renderer: Renderer) -> None:
        self._runtime = runtime
        self._guard = guard
        self._renderer = renderer

    async def usage(self, request: Request) -> Response:
        """Where the customer stands."""
        user_id = await self._guard.customer(request)
        return await run_in_threadpool(self._usage, request, user_id)

    async def invoices(self, request: Request) -> Response:
        """All invoices, a page at a time."""
        user_id = await self._guard.customer(request)
        return await run_in_threadpool(self._invoices, request, user_id)

    async def invoice(self, request: Request) -> Response:
        """One invoice, each line explained."""
        user_id = await self._guard.customer(request)
        return await run_in_threadpool(self._invoice, request, user_id)

    async def events(self, request: Request) -> Response:
        """The events of the period of now, or of the span that is asked for, as CSV."""
        user_id = await self._guard.customer(request)
        asked = _asked_span(request)
        period = await run_in_threadpool(self._period_of_now, user_id) if asked is None else asked
        return await self._csv(user_id, [Span(period)], f"events-{period.start:%Y-%m-%d}.csv")

    async def invoice_events(self, request: Request) -> Response:
        """The very events that an invoice bills, as CSV."""
        user_id = await self._guard.customer(request)
        invoice_id = invoice_id_in(request)
        spans = await run_in_threadpool(spans_of_invoice, self._runtime.database, user_id, invoice_id)
        return await self._csv(user_id, spans, f"invoice-{invoice_id}.csv")

    async def sign_in(self, request: Request) -> Response:
        """Exchange an API key for a session."""
        key = (await checked_form(request)).get("secret", "").strip()
        try:
            if not self._guard.by_key or len(key) > KEY_BYTES:
                raise CustomerUnknown
            now = self._runtime.clock.now()
            session = await run_in_threadpool(begin_session, self._runtime.database, key, now)
        except (CustomerUnknown, InvalidInput):
            return self.ask_to_sign_in(request, _WRONG_KEY)
        response = RedirectResponse(f"{base_of(request)}/", status_code=303)
        set_cookie(request, response, SESSION_COOKIE, session, SESSION_SECONDS)
        return secured(response)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await checked_form(request)
        response = RedirectResponse(f"{base_of(request)}/", status_code=303)
        drop_cookie(request, response, SESSION_COOKIE)
        return secured(response)

    def ask_to_sign_in(self, request: Request, error: str | None = None) -> Response:
        """The form that asks for an API key."""
        return self._renderer.page(request, "sign_in.html", status=401, error=error, **_SIGN_IN)

    def _usage(self, request: Request, user_id: str) -> Response:
        now = self._runtime.clock.now()
        found = present(self._runtime.database, user_id, now, collect=self._runtime.settings.collect)
        view = usage_view(found, now, self._renderer.sayer_for(request))
        own = self._runtime
        selling = None if own.settings.public_url is None else own.selling
        offered = offers(own.database, selling, user_id, collect=own.settings.collect)
        return self._page(request, "usage.html", user_id, here="usage", it=found, offered=offered, **view)

    def _invoices(self, request: Request, user_id: str) -> Response:
        found, place = customers_invoices(
            self._runtime.database, user_id, invoice_place(request.query_params.get("after")), _ON_A_PAGE
        )
        next_url = None if place is None else f"{base_of(request)}/invoices?after={written_place(place)}"
        return self._page(request, "invoices.html", user_id, here="invoices", invoices=found, next_url=next_url)

    def _invoice(self, request: Request, user_id: str) -> Response:
        found = customers_invoice(self._runtime.database, user_id, invoice_id_in(request))
        has_events = any(one.events_sql is not None for one in found.lines)
        return self._page(request, "invoice.html", user_id, here="invoices", it=found, has_events=has_events)

    def _page(self, request: Request, template: str, user_id: str, **values: Any) -> Response:
        can_sign_out = self._guard.by_key and SESSION_COOKIE in request.cookies
        return self._renderer.page(request, template, user_id=user_id, can_sign_out=can_sign_out, **values)

    def _period_of_now(self, user_id: str) -> Period:
        current = usage_of(self._runtime.database, user_id, self._runtime.clock.now()).current
        return Period(current.period_start, current.period_end)

    async def _csv(self, user_id: str, spans: list[Span], name: str) -> Response:
        await run_in_threadpool(check_are_stored, self._runtime.database, spans)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        body = events_csv(self._runtime.database, user_id, spans)
        return secured(StreamingResponse(body, media_type="text/csv; charset=utf-8", headers=headers))


def _asked_span(request: Request) -> Period | None:
    """`?from=…&to=…`, half-open; None where neither is given."""
    start, end = request.query_params.get("from"), request.query_params.get("to")
    if start is None and end is None:
        return None
    return Period(_instant(start, "from"), _instant(end, "to"))


def _instant(text: str | None, field: str) -> datetime:
    try:
        return utc(datetime.fromisoformat(text or ""), field)
    except ValueError:
        raise InvalidInput(field, "an instant such as 2026-11-01T00:00:00Z") from None
