"""What one customer's events of a span add up to by day or by month, to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from psycopg.errors import QueryCanceled
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from tollkeeper.domain.period import Period
from tollkeeper.storage.database import all_rows, change

Grain: TypeAlias = Literal["day", "month"]

PATIENCE_MS = 2_000
"""A picture is not worth more of the database's time than this."""


@dataclass(frozen=True, slots=True)
class UsageDay:
    """A day (or a month) in UTC on which something was used. `cost_units` is what it added to the bill, unrounded."""

    start: datetime
    requests: int
    tokens: int
    cost_units: Decimal


def usage_by_day(connection: Connection, user_id: str, period: Period, grain: Grain) -> list[UsageDay] | None:
    """The days of the period that have billable events, oldest first; None where adding them up takes too long.

    For the end of a transaction: what follows in it has as little time.
    """
    try:
        with connection.begin_nested():
            change(connection, f"SET LOCAL statement_timeout = {PATIENCE_MS}")
            rows = all_rows(
                connection,
                """
                SELECT date_trunc(:grain, "timestamp") AS start, sum(CASE WHEN reverses IS NULL THEN 1 ELSE -1 END) AS requests,
                       sum(tokens_in + tokens_out) AS tokens, sum(cost_units) AS cost_units
                FROM usage_events
                WHERE user_id = :user AND "timestamp" >= :start AND "timestamp" < :end AND billable
                GROUP BY 1 ORDER BY 1
                """,
                grain=grain,
                user=user_id,
                start=period.start,
                end=period.end,
            )
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            return None
        raise
    return [UsageDay(row["start"], row["requests"], int(row["tokens"]), row["cost_units"]) for row in rows]
