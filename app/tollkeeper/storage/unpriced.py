"""Usage that has no price: found, and handed over to the next revision of its period once it has one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan_part import PlanPart
from tollkeeper.domain.usage import Totals
from tollkeeper.storage.database import all_rows, change
from tollkeeper.storage.periods import StoredPeriod
from tollkeeper.storage.plan_parts import plan_parts_to_json
from tollkeeper.storage.totals import Sums, totals_to_json


@dataclass(frozen=True, slots=True)
class UnpricedUsage:
    """What one customer used of one model in one period without a price for it."""

    user_id: str
    period_start: datetime
    period_end: datetime
    status: str
    plan_id: str
    model_id: str
    events: int
    tokens: int


def unpriced_usage(connection: Connection) -> list[UnpricedUsage]:
    """All usage that is flagged as unpriced, by customer, period and model; tokens are those of the flagged events."""
    rows = all_rows(
        connection,
        """
        SELECT u.user_id, u.period_start, u.period_end, u.status, u.plan_id, e.model_id,
               sum(CASE WHEN e.reverses IS NULL THEN 1 ELSE -1 END) AS events,
               sum(CAST(e.tokens_in AS numeric) + e.tokens_out) AS tokens
        FROM usage_events AS e
        JOIN usage_periods AS u ON u.user_id = e.user_id
             AND e."timestamp" >= u.period_start AND e."timestamp" < u.period_end
        WHERE e.unpriced
        GROUP BY u.user_id, u.period_start, e.model_id HAVING sum(CASE WHEN e.reverses IS NULL THEN 1 ELSE -1 END) > 0
        ORDER BY u.user_id, u.period_start, e.model_id
        """,
    )
    return [UnpricedUsage(**{**row, "tokens": int(row["tokens"])}) for row in rows]


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
