"""Events as a customer may read them, a page at a time in the order of their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.storage.database import all_rows


@dataclass(frozen=True, slots=True)
class EventRow:
    """One metered request. `cost_units` is in minor units, unrounded."""

    id: UUID
    timestamp: datetime
    model_id: str
    tokens_in: int
    tokens_out: int
    cached_tokens_in: int
    cache_write_tokens_in: int
    reasoning_tokens_out: int
    compute_minutes: Decimal
    units: dict[str, Any]
    cost_units: Decimal
    status_code: int | None
    method: str | None
    path: str | None
    request_id: str | None
    estimated: bool
    complete: bool
    reverses: UUID | None
    """The event that this row takes back; its counts are below zero then."""


def events_page(
    connection: Connection,
    user_id: str,
    period: Period,
    revisions: Sequence[int] | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[EventRow]:
    """The customer's next billable events of a span after one of them; of some revisions alone where they are named."""
    rows = all_rows(
        connection,
        """
        SELECT id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in,
               reasoning_tokens_out, compute_minutes, units, cost_units, status_code, method, path, request_id, estimated,
               complete, reverses
        FROM usage_events
        WHERE user_id = :user AND "timestamp" >= :from AND "timestamp" < :end AND billable
          AND (CAST(:revisions AS int[]) IS NULL OR revision = ANY(CAST(:revisions AS int[])))
          AND (CAST(:after AS uuid) IS NULL OR ("timestamp", id) > (:from, CAST(:after AS uuid)))
        ORDER BY "timestamp", id LIMIT :limit
        """,
        user=user_id,
        **{"from": period.start if after is None else after[0]},
        end=period.end,
        revisions=None if revisions is None else list(revisions),
        after=None if after is None else after[1],
        limit=limit,
    )
    return [EventRow(**row) for row in rows]
