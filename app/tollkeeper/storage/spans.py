"""What cuts a customer's periods: the end of a trial, and the day that the customer left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import change, first_row


@dataclass(frozen=True, slots=True)
class Span:
    """Until when the trial runs, and when the customer left; None for what there is not."""

    trial_end: datetime | None = None
    closed_at: datetime | None = None


def span_of(connection: Connection, user_id: str) -> Span:
    """What cuts the customer's periods."""
    row = first_row(connection, "SELECT trial_end, closed_at FROM customers WHERE user_id = :user", user=user_id)
    return Span() if row is None else Span(**row)


def save_trial_end(connection: Connection, user_id: str, trial_end: datetime) -> None:
    """Remember until when the customer's trial runs."""
    change(connection, "UPDATE customers SET trial_end = :at WHERE user_id = :user", user=user_id, at=trial_end)


def refuse_requests(connection: Connection, user_id: str) -> None:
    """Let no request of a locked customer through any more."""
    change(connection, "UPDATE customers SET status = 'closed' WHERE user_id = :user", user=user_id)


def last_instant(connection: Connection, user_id: str, since: datetime) -> datetime | None:
    """The last thing that a customer did from an instant on: an event that is stored, or a request that still runs."""
    row = first_row(
        connection,
        """
        SELECT greatest(
            (SELECT max("timestamp") FROM usage_events WHERE user_id = :user AND "timestamp" >= :since),
            (SELECT max(started_at) FROM holds WHERE user_id = :user AND started_at >= :since)) AS at
        """,
        user=user_id,
        since=since,
    )
    return None if row is None else row["at"]


def end_period(connection: Connection, user_id: str, at: datetime) -> None:
    """Let the customer be gone from an instant on, and the period that it lies in end there."""
    change(connection, "UPDATE customers SET closed_at = :at WHERE user_id = :user", user=user_id, at=at)
    change(
        connection,
        """
        UPDATE usage_periods SET period_end = :at, version = version + 1
        WHERE user_id = :user AND period_start < :at AND period_end > :at
        """,
        user=user_id,
        at=at,
    )
