"""Quota notices: a row for each threshold that was crossed, written with the usage that crossed it, and sent once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.storage.database import change, first_row

AlertState: TypeAlias = Literal["pending", "sent", "failed", "no_address"]


@dataclass(frozen=True, slots=True)
class Alert:
    """A notice that waits to be sent, with all that it says. Money in minor units."""

    user_id: str
    period: Period
    threshold: int
    quota_tokens: int
    used_tokens: int
    attempts: int
    """How often it was tried, this time included."""
    email: str | None
    plan_name: str
    spent: int | None
    spend_cap: int | None
    currency: str
    upgrade_url: str | None


def claim_alert(connection: Connection, now: datetime, until: datetime) -> Alert | None:
    """Take the next notice that is due: nobody else takes it before `until`. None where nothing is due."""
    row = first_row(
        connection,
        """
        UPDATE quota_alerts AS a SET attempts = a.attempts + 1, next_attempt_at = :until
        FROM customers AS c JOIN plans AS p ON p.id = c.plan_id
        WHERE c.user_id = a.user_id AND (a.user_id, a.period_start, a.threshold) = (
            SELECT due.user_id, due.period_start, due.threshold FROM quota_alerts AS due
            WHERE due.state = 'pending' AND (due.next_attempt_at IS NULL OR due.next_attempt_at <= :now)
            ORDER BY due.next_attempt_at NULLS FIRST, due.created_at, due.threshold LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING a.user_id, a.period_start, a.period_end, a.threshold, a.quota_tokens, a.used_tokens, a.attempts, c.email,
            p.name AS plan_name, p.spend_cap, p.currency, p.upgrade_url,
            (SELECT u.spent FROM usage_periods AS u
             WHERE u.user_id = a.user_id AND u.period_start = a.period_start) AS spent
        """,
        now=now,
        until=until,
    )
    if row is None:
        return None
    period = Period(row.pop("period_start"), row.pop("period_end"))
    return Alert(period=period, used_tokens=int(row.pop("used_tokens")), **row)


def save_alert(
    connection: Connection,
    alert: Alert,
    state: AlertState,
    *,
    sent_at: datetime | None = None,
    next_attempt_at: datetime | None = None,
    error: str | None = None,
) -> None:
    """Store what became of a notice that this process has taken."""
    change(
        connection,
        """
        UPDATE quota_alerts SET state = :state, sent_at = :sent_at, next_attempt_at = :next_attempt_at, last_error = :error
        WHERE user_id = :user AND period_start = :start AND threshold = :threshold AND state = 'pending'
        """,
        state=state,
        sent_at=sent_at,
        next_attempt_at=next_attempt_at,
        error=error,
        user=alert.user_id,
        start=alert.period.start,
        threshold=alert.threshold,
    )
