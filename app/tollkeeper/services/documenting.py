"""Documenting: invoices as programs read them, the same from a command and from the customer's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tollkeeper.plain import exact
from tollkeeper.storage.invoices import Invoice, InvoiceLine


def invoice_document(invoice: Invoice) -> dict[str, Any]:
    """An invoice without its lines."""
    return {
        "id": invoice.id,
        "user_id": invoice.user_id,
        "period_start": invoice.period.start,
        "period_end": invoice.period.end,
        "revision": invoice.revision,
        "currency": invoice.currency,
        "status": invoice.status,
        "total_amount": invoice.total_amount,
        "plan_id": invoice.plan_id,
        "plan_version": invoice.plan_version,
        "collect": invoice.collect,
        "stripe_invoice_id": invoice.stripe_invoice_id,
        "arrival_cutoff": invoice.arrival_cutoff,
        "created_at": invoice.created_at,
        "finalized_at": invoice.finalized_at,
        "paid_at": invoice.paid_at,
        "alarm": invoice.alarm,
    }


def line_documents(lines: Sequence[InvoiceLine]) -> list[dict[str, Any]]:
    """The lines of an invoice, in order."""
    return [
        {
            "position": position,
            "kind": line.kind,
            "model_id": line.model_id,
            "token_type": line.token_type,
            "quantity": exact(line.quantity),
            "unit_amount_decimal": line.unit_amount,
            "amount": line.amount,
            "description": line.description,
            "period_start": line.period.start,
            "period_end": line.period.end,
        }
        for position, line in enumerate(lines, 1)
    ]
