"""What state the schema is in: its revision, its partitions, and whether its money adds up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, first_row
from tollkeeper.storage.partitions import create_partition_sql


def stored_revision(connection: Connection) -> str | None:
    """The newest migration that ran here; None where none did."""
    if not _one(connection, "SELECT to_regclass('tollkeeper_alembic_version') IS NOT NULL AS value"):
        return None
    found = _one(connection, "SELECT max(version_num) AS value FROM tollkeeper_alembic_version")
    return None if found is None else str(found)


def missing_partitions(connection: Connection, months: Sequence[datetime]) -> list[datetime]:
    """Those of the months that `usage_events` has no partition for."""
    names = [f"usage_events_{month:%Y_%m}" for month in months]
    statement = "SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NULL"
    rows = all_rows(connection, statement, names=names)
    missing = {row["name"] for row in rows}
    return [month for month, name in zip(months, names, strict=True) if name in missing]


def make_partitions(connection: Connection, months: Sequence[datetime]) -> None:
    """Make the partitions of these months."""
    for month in months:
        connection.exec_driver_sql(create_partition_sql(month))


def server_facts(connection: Connection) -> dict[str, Any]:
    """PostgreSQL's version, database, user and time."""
    row = first_row(
        connection,
        "SELECT current_setting('server_version') AS version, current_database() AS database, current_user AS role, "
        "clock_timestamp() AS time",
    )
    assert row is not None
    return row


def invoices_that_do_not_add_up(connection: Connection) -> list[str]:
    """Ids of invoices whose lines are not their total; at most ten."""
    rows = all_rows(
        connection,
        """
        SELECT i.id FROM invoices AS i
        LEFT JOIN (SELECT invoice_id, sum(amount) AS amount FROM invoice_line_items GROUP BY invoice_id) AS l
            ON l.invoice_id = i.id
        WHERE i.total_amount <> coalesce(l.amount, 0) ORDER BY i.created_at LIMIT 10
        """,
    )
    return [str(row["id"]) for row in rows]


def waiting_for_a_person(connection: Connection) -> dict[str, int]:
    """How much stands still until somebody looks at it, by what it is."""
    row = first_row(
        connection,
        """
        SELECT (SELECT count(*) FROM usage_periods WHERE status = 'parked') AS "parked periods",
               (SELECT count(*) FROM stripe_reports WHERE state = 'rejected') AS "rejected reports",
               (SELECT count(*) FROM collections WHERE state = 'parked') AS "invoices that nobody collects",
               (SELECT count(*) FROM invoices WHERE alarm IS NOT NULL) AS "invoices with an alarm",
               (SELECT count(*) FROM webhook_events WHERE state = 'failed') AS "failed webhook events",
               (SELECT count(*) FROM stripe_links WHERE state = 'refused') AS "customers whom Stripe refuses",
               (SELECT count(*) FROM notice_deliveries WHERE state = 'parked')
                   AS "notices given up (tollkeeper notices list --state parked)",
               (SELECT count(*) FROM customers WHERE email_refused_at IS NOT NULL)
                   AS "customers whose mail address refuses mail",
               (SELECT count(*) FROM usage_quarantine WHERE state = 'waiting')
                   AS "refused rows of usage (tollkeeper usage quarantine list)",
               (SELECT coalesce(sum(CASE WHEN reverses IS NULL THEN 1 ELSE -1 END), 0) FROM usage_events WHERE unpriced)
                   AS "events without a price (tollkeeper usage unpriced)"
        """,
    )
    assert row is not None
    return row


def _one(connection: Connection, statement: str) -> Any:
    row = first_row(connection, statement)
    return None if row is None else row["value"]
