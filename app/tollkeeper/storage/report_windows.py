"""Up to where the days or hours of open periods have been entered as reports."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row
from tollkeeper.storage.invoices import Collect
from tollkeeper.storage.periods import PeriodKey


def windows_due(connection: Connection, edge: datetime, collect: Collect, limit: int) -> list[PeriodKey]:
    """Open periods that go on past an edge and were not looked at up to it; `collect` is for plans that do not say."""
    rows = all_rows(
        connection,
        """
        SELECT u.user_id, u.period_start
        FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        LEFT JOIN report_windows AS w ON w.user_id = u.user_id AND w.period_start = u.period_start
        WHERE u.status = 'open' AND u.period_end > :edge AND coalesce(p.collect, :collect) = 'meters'
          AND coalesce(w.told_to, u.period_start) < :edge
        ORDER BY coalesce(w.told_to, u.period_start), u.user_id LIMIT :limit
        """,
        edge=edge,
        collect=collect,
        limit=limit,
    )
    return [(row["user_id"], row["period_start"]) for row in rows]


def lock_for_windows(connection: Connection, key: PeriodKey) -> datetime | None:
    """Lock the customer as the close does; up to where the period was looked at. None where somebody else has the customer."""
    if not all_rows(
        connection,
        "SELECT user_id FROM customers WHERE user_id = :user FOR NO KEY UPDATE SKIP LOCKED",
        user=key[0],
    ):
        return None
    row = first_row(
        connection,
        "SELECT told_to FROM report_windows WHERE user_id = :user AND period_start = :start",
        user=key[0],
        start=key[1],
    )
    told_to: datetime = key[1] if row is None else row["told_to"]
    return told_to


def save_told_to(connection: Connection, key: PeriodKey, told_to: datetime) -> None:
    """Remember up to where a period was looked at."""
    change(
        connection,
        """
        INSERT INTO report_windows (user_id, period_start, told_to) VALUES (:user, :start, :told_to)
        ON CONFLICT (user_id, period_start) DO UPDATE SET told_to = excluded.told_to
        """,
        user=key[0],
        start=key[1],
        told_to=told_to,
    )
