"""Reversals: rows of `usage_events` that take another one back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.usage import Usage
from tollkeeper.storage.database import change, first_row
from tollkeeper.storage.usage_json import usage_from_row


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as far as taking it back needs it."""

    id: UUID
    user_id: str
    timestamp: datetime
    billable: bool
    reverses: UUID | None
    usage: Usage


def stored_event(connection: Connection, event_id: UUID) -> StoredEvent | None:
    """The event of this id, in whichever month it is."""
    row = first_row(
        connection,
        """
        SELECT id, user_id, "timestamp", billable, reverses, model_id, tokens_in, tokens_out, cached_tokens_in,
               cache_write_tokens_in, reasoning_tokens_out, compute_minutes, units, parts
        FROM usage_events WHERE id = :id
        """,
        id=event_id,
    )
    if row is None:
        return None
    return StoredEvent(
        id=row["id"],
        user_id=row["user_id"],
        timestamp=row["timestamp"],
        billable=row["billable"],
        reverses=row["reverses"],
        usage=usage_from_row(row),
    )


def insert_reversal(connection: Connection, event_id: UUID, reversal_id: UUID, cost: Decimal, now: datetime) -> None:
    """Put the row that takes an event back beside it, in the revision that its period is at."""
    change(
        connection,
        """
        INSERT INTO usage_events (
            id, reverses, user_id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in,
            reasoning_tokens_out, compute_minutes, cost_units, method, path, request_id, estimated, complete, units,
            usage_state, unpriced, parts, revision, recorded_at)
        SELECT :reversal, e.id, e.user_id, e."timestamp", e.model_id, -e.tokens_in, -e.tokens_out, -e.cached_tokens_in,
            -e.cache_write_tokens_in, -e.reasoning_tokens_out, -e.compute_minutes, :cost, e.method, e.path, e.request_id,
            e.estimated, e.complete,
            (SELECT coalesce(jsonb_object_agg(key, -CAST(value AS numeric)), '{}') FROM jsonb_each_text(e.units)),
            e.usage_state, e.unpriced, e.parts, u.revision, :now
        FROM usage_events AS e JOIN usage_periods AS u
            ON u.user_id = e.user_id AND u.period_start <= e."timestamp" AND u.period_end > e."timestamp"
        WHERE e.id = :event
        """,
        reversal=reversal_id,
        event=event_id,
        cost=cost,
        now=now,
    )
