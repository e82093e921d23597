"""Parked periods: set aside by the close, found by a person, and let pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, first_row


@dataclass(frozen=True, slots=True)
class ParkedPeriod:
    """A period that waits for a person. `spent` is its usage as rated so far, in minor units."""

    user_id: str
    period_start: datetime
    period_end: datetime
    currency: str
    spent: int
    parked_reason: str


def parked_periods(connection: Connection) -> list[ParkedPeriod]:
    """All of them, the oldest first."""
    rows = all_rows(
        connection,
        """
        SELECT user_id, period_start, period_end, currency, spent, coalesce(parked_reason, '') AS parked_reason
        FROM usage_periods WHERE status = 'parked' ORDER BY period_start, user_id
        """,
    )
    return [ParkedPeriod(**row) for row in rows]


def release_period(connection: Connection, user_id: str, period_start: datetime, now: datetime) -> str | None:
    """Let the close take up a parked period again; what it was parked for, or None where it is not parked."""
    row = first_row(
        connection,
        """
        WITH parked AS (
            SELECT user_id, period_start, coalesce(parked_reason, '') AS why FROM usage_periods
            WHERE user_id = :user AND period_start = :start AND status = 'parked' FOR UPDATE
        )
        UPDATE usage_periods AS u
        SET status = 'open', parked_reason = NULL, released_at = :now
        FROM parked WHERE u.user_id = parked.user_id AND u.period_start = parked.period_start RETURNING parked.why
        """,
        user=user_id,
        start=period_start,
        now=now,
    )
    return None if row is None else row["why"]
