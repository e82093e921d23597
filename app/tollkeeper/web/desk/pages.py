"""What the operator reads: figures, lists, and single things."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.runtime import Runtime
from tollkeeper.services.browsing import (
    Page,
    any_invoice,
    browse_audit,
    browse_customers,
    browse_deliveries,
    browse_invoices,
    browse_reports,
    browse_webhooks,
    customer_file,
    parked,
)
from tollkeeper.services.inspecting import inspect
from tollkeeper.services.overseeing import GOOD_FOR, stock, take_stock
from tollkeeper.services.presenting import present
from tollkeeper.web.desk.guard import DESK_COOKIE, DeskGuard
from tollkeeper.web.desk.view import desk_view
from tollkeeper.web.places import choice_in, invoice_id_in, place_in, position, search_in, stamp, text, webhook_place
from tollkeeper.web.places import written_place as written
from tollkeeper.web.rendering import Renderer
from tollkeeper.web.security import base_of
from tollkeeper.web.usage_view import usage_view

log = logging.getLogger(__name__)

INVOICE_CHOICES = ("draft", "alarm", "finalized", "paid", "void", "uncollectible")
REPORT_CHOICES = ("pending", "sending", "acknowledged", "confirmed", "rejected")
WEBHOOK_CHOICES = ("pending", "applied", "ignored", "failed")


class DeskPages:
    """The pages of the desk. Each first asks the guard who is looking."""

    def __init__(self, runtime: Runtime, guard: DeskGuard, renderer: Renderer) -> None:
        self._runtime = runtime
        self._guard = guard
        self._renderer = renderer

    async def overview(self, request: Request) -> Response:
        """Revenue, margins, who is near a cap, and what waits for a person."""
        return await self._shown(request, self._overview)

    async def customers(self, request: Request) -> Response:
        """Customers, to be searched."""
        return await self._shown(request, self._customers)

    async def customer(self, request: Request) -> Response:
        """One customer: usage, margins, invoices, keys, history."""
        return await self._shown(request, self._customer)

    async def invoices(self, request: Request) -> Response:
        """Invoices by status, drafts to be approved or voided among them."""
        return await self._shown(request, self._invoices)

    async def invoice(self, request: Request) -> Response:
        """One invoice, each line explained down to its events."""
        return await self._shown(request, self._invoice)

    async def parked(self, request: Request) -> Response:
        """Periods that were set aside, and why."""
        return await self._shown(request, self._parked)

    async def reports(self, request: Request) -> Response:
        """What Stripe was told, and what came of it."""
        return await self._shown(request, self._reports)

    async def webhooks(self, request: Request) -> Response:
        """Events that came in."""
        return await self._shown(request, self._webhooks)

    async def notices(self, request: Request) -> Response:
        """Notices that went out, or did not."""
        return await self._shown(request, self._notices)

    async def audit(self, request: Request) -> Response:
        """Who changed what."""
        return await self._shown(request, self._audit)

    async def health(self, request: Request) -> Response:
        """Whether everything that is needed is there and answers."""
        return await self._shown(request, self._health)

    async def _shown(self, request: Request, show: Callable[[Request], Response]) -> Response:
        request.state.operator = await self._guard.operator(request)
        return await run_in_threadpool(show, request)

    def _overview(self, request: Request) -> Response:
        now = self._runtime.clock.now()
        found = stock(self._runtime.database)
        if found is None:  # once in the life of a database
            take_stock(self._runtime.database, now)
            found = stock(self._runtime.database)
        figures, as_of = found if found is not None else (None, None)
        response = self.page(
            request, "desk/overview.html", here="overview", as_of=as_of, **desk_view(figures, self._say(request))
        )
        if as_of is None or now - as_of >= GOOD_FOR:
            response.background = BackgroundTask(self.refresh)
        return response

    def refresh(self) -> None:
        """Take stock anew, for whoever looks next."""
        try:
            take_stock(self._runtime.database, self._runtime.clock.now())
        except TollkeeperError as error:
            log.warning("the desk's figures stay as they are: %s", error)

    def _customers(self, request: Request) -> Response:
        search = search_in(request)
        page = browse_customers(self._runtime.database, search, place_in(request, text))
        return self._list(request, "customers", page, search=search)

    def _customer(self, request: Request) -> Response:
        user_id = request.query_params.get("user", "")
        now = self._runtime.clock.now()
        found = customer_file(self._runtime.database, user_id, now)
        it = present(self._runtime.database, user_id, now, collect=self._runtime.settings.collect)
        view = usage_view(it, now, self._say(request))
        return self.page(request, "desk/customer.html", here="customers", file=found, it=it, **view)

    def _invoices(self, request: Request) -> Response:
        status, search = choice_in(request, "status", INVOICE_CHOICES), search_in(request)
        page = browse_invoices(self._runtime.database, status, search, place_in(request, stamp))
        return self._list(request, "invoices", page, search=search, state=status, choices=INVOICE_CHOICES)

    def _invoice(self, request: Request) -> Response:
        found = any_invoice(self._runtime.database, invoice_id_in(request))
        return self.page(request, "desk/invoice.html", here="invoices", it=found)

    def _parked(self, request: Request) -> Response:
        rows, waiting = parked(self._runtime.database)
        return self.page(request, "desk/parked.html", here="parked", rows=rows, waiting=waiting)

    def _reports(self, request: Request) -> Response:
        state, search = choice_in(request, "state", REPORT_CHOICES), search_in(request)
        page = browse_reports(self._runtime.database, state, search, place_in(request, stamp))
        return self._list(request, "reports", page, search=search, state=state, choices=REPORT_CHOICES)

    def _webhooks(self, request: Request) -> Response:
        state = choice_in(request, "state", WEBHOOK_CHOICES)
        page = browse_webhooks(self._runtime.database, state, place_in(request, webhook_place))
        return self._list(request, "webhooks", page, state=state, choices=WEBHOOK_CHOICES)

    def _notices(self, request: Request) -> Response:
        search = search_in(request)
        page = browse_deliveries(self._runtime.database, search, place_in(request, stamp))
        return self._list(request, "notices", page, search=search)

    def _audit(self, request: Request) -> Response:
        user_id, kind = search_in(request), search_in(request, "kind")
        page = browse_audit(self._runtime.database, user_id, kind, place_in(request, position))
        rows = [{**row, "changes": changes(row["before"] or {}, row["after"] or {})} for row in page.rows]
        return self._list(request, "audit", Page(rows, page.place), search=user_id, kind=kind)

    def _health(self, request: Request) -> Response:
        own = self._runtime
        found = inspect(own.settings, own.clock, database=own.database, stripe=None, quick=True)
        return self.page(request, "desk/health.html", here="health", it=found)

    def _list(self, request: Request, name: str, page: Page, **values: Any) -> Response:
        """A list's page, with the address of the next one: the same question, from where this one ends."""
        next_url = None
        if page.place is not None:
            asked = {key: value for key, value in request.query_params.items() if key != "after"}
            next_url = f"{base_of(request)}/admin/{name}?{urlencode({**asked, 'after': written(page.place)})}"
        first = "after" not in request.query_params
        return self.page(
            request, f"desk/{name}.html", here=name, rows=page.rows, next_url=next_url, first=first, **values
        )

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page of the desk, in the name of who is looking."""
        can_sign_out = self._guard.by_token and DESK_COOKIE in request.cookies
        said: Mapping[str, Any] = {"done": request.query_params.get("done"), **values}
        return self._renderer.page(
            request, template, status=status, operator=request.state.operator, can_sign_out=can_sign_out, **said
        )

    def _say(self, request: Request) -> Callable[..., str]:
        return self._renderer.sayer_for(request)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Each field that an entry of the trail names, as it was and as it became; without those that stayed nothing."""
    named = [(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
    return [one for one in named if one[1:] != (None, None)]
