"""Failing: payments at Paystack that came to nothing, each noted once, and over as soon as the invoice is settled.

Stripe tells of them in events of its own; at Paystack it is seen: a charge that was declined, a request that nobody has paid
by the day it was due. What follows is the same for both, and is `dunning`'s.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.services.noting import note_payment_failed
from tollkeeper.storage.dunning import failures_noted, note_failure, note_settled
from tollkeeper.storage.invoices import Invoice

DECLINED = 1
OVERDUE = 2


def note_failed(connection: Connection, invoice: Invoice, now: datetime, attempt: int) -> None:
    """An invoice was not paid in the way that was tried first (`DECLINED`), or not in time (`OVERDUE`)."""
    key = _key(invoice)
    if failures_noted(connection, key) < attempt:
        note_failure(connection, key, invoice.user_id, now, attempt)
        note_payment_failed(connection, invoice, now, attempt=attempt)


def note_made_good(connection: Connection, invoice: Invoice, now: datetime) -> None:
    """An invoice is paid, or nobody wants it paid any more; nothing where no payment of it had failed."""
    key = _key(invoice)
    if failures_noted(connection, key):
        note_settled(connection, key, invoice.user_id, now)


def _key(invoice: Invoice) -> str:
    """What stands where Stripe's failures have the id of Stripe's invoice."""
    return f"paystack {invoice.id}"
