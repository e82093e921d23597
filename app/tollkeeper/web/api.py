"""The customer's pages as JSON, described by `/openapi.json`."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.plain import exact, plain
from tollkeeper.runtime import Runtime
from tollkeeper.services.documenting import invoice_document, line_documents
from tollkeeper.services.presenting import Presentation, customers_invoice, customers_invoices, present
from tollkeeper.storage.invoices import Invoice
from tollkeeper.web.guard import CustomerGuard
from tollkeeper.web.openapi import document
from tollkeeper.web.places import invoice_id_in, invoice_place, written_place
from tollkeeper.web.security import base_of, secured

MOST_AT_ONCE = 100
_ON_A_PAGE = 20
_OURS_ALONE = ("arrival_cutoff", "alarm", "plan_version", "collect")
"""What an invoice says to the operator and not to its customer."""


class CustomerApi:
    """What a customer's programs read. Every answer is of the customer that the guard names, and of nobody else."""

    def __init__(self, runtime: Runtime, guard: CustomerGuard) -> None:
        self._runtime = runtime
        self._guard = guard

    async def usage(self, request: Request) -> Response:
        """Where the customer stands."""
        user_id = await self._guard.customer(request)
        return await run_in_threadpool(self._usage, user_id)

    async def invoices(self, request: Request) -> Response:
        """The customer's invoices, the newest period first."""
        user_id = await self._guard.customer(request)
        return await run_in_threadpool(self._invoices, request, user_id)

    async def invoice(self, request: Request) -> Response:
        """One invoice, each line explained."""
        user_id = await self._guard.customer(request)
        return await run_in_threadpool(self._invoice, request, user_id)

    async def description(self, request: Request) -> Response:
        """What there is to ask and what is answered."""
        return _answer(document(base_of(request)))

    def _usage(self, user_id: str) -> Response:
        now = self._runtime.clock.now()
        return _answer(
            usage_document(present(self._runtime.database, user_id, now, collect=self._runtime.settings.collect))
        )

    def _invoices(self, request: Request, user_id: str) -> Response:
        after, limit = invoice_place(request.query_params.get("after")), _limit(request.query_params.get("limit"))
        found, place = customers_invoices(self._runtime.database, user_id, after, limit)
        documents = [_without_ours(invoice) for invoice in found]
        return _answer({"invoices": documents, "next": None if place is None else written_place(place)})

    def _invoice(self, request: Request, user_id: str) -> Response:
        found = customers_invoice(self._runtime.database, user_id, invoice_id_in(request))
        lines = line_documents([one.line for one in found.lines])
        explained = [
            {**line, "tier": one.tier, "arithmetic": one.arithmetic}
            for line, one in zip(lines, found.lines, strict=True)
        ]
        return _answer({**_without_ours(found.invoice), "lines": explained})


def usage_document(it: Presentation) -> dict[str, Any]:
    """The usage page for programs. Money is in minor units of `currency`."""
    current, usage, preview = it.usage.current, it.usage, it.preview
    return {
        "user_id": usage.user_id,
        "status": usage.status,
        "plan": {"id": it.plan.id, "name": it.plan.name},
        "period_start": current.period_start,
        "period_end": current.period_end,
        "currency": current.currency,
        "requests": current.events,
        "tokens": current.tokens,
        "quota_tokens": usage.quota_tokens,
        "percent_of_quota": usage.percent_of_quota,
        "projected_tokens": it.projected_tokens,
        "usage_amount": current.spent,
        "spend_cap": usage.spend_cap,
        "percent_of_cap": usage.percent_of_cap,
        "projected_usage_amount": None if preview is None else preview.projected_usage_amount,
        "total_amount": None if preview is None else preview.total_amount,
        "lines": None if preview is None else line_documents(preview.lines),
        "quantities": [
            {"model_id": one.model_id, "token_type": one.token_type, "quantity": exact(one.quantity)}
            for one in current.quantities
        ],
        "grain": it.grain,
        "days": None if it.days is None else list(it.days),
    }


def _without_ours(invoice: Invoice) -> dict[str, Any]:
    return {name: value for name, value in invoice_document(invoice).items() if name not in _OURS_ALONE}


def _limit(text: str | None) -> int:
    if text is None:
        return _ON_A_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST_AT_ONCE):
        raise InvalidInput("limit", f"a whole number from 1 to {MOST_AT_ONCE}")
    return int(text)


def _answer(content: object) -> Response:
    return secured(JSONResponse(plain(content)))
