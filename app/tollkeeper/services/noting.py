"""Noting: what is written down beside a deed about invoices, in its own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from tollkeeper.storage.audit import Deed, record_all
from tollkeeper.storage.invoices import Invoice, InvoiceStatus

if TYPE_CHECKING:
    from tollkeeper.services.drafting import Outcome


def note_close(connection: Connection, outcome: Outcome, now: datetime) -> None:
    """Periods were closed: their drafts, and those that were set aside."""
    drafted = (_drafted(draft.invoice) for draft in outcome.drafts)
    parked = (
        Deed("period.parked", f"{user_id} {start.isoformat()}", user_id, reason=reason)
        for (user_id, start), reason in outcome.parked.items()
    )
    record_all(connection, [*drafted, *parked], now)


def note_moves(
    connection: Connection, invoices: Iterable[Invoice], status: InvoiceStatus, now: datetime, reason: str | None = None
) -> None:
    """Invoices, given as they were before, have come to a status."""
    record_all(connection, _moves(list(invoices), status, reason), now)


def _drafted(invoice: Invoice) -> Deed:
    after = {
        "period_start": invoice.period.start,
        "period_end": invoice.period.end,
        "revision": invoice.revision,
        "total_amount": invoice.total_amount,
        "currency": invoice.currency,
        "alarm": invoice.alarm,
    }
    return Deed("invoice.drafted", str(invoice.id), invoice.user_id, after=after)


def _moves(invoices: Sequence[Invoice], status: InvoiceStatus, reason: str | None) -> list[Deed]:
    return [
        Deed(
            f"invoice.{status}",
            str(invoice.id),
            invoice.user_id,
            before={"status": invoice.status},
            after={"status": status, "total_amount": invoice.total_amount, "currency": invoice.currency},
            reason=reason,
        )
        for invoice in invoices
    ]
