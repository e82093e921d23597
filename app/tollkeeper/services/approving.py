"""Approving: a person has looked at a draft and says that it may go on."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.services.noting import note_moves
from tollkeeper.storage.audit import record
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Invoice, call_off_alarms, lock_invoice, save_status


def approve(database: Database, invoice_id: UUID, *, by: str, reason: str, now: datetime) -> Invoice:
    """Let a draft go on: its alarms are called off, and one that nobody collects becomes final. The draft as it was.

    A draft that is collected is made final by its reports or its collector, as soon as no alarm holds it up. `NotFound`
    for an unknown one, `InvalidInput` for one that is no draft or that nothing holds up.
    """
    plain_text(by, "by")
    plain_text(reason, "reason")
    with database.transaction() as connection:
        invoice = lock_invoice(connection, invoice_id)
        if invoice is None:
            raise NotFound("invoice", str(invoice_id))
        if invoice.status != "draft":
            raise InvalidInput("invoice", f"a draft; this one is {invoice.status}")
        if invoice.alarm is None and invoice.collect != "off":
            raise InvalidInput("invoice", "a draft that something holds up; this one goes on by itself")
        call_off_alarms(connection, invoice_id)
        if invoice.collect == "off":
            save_status(connection, invoice_id, "finalized", now)
            note_moves(connection, [invoice], "finalized", now, reason)
        record(
            connection,
            "invoice.approved",
            str(invoice_id),
            now,
            user_id=invoice.user_id,
            before={"alarm": invoice.alarm},
            after={"alarm": None},
            reason=reason,
            by=by,
        )
    return invoice
