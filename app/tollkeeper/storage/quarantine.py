"""Quarantine: rows of usage that nobody could be charged for, with what they said and why they were refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID, uuid5

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change

Source: TypeAlias = Literal["import", "journal"]
QuarantineState: TypeAlias = Literal["waiting", "accepted", "dropped"]

_ROWS = UUID("d0a7a0ce-6d37-4c6b-9b3a-0f5a3a1b9e72")
MOST_REASON = 500


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was refused: `payload` is a line of JSON where it could be read, else what stood there."""

    source: Source
    payload: str
    reason: str
    event_id: str | None = None
    user_id: str | None = None

    @property
    def id(self) -> UUID:
        """The same for the same row, so that keeping it is repeatable."""
        return uuid5(_ROWS, f"{self.source} {_storable(self.payload)}")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row of `usage_quarantine`."""

    id: UUID
    source: Source
    payload: str
    event_id: str | None
    user_id: str | None
    reason: str
    state: QuarantineState
    attempts: int
    created_at: datetime
    tried_at: datetime


def keep_refused(connection: Connection, rows: Iterable[Refused], now: datetime) -> None:
    """Keep rows; one that is there already was tried once more, and what a person has dropped stays dropped."""
    change(
        connection,
        """
        INSERT INTO usage_quarantine (id, source, payload, event_id, user_id, reason, created_at, tried_at)
        SELECT DISTINCT ON (r.id) r.id, r.source, r.payload, r.event_id, r.user_id, r.reason, :now, :now
        FROM json_to_recordset(CAST(:rows AS json)) AS r(
            id uuid, source text, payload text, event_id text, user_id text, reason text)
        ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, tried_at = excluded.tried_at,
            attempts = usage_quarantine.attempts + 1 WHERE usage_quarantine.state = 'waiting'
        """,
        now=now,
        rows=json.dumps(
            [
                {
                    "id": str(row.id),
                    "source": row.source,
                    "payload": _storable(row.payload),
                    "event_id": None if row.event_id is None else _storable(row.event_id)[:255],
                    "user_id": None if row.user_id is None else _storable(row.user_id)[:255],
                    "reason": _storable(row.reason)[:MOST_REASON],
                }
                for row in rows
            ]
        ),
    )


def quarantined(
    connection: Connection,
    *,
    ids: Collection[UUID] | None = None,
    everything: bool = False,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 500,
) -> list[Quarantined]:
    """The next rows, oldest first, after a place: those that wait, or all; only some where `ids` are given."""
    rows = all_rows(
        connection,
        f"""
        SELECT id, source, payload, event_id, user_id, reason, state, attempts, created_at, tried_at FROM usage_quarantine
        WHERE {"true" if everything else "state = 'waiting'"}
          AND (CAST(:ids AS uuid[]) IS NULL OR id = ANY(:ids))
          AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) > (:at, CAST(:after AS uuid)))
        ORDER BY created_at, id LIMIT :limit
        """,  # noqa: S608 - put together from constants
        ids=None if ids is None else list(ids),
        at=None if after is None else after[0],
        after=None if after is None else after[1],
        limit=limit,
    )
    return [Quarantined(**row) for row in rows]


def settle_quarantined(connection: Connection, ids: Collection[UUID], state: QuarantineState, now: datetime) -> int:
    """End the waiting of rows; how many still waited."""
    return change(
        connection,
        """
        UPDATE usage_quarantine SET state = :state, tried_at = :now WHERE id = ANY(:ids) AND state = 'waiting'
        """,
        ids=list(ids),
        state=state,
        now=now,
    )


def _storable(text: str) -> str:
    """What a text column takes."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
