"""Usage that has no price: found, and handed over to the next revision of its period once it has one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan_part import PlanPart
from tollkeeper.domain.usage import Totals, Usage
from tollkeeper.storage.database import all_rows, change, first_row, load_json
from tollkeeper.storage.periods import StoredPeriod
from tollkeeper.storage.plan_parts import plan_parts_to_json
from tollkeeper.storage.totals import Sums, totals_to_json
from tollkeeper.storage.usage_json import parts_from_json


@dataclass(frozen=True, slots=True)
class UnpricedUsage:
    """What one customer used of one model in one period, or one plan's part of it, without a price for it."""

    user_id: str
    period_start: datetime
    period_end: datetime
    status: str
    plan_id: str
    plan_version: int
    model_id: str
    events: int
    tokens: int


@dataclass(frozen=True, slots=True)
class UnpricedCount:
    """How many events wait for a price, and how many customers they are of; what was taken back does not wait."""

    events: int
    customers: int


# Of several plans in a period, the one that was in force.
_FLAGGED = """
SELECT u.user_id, u.period_start, u.period_end, u.status, coalesce(p.plan_id, u.plan_id) AS plan_id,
       coalesce(p.plan_version, u.plan_version) AS plan_version, {columns}
FROM usage_events AS e
JOIN usage_periods AS u ON u.user_id = e.user_id
     AND e."timestamp" >= u.period_start AND e."timestamp" < u.period_end
LEFT JOIN LATERAL (
    SELECT r.plan_id, r.plan_version
    FROM jsonb_to_recordset(u.plan_parts) AS r(start timestamptz, plan_id text, plan_version int)
    WHERE r.start <= e."timestamp" ORDER BY r.start DESC LIMIT 1
) AS p ON true
WHERE e.unpriced AND e.parts IS {parts}
"""
_SIGN = "CASE WHEN e.reverses IS NULL THEN 1 ELSE -1 END"


def count_unpriced(connection: Connection) -> UnpricedCount:
    """How much waits for a price in all; an index has just these events."""
    row = first_row(
        connection,
        f"""
        SELECT coalesce(sum(n), 0) AS events, count(*) AS customers
        FROM (SELECT sum({_SIGN}) AS n FROM usage_events AS e WHERE e.unpriced GROUP BY e.user_id) AS waiting
        WHERE n > 0
        """,  # noqa: S608 - put together from constants
    )
    assert row is not None
    return UnpricedCount(int(row["events"]), row["customers"])


def unpriced_usage(connection: Connection) -> list[UnpricedUsage]:
    """Flagged usage of requests to a single model, by customer, period, plan and model."""
    columns = f"""e.model_id, sum({_SIGN}) AS events, sum(CAST(e.tokens_in AS numeric) + e.tokens_out) AS tokens"""
    rows = all_rows(
        connection,
        _FLAGGED.format(columns=columns, parts="NULL")
        + f"""
        GROUP BY u.user_id, u.period_start, 5, 6, e.model_id HAVING sum({_SIGN}) > 0
        ORDER BY u.user_id, u.period_start, e.model_id
        """,
    )
    return [UnpricedUsage(**{**row, "events": int(row["events"]), "tokens": int(row["tokens"])}) for row in rows]


def unpriced_requests(connection: Connection) -> list[tuple[UnpricedUsage, tuple[Usage, ...]]]:
    """Flagged requests to several models, one by one with what each model used; below zero for what was taken back."""
    rows = all_rows(
        connection,
        _FLAGGED.format(columns=f"e.model_id, {_SIGN} AS events, e.parts::text AS parts", parts="NOT NULL"),
    )
    found = []
    for row in rows:
        parts = parts_from_json(load_json(row.pop("parts")))
        found.append((UnpricedUsage(**row, tokens=0), parts))
    return found


def hand_over(connection: Connection, user_id: str, span: Period, revision: int, models: Sequence[str]) -> None:
    """Let the flagged events of some models in a span of a closed period belong to a revision, as if they had come late."""
    change(
        connection,
        """
        UPDATE usage_events AS e SET revision = :revision
        WHERE e.user_id = :user AND e."timestamp" >= :start AND e."timestamp" < :end AND e.unpriced
          AND (e.model_id = ANY(:models)
               OR EXISTS (SELECT FROM jsonb_array_elements(e.parts) AS part WHERE part ->> 'model_id' = ANY(:models)))
        """,
        user=user_id,
        start=span.start,
        end=span.end,
        revision=revision,
        models=list(models),
    )


def save_billed(connection: Connection, stored: StoredPeriod, billed: Sequence[Totals]) -> None:
    """Store what of a closed period, or of each of its parts, has been billed."""
    whole = Sums()
    for totals in billed:
        whole.add(totals)
    parts = [
        PlanPart(part.period.start, part.plan_id, part.plan_version, part.share, totals)
        for part, totals in zip(stored.parts, billed, strict=True)
    ]
    change(
        connection,
        """
        UPDATE usage_periods
        SET billed_totals = CAST(:billed AS jsonb), billed_plan_parts = nullif(CAST(:parts AS jsonb), 'null')
        WHERE user_id = :user AND period_start = :start AND status = 'closed'
        """,
        billed=json.dumps(totals_to_json(whole)),
        parts=json.dumps(plan_parts_to_json(parts)),
        user=stored.user_id,
        start=stored.period.start,
    )
