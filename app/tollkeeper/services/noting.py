"""Noting: what is written down beside a deed about invoices, in its own transaction: the audit trail's entry, and the notices.

Whoever moves an invoice on calls this; whoever is to hear of it, and how, is decided later and elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import Connection

from tollkeeper.domain.notice import Notice, NoticeKind
from tollkeeper.domain.period import Period
from tollkeeper.storage.audit import Deed, record_all
from tollkeeper.storage.invoices import Invoice, InvoiceStatus
from tollkeeper.storage.notices import insert_notices
from tollkeeper.storage.periods import PeriodKey

if TYPE_CHECKING:
    from tollkeeper.services.drafting import Outcome

_MOST_OF_A_TEXT = 500
_MOST_ALARMS = 5


def note_close(connection: Connection, outcome: Outcome, now: datetime, *, quietly: bool) -> None:
    """Periods were closed: their drafts, and those that were set aside. `quietly`: a person asked, and nobody is told."""
    drafts = [draft.invoice for draft in outcome.drafts]
    deeds = [_drafted(invoice) for invoice in drafts]
    deeds += [_parked(user_id, start, reason) for (user_id, start), reason in outcome.parked.items()]
    record_all(connection, deeds, now)
    if not quietly:
        insert_notices(connection, [_invoice_notice("invoice.draft_ready", one, "draft") for one in drafts], now)
        _alarm_of_parked(connection, outcome.parked, now)


def note_moves(
    connection: Connection, invoices: Iterable[Invoice], status: InvoiceStatus, now: datetime, reason: str | None = None
) -> None:
    """Invoices, given as they were before, have come to a status. Customers hear of it when they become final."""
    moved = list(invoices)
    record_all(connection, _moves(moved, status, reason), now)
    if status in ("finalized", "paid"):
        final = [one for one in moved if one.status == "draft"]
        insert_notices(connection, [_invoice_notice("invoice.finalized", one, "finalized") for one in final], now)


def note_payment_failed(
    connection: Connection,
    invoice: Invoice,
    now: datetime,
    *,
    attempt: int,
    next_attempt_at: datetime | None = None,
    payment_url: str | None = None,
) -> None:
    """An attempt to collect an invoice has failed: one notice for each attempt, counted from 1."""
    payload = {
        **_facts(invoice, invoice.status),
        "attempt": attempt,
        "next_attempt_at": None if next_attempt_at is None else next_attempt_at.isoformat(),
        "payment_url": payment_url if _is_web_address(payment_url) else None,
    }
    subject = f"payment.failed {attempt} {invoice.id}"
    record_all(connection, [Deed("payment.failed", str(invoice.id), invoice.user_id, after={"attempt": attempt})], now)
    insert_notices(connection, [Notice("payment.failed", invoice.user_id, subject, payload)], now)


def note_alarm(
    connection: Connection, text: str, now: datetime, *, user_id: str | None = None, about: str | None = None
) -> None:
    """Something waits for a person. The operator is told once, however often the same is noticed: by what it is `about`, or by
    what it says."""
    text = text[:_MOST_OF_A_TEXT]
    same = hashlib.sha256(f"{user_id or ''} {about or text}".encode()).hexdigest()[:32]
    insert_notices(connection, [Notice("alarm.raised", user_id, f"alarm.raised {same}", {"text": text})], now)


def _alarm_of_parked(connection: Connection, parked: Mapping[PeriodKey, str], now: datetime) -> None:
    """One alarm each, or one for all where there are many: then the fault is hardly each customer's own."""
    for count, ((user_id, start), reason) in enumerate(parked.items(), 1):
        text = f"period {start:%Y-%m-%d} is parked: {reason}"
        if count == _MOST_ALARMS and len(parked) > _MOST_ALARMS:
            note_alarm(
                connection, f"{len(parked) - count + 1} more periods are parked, such as {user_id}'s: {text}", now
            )
            return
        note_alarm(connection, text, now, user_id=user_id)


def _invoice_notice(kind: NoticeKind, invoice: Invoice, status: InvoiceStatus) -> Notice:
    return Notice(kind, invoice.user_id, f"{kind} {invoice.id}", _facts(invoice, status))


def _facts(invoice: Invoice, status: InvoiceStatus) -> dict[str, object]:
    return {
        "invoice_id": str(invoice.id),
        "status": status,
        "total_amount": invoice.total_amount,
        "currency": invoice.currency,
        **_span(invoice.period),
    }


def _span(period: Period) -> dict[str, object]:
    return {"period_start": period.start.isoformat(), "period_end": period.end.isoformat()}


def _drafted(invoice: Invoice) -> Deed:
    after = {
        **_span(invoice.period),
        "revision": invoice.revision,
        "total_amount": invoice.total_amount,
        "currency": invoice.currency,
        "alarm": invoice.alarm,
    }
    return Deed("invoice.drafted", str(invoice.id), invoice.user_id, after=after)


def _parked(user_id: str, start: datetime, reason: str) -> Deed:
    return Deed("period.parked", f"{user_id} {start.isoformat()}", user_id, reason=reason)


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


def _is_web_address(url: str | None) -> bool:
    """What the other side calls a link is one only if it leads to the web."""
    if url is None or len(url) > 2000 or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)
