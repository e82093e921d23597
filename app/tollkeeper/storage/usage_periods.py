"""Running totals of customers by period, as people look at them and as a new price finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan_part import PlanPart, spans
from tollkeeper.domain.usage import Usage
from tollkeeper.storage.database import all_rows, change, first_row
from tollkeeper.storage.plan_parts import plan_parts_from_json, plan_parts_to_json
from tollkeeper.storage.totals import Sums, totals_from_json, totals_to_json
from tollkeeper.storage.usage_json import usage_from_row

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class UsagePeriod:
    """A row of `usage_periods`. `spent` is the rounded bill, `cost_units` the unrounded one, in minor units."""

    user_id: str
    period_start: datetime
    period_end: datetime
    plan_id: str
    plan_version: int
    currency: str
    events: int
    tokens: int
    totals: Sums
    cost_units: Decimal
    spent: int
    status: str
    plan_parts: tuple[PlanPart, ...] = ()

    @property
    def parts(self) -> tuple[PlanPart, ...]:
        """The plans of the period by start: one, unless it changes inside."""
        return self.plan_parts or (PlanPart(self.period_start, self.plan_id, self.plan_version, totals=self.totals),)

    @property
    def spans(self) -> list[Period]:
        """From when to when each of the plans is in force."""
        return spans([part.start for part in self.parts], self.period_end)


@dataclass(frozen=True, slots=True)
class StoredUsage:
    """What an event used, with the key of its row."""

    id: UUID
    timestamp: datetime
    usage: Usage
    taken_back: bool = False
    """The row takes so much usage back."""


@dataclass(frozen=True, slots=True)
class EventCost:
    """What an event costs, in minor units, and whether some of it has no price."""

    id: UUID
    timestamp: datetime
    cost_units: Decimal
    unpriced: bool


def recent_periods(connection: Connection, user_id: str, limit: int) -> list[UsagePeriod]:
    """The customer's newest periods in which something was metered, newest first."""
    rows = all_rows(
        connection,
        """
        SELECT user_id, period_start, period_end, plan_id, plan_version, currency, events, tokens, totals, cost_units,
               spent, status, plan_parts
        FROM usage_periods WHERE user_id = :user AND events > 0 ORDER BY period_start DESC LIMIT :limit
        """,
        user=user_id,
        limit=limit,
    )
    return [_period(row) for row in rows]


def period_at(connection: Connection, user_id: str, at: datetime) -> UsagePeriod | None:
    """The customer's period that an instant lies in; None where nothing was metered in it yet."""
    row = first_row(
        connection,
        """
        SELECT user_id, period_start, period_end, plan_id, plan_version, currency, events, tokens, totals, cost_units,
               spent, status, plan_parts
        FROM usage_periods WHERE user_id = :user AND period_start <= :at AND period_end > :at
        ORDER BY period_start DESC LIMIT 1
        """,
        user=user_id,
        at=at,
    )
    return None if row is None else _period(row)


def lock_period(connection: Connection, user_id: str, period_start: datetime) -> UsagePeriod | None:
    """Lock one period: nothing is stored for it until the transaction ends."""
    row = first_row(
        connection,
        """
        SELECT user_id, period_start, period_end, plan_id, plan_version, currency, events, tokens, totals, cost_units,
               spent, status, plan_parts
        FROM usage_periods WHERE user_id = :user AND period_start = :start FOR UPDATE
        """,
        user=user_id,
        start=period_start,
    )
    return None if row is None else _period(row)


def lock_period_at(connection: Connection, user_id: str, at: datetime) -> UsagePeriod | None:
    """Lock the period that an instant lies in, if anything is stored for it."""
    found = period_at(connection, user_id, at)
    return None if found is None else lock_period(connection, user_id, found.period_start)


def save_taken_back(
    connection: Connection,
    period: UsagePeriod,
    totals: Sums,
    parts: Sequence[PlanPart],
    *,
    tokens: int,
    cost_units: Decimal,
    spent: int,
) -> None:
    """Store a locked period after one event was taken off: `tokens` and `cost_units` are what changes, the others what is left."""
    change(
        connection,
        """
        UPDATE usage_periods
        SET totals = CAST(:totals AS jsonb), plan_parts = nullif(CAST(:plan_parts AS jsonb), 'null'), events = events - 1,
            tokens = tokens - :tokens, cost_units = cost_units + :cost_units, spent = :spent, version = version + 1
        WHERE user_id = :user AND period_start = :start
        """,
        totals=json.dumps(totals_to_json(totals)),
        plan_parts=json.dumps(plan_parts_to_json(parts)),
        tokens=tokens,
        cost_units=cost_units,
        spent=spent,
        user=period.user_id,
        start=period.period_start,
    )


def next_open_period(
    connection: Connection,
    plan_id: str,
    version: int,
    applied_at: datetime,
    after: tuple[str, datetime] | None,
    user_id: str | None = None,
) -> UsagePeriod | None:
    """Lock the next period, by customer and start, that is open past `applied_at` with the plan at an older version; or None."""
    row = first_row(
        connection,
        """
        SELECT user_id, period_start, period_end, plan_id, plan_version, currency, events, tokens, totals, cost_units,
               spent, status, plan_parts
        FROM usage_periods
        WHERE (plan_id = :plan AND plan_version < :version
               OR EXISTS (SELECT FROM jsonb_array_elements(plan_parts) AS part
                          WHERE part ->> 'plan_id' = :plan AND CAST(part ->> 'plan_version' AS integer) < :version))
          AND period_end > :applied_at
          AND status = 'open' AND billed_totals IS NULL AND user_id = coalesce(CAST(:only AS text), user_id)
          AND (CAST(:user AS text) IS NULL OR (user_id, period_start) > (:user, CAST(:start AS timestamptz)))
        ORDER BY user_id, period_start LIMIT 1 FOR UPDATE
        """,
        plan=plan_id,
        version=version,
        applied_at=applied_at,
        only=user_id,
        user=None if after is None else after[0],
        start=None if after is None else after[1],
    )
    return None if row is None else _period(row)


def lock_periods_past(connection: Connection, user_id: str, at: datetime) -> list[UsagePeriod]:
    """Lock a customer's periods that end after an instant, oldest first."""
    rows = all_rows(
        connection,
        """
        SELECT user_id, period_start, period_end, plan_id, plan_version, currency, events, tokens, totals, cost_units,
               spent, status, plan_parts
        FROM usage_periods WHERE user_id = :user AND period_end > :at ORDER BY period_start FOR UPDATE
        """,
        user=user_id,
        at=at,
    )
    return [_period(row) for row in rows]


def save_rerated(
    connection: Connection, period: UsagePeriod, parts: Sequence[PlanPart], cost_units: Decimal, spent: int
) -> None:
    """Store the plans and the money of a locked period; the row itself names the last of the plans."""
    change(
        connection,
        """
        UPDATE usage_periods
        SET plan_id = :plan_id, plan_version = :plan_version, plan_parts = nullif(CAST(:plan_parts AS jsonb), 'null'),
            cost_units = :cost_units, spent = :spent, version = version + 1
        WHERE user_id = :user AND period_start = :start
        """,
        plan_id=parts[-1].plan_id,
        plan_version=parts[-1].plan_version,
        plan_parts=json.dumps(plan_parts_to_json(parts)),
        cost_units=cost_units,
        spent=spent,
        user=period.user_id,
        start=period.period_start,
    )


def charged_events(connection: Connection, period: UsagePeriod) -> Iterator[list[StoredUsage]]:
    """The period's billable events in the order in which they were stored, a page at a time."""
    result = connection.execute(
        text(
            """
            SELECT id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in,
                   reasoning_tokens_out, compute_minutes, units, parts, reverses
            FROM usage_events
            WHERE user_id = :user AND "timestamp" >= :start AND "timestamp" < :end AND billable
            ORDER BY recorded_at, reverses IS NOT NULL, "timestamp", id
            """
        ),
        {"user": period.user_id, "start": period.period_start, "end": period.period_end},
        execution_options={"yield_per": _PAGE},
    )
    for page in result.mappings().partitions():
        yield [_stored_usage(dict(row)) for row in page]


def save_costs(connection: Connection, costs: Sequence[EventCost]) -> None:
    """Store what events cost now; nothing else of an event ever changes."""
    change(
        connection,
        """
        UPDATE usage_events AS e SET cost_units = r.cost_units, unpriced = r.unpriced
        FROM json_to_recordset(CAST(:costs AS json)) AS r(
            id uuid, "timestamp" timestamptz, cost_units numeric, unpriced boolean)
        WHERE e.id = r.id AND e."timestamp" = r."timestamp"
        """,
        costs=json.dumps(
            [
                {
                    "id": str(cost.id),
                    "timestamp": cost.timestamp.isoformat(),
                    "cost_units": f"{cost.cost_units:f}",
                    "unpriced": cost.unpriced,
                }
                for cost in costs
            ]
        ),
    )


def _period(row: dict[str, Any]) -> UsagePeriod:
    parts = plan_parts_from_json(row.pop("plan_parts") or ())
    totals = totals_from_json(row["totals"])
    return UsagePeriod(**{**row, "tokens": int(row["tokens"]), "totals": totals}, plan_parts=parts)


def _stored_usage(row: dict[str, Any]) -> StoredUsage:
    return StoredUsage(row["id"], row["timestamp"], usage_from_row(row), taken_back=row["reverses"] is not None)
