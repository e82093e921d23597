"""Voiding a draft, or drafting it anew: what a person can do while nobody outside has heard of an invoice.

A void draft is kept as it was, with the reason. What it had taken is given back: prepaid credit, what it took over from
negative totals, adjustments by hand. What it billed is written off, unless it is drafted anew.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.services.closing import store_outcome
from tollkeeper.services.drafting import Drafting, Outcome
from tollkeeper.storage.adjustments import take_off_invoice
from tollkeeper.storage.audit import record
from tollkeeper.storage.credits import lock_grants, return_draws
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Collect, Invoice, carried_balances, load_invoice, lock_invoice
from tollkeeper.storage.periods import lock_for_redraft
from tollkeeper.storage.reports import drop_unsent, hand_on_reports, was_told
from tollkeeper.storage.voids import billed_late_elsewhere, call_off_collecting, late_periods_on, mark_void


def void(database: Database, invoice_id: UUID, *, by: str, reason: str, now: datetime) -> Invoice:
    """Void a draft for good: what stands on it is written off. `InvalidInput` where it is too late for that."""
    with database.transaction() as connection:
        old = _take_back(connection, invoice_id, by=by, reason=reason, now=now, replaced=False)
        if was_told(connection, invoice_id):
            raise InvalidInput(
                "invoice", "a draft that Stripe has not been told of; void it there, and it is void here"
            )
    return old


def redraft(
    database: Database, invoice_id: UUID, *, by: str, reason: str, now: datetime, collect: Collect = "meters"
) -> Invoice | None:
    """Draft an invoice anew from all that is stored now, as the next revision; None where there is nothing to bill any more.

    The old one is void. `InvalidInput` where it is too late for that, and where sums do not agree.
    """
    with database.transaction() as connection:
        old = _take_back(connection, invoice_id, by=by, reason=reason, now=now, replaced=True)
        if billed_late_elsewhere(connection, old):
            raise InvalidInput(
                "invoice", "one whose late usage stands on no later invoice; redraft or void that one first"
            )
        rebilled = late_periods_on(connection, invoice_id)
        periods = [
            replace(one, billed_totals=None) if one.period == old.period else one
            for one in lock_for_redraft(connection, old.user_id, old.period.start, [start for _, start in rebilled])
        ]
        outcome = Drafting(collect, now).decide(connection, periods, rebilled=rebilled)
        for why in outcome.parked.values():
            raise InvalidInput("invoice", f"a period whose sums agree, but {why}")
        return _store(connection, old, outcome, now)


def _store(connection: Connection, old: Invoice, outcome: Outcome, now: datetime) -> Invoice | None:
    new = outcome.drafts[0].invoice if outcome.drafts else None
    store_outcome(connection, outcome, now)
    if new is not None:
        hand_on_reports(connection, old.id, new.id)
    return new


def _take_back(
    connection: Connection, invoice_id: UUID, *, by: str, reason: str, now: datetime, replaced: bool
) -> Invoice:
    """Void a draft and give back what it had taken; the invoice as it was."""
    plain_text(by, "by")
    plain_text(reason, "reason")
    user_id = load_invoice(connection, invoice_id).user_id
    load_customer(connection, user_id, lock=True)
    lock_grants(connection, [user_id])
    old = lock_invoice(connection, invoice_id)
    assert old is not None, "invoices are never deleted"
    _check_is_ours_alone(connection, old)
    drop_unsent(connection, invoice_id)
    return_draws(connection, invoice_id, now)
    take_off_invoice(connection, invoice_id)
    mark_void(connection, invoice_id, reason, replaced=replaced)
    record(
        connection,
        "invoice.void",
        str(invoice_id),
        now,
        user_id=user_id,
        before={"status": old.status},
        after={"status": "void", "total_amount": old.total_amount, "currency": old.currency, "replaced": replaced},
        reason=reason,
        by=by,
    )
    return old


def _check_is_ours_alone(connection: Connection, old: Invoice) -> None:
    if old.status != "draft":
        raise InvalidInput("invoice", f"a draft; this one is {old.status}")
    if old.stripe_invoice_id is not None:
        raise InvalidInput("invoice", "a draft that is not at Stripe; void it there, and it is void here")
    if not call_off_collecting(connection, old.id):
        raise InvalidInput("invoice", "a draft that no collector has heard of; void it there, and it is void here")
    left = carried_balances(connection, [old.user_id]).get((old.user_id, old.currency), 0)
    if old.carried > 0 and left < old.carried:
        raise InvalidInput("invoice", "one whose negative total has not been used up on later invoices")
