"""What waits longer than it should: found by age, whatever the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import first_row


@dataclass(frozen=True, slots=True)
class Overdue:
    """How many there are, and since when the oldest waits."""

    number: int
    since: datetime | None
    reason: str | None = None


def stuck_reports(connection: Connection, before: datetime) -> Overdue:
    """Reports that were owed before an instant and that Stripe has not acknowledged."""
    return _overdue(
        connection,
        """
        SELECT count(*) AS number, min(created_at) AS since, max(last_error) AS reason FROM stripe_reports
        WHERE state IN ('pending', 'sending') AND created_at <= :before AND coalesce(window_end, period_end) <= :before
        """,
        before,
    )


def uncollected_invoices(connection: Connection, before: datetime) -> Overdue:
    """Invoices that a collector should have had before an instant, and has not: its key is not set, say, or it fails."""
    return _overdue(
        connection,
        """
        SELECT count(*) AS number, min(created_at) AS since, max(last_error) AS reason FROM collections
        WHERE state IN ('pending', 'sending') AND created_at <= :before
        """,
        before,
    )


def unclosed_periods(connection: Connection, before: datetime) -> Overdue:
    """Periods that ended before an instant and are neither closed nor set aside."""
    return _overdue(
        connection,
        """
        SELECT count(*) AS number, min(period_end) AS since, CAST(NULL AS text) AS reason FROM usage_periods
        WHERE status = 'open' AND billed_totals IS NULL AND period_end <= :before
        """,
        before,
    )


def waiting_deliveries(connection: Connection, before: datetime) -> Overdue:
    """Notices that somebody should have heard before an instant, and has not."""
    return _overdue(
        connection,
        """
        SELECT count(*) AS number, min(n.created_at) AS since, max(d.last_error) AS reason
        FROM notice_deliveries AS d JOIN notices AS n ON n.id = d.notice_id
        WHERE d.state = 'pending' AND n.created_at <= :before
        """,
        before,
    )


def waiting_webhooks(connection: Connection, before: datetime) -> Overdue:
    """Events of the payment side that came before an instant and are not applied."""
    return _overdue(
        connection,
        """
        SELECT count(*) AS number, min(received_at) AS since, max(last_error) AS reason FROM webhook_events
        WHERE state = 'pending' AND received_at <= :before
        """,
        before,
    )


def _overdue(connection: Connection, statement: str, before: datetime) -> Overdue:
    row = first_row(connection, statement, before=before)
    assert row is not None
    return Overdue(**row)
