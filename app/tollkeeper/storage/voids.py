"""Drafts that are void: marked, and what has to be known before one is drafted anew."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row
from tollkeeper.storage.invoices import Invoice
from tollkeeper.storage.periods import PeriodKey


def call_off_collecting(connection: Connection, invoice_id: UUID) -> bool:
    """Let nobody collect an invoice; False where a collector has, or may have, heard of it."""
    change(
        connection,
        "DELETE FROM collections WHERE invoice_id = :invoice AND first_sent_at IS NULL AND external_id IS NULL",
        invoice=invoice_id,
    )
    return first_row(connection, "SELECT FROM collections WHERE invoice_id = :invoice", invoice=invoice_id) is None


def mark_void(connection: Connection, invoice_id: UUID, reason: str, *, replaced: bool) -> None:
    """Void a locked draft; what it took over from earlier negative totals is there for the next one again."""
    change(
        connection,
        """
        UPDATE invoices SET status = 'void', void_reason = :reason, replaced = :replaced, carried = 0, alarm = NULL
        WHERE id = :id
        """,
        id=invoice_id,
        reason=reason,
        replaced=replaced,
    )


def late_periods_on(connection: Connection, invoice_id: UUID) -> list[PeriodKey]:
    """The periods whose late usage stands on an invoice."""
    rows = all_rows(
        connection,
        """
        SELECT DISTINCT u.user_id, u.period_start FROM invoice_line_items AS l JOIN invoices AS i ON i.id = l.invoice_id
        JOIN usage_periods AS u
            ON u.user_id = i.user_id AND u.period_start <= l.period_start AND u.period_end > l.period_start
        WHERE i.id = :id AND l.kind = 'late_usage' ORDER BY u.period_start
        """,
        id=invoice_id,
    )
    return [(row["user_id"], row["period_start"]) for row in rows]


def billed_late_elsewhere(connection: Connection, invoice: Invoice) -> bool:
    """Whether late usage of an invoice's own period stands on another one."""
    row = first_row(
        connection,
        """
        SELECT FROM invoices AS i JOIN invoice_line_items AS l ON l.invoice_id = i.id
        WHERE i.user_id = :user AND i.id <> :id AND NOT i.replaced AND l.kind = 'late_usage'
          AND l.period_start >= :start AND l.period_start < :ends LIMIT 1
        """,
        user=invoice.user_id,
        id=invoice.id,
        start=invoice.period.start,
        ends=invoice.period.end,
    )
    return row is not None
