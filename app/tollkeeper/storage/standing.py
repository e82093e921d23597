"""How much of everything there is at this moment: what monitoring looks at. No figure names a customer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, first_row


def backlog(connection: Connection, now: datetime) -> dict[str, float]:
    """What waits or stands still: counts, and ages in seconds (0 where nothing waits)."""
    row = first_row(
        connection,
        """
        SELECT (SELECT count(*) FROM holds) AS holds,
               (SELECT count(*) FROM holds WHERE expires_at < :now) AS expired_holds,
               (SELECT count(*) FROM usage_periods WHERE status = 'parked') AS parked_periods,
               (SELECT count(*) FROM usage_periods WHERE status = 'open' AND period_end <= :now) AS periods_due,
               (SELECT coalesce(sum(CASE WHEN reverses IS NULL THEN 1 ELSE -1 END), 0)
                FROM usage_events WHERE unpriced) AS unpriced_events,
               (SELECT count(*) FROM (
                    SELECT FROM usage_events WHERE unpriced GROUP BY user_id
                    HAVING sum(CASE WHEN reverses IS NULL THEN 1 ELSE -1 END) > 0) AS u) AS unpriced_customers,
               (SELECT count(*) FROM invoices WHERE alarm IS NOT NULL) AS invoice_alarms,
               (SELECT count(*) FROM webhook_events WHERE state = 'pending') AS webhooks_pending,
               (SELECT count(*) FROM webhook_events WHERE state = 'failed') AS webhooks_failed,
               coalesce((SELECT extract(epoch FROM :now - min(created_at)) FROM stripe_reports
                         WHERE state IN ('pending', 'sending')), 0) AS oldest_report_seconds,
               (SELECT count(*) FROM notice_deliveries WHERE state = 'parked') AS notices_parked,
               coalesce((SELECT extract(epoch FROM :now - min(n.created_at)) FROM notice_deliveries AS d
                         JOIN notices AS n ON n.id = d.notice_id WHERE d.state = 'pending'), 0) AS oldest_notice_seconds,
               coalesce((SELECT differing FROM reconciliations WHERE ended_at IS NOT NULL
                         ORDER BY ended_at DESC LIMIT 1), 0) AS reconcile_differences,
               coalesce((SELECT extract(epoch FROM :now - max(ended_at)) FROM reconciliations), 0) AS reconciled_seconds,
               coalesce((SELECT extract(epoch FROM :now - max(alive_at)) FROM heartbeats
                         WHERE role = 'beat'), 0) AS beat_silent_seconds,
               coalesce((SELECT extract(epoch FROM :now - max(worked_at)) FROM heartbeats), 0) AS workers_silent_seconds
        """,
        now=now,
    )
    assert row is not None
    return {name: float(value) for name, value in row.items()}


def by_state(connection: Connection) -> dict[str, dict[str, float]]:
    """How many invoices and reports there are in each state."""
    found: dict[str, dict[str, float]] = {}
    for name, statement in _STATES.items():
        rows: list[dict[str, Any]] = all_rows(connection, statement)
        found[name] = {row["state"]: float(row["number"]) for row in rows}
    return found


_STATES = {
    "invoices": "SELECT status AS state, count(*) AS number FROM invoices GROUP BY status",
    "reports": "SELECT state, count(*) AS number FROM stripe_reports GROUP BY state",
}
