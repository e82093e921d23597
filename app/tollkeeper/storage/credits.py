"""Credits: grants, and the ledger whose entries are only ever added. A trigger keeps each balance, and never below zero."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change

EntryKind: TypeAlias = Literal["grant", "renewal", "draw", "expiry", "return"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrant:
    """A row of `credit_grants`. `renewed_for` is the start of the last period that its amount came with."""

    id: UUID
    user_id: str
    unit: str
    amount: int
    balance: int = 0
    priority: int
    granted_at: datetime
    expires_at: datetime | None
    every: Literal["month"] | None
    carries_over: bool
    at_most: int | None
    renewed_for: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a grant's ledger: above zero what came, below zero what went."""

    grant_id: UUID
    kind: EntryKind
    amount: int
    period_start: datetime
    invoice_id: UUID | None = None


def insert_grant(connection: Connection, grant: StoredGrant) -> None:
    """Store a grant with the entry that fills it."""
    change(
        connection,
        """
        INSERT INTO credit_grants
            (id, user_id, unit, amount, priority, granted_at, expires_at, every, carries_over, at_most)
        VALUES (:id, :user_id, :unit, :amount, :priority, :granted_at, :expires_at, :every, :carries_over, :at_most)
        """,
        id=grant.id,
        user_id=grant.user_id,
        unit=grant.unit,
        amount=grant.amount,
        priority=grant.priority,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
        every=grant.every,
        carries_over=grant.carries_over,
        at_most=grant.at_most,
    )
    insert_entries(connection, [Entry(grant.id, "grant", grant.amount, grant.renewed_for)], grant.granted_at)


def insert_entries(connection: Connection, entries: Iterable[Entry], now: datetime) -> None:
    """Add entries to the ledger in this order; what would overdraw a grant is refused by the table."""
    change(
        connection,
        """
        INSERT INTO credit_entries (grant_id, kind, amount, period_start, invoice_id, created_at)
        SELECT r.grant_id, r.kind, r.amount, r.period_start, r.invoice_id, :now
        FROM ROWS FROM (json_to_recordset(CAST(:rows AS json)) AS (
            grant_id uuid, kind text, amount bigint, period_start timestamptz, invoice_id uuid)) WITH ORDINALITY AS r
        ORDER BY r.ordinality
        """,
        now=now,
        rows=json.dumps(
            [
                {
                    "grant_id": str(entry.grant_id),
                    "kind": entry.kind,
                    "amount": entry.amount,
                    "period_start": entry.period_start.isoformat(),
                    "invoice_id": None if entry.invoice_id is None else str(entry.invoice_id),
                }
                for entry in entries
            ]
        ),
    )


def return_draws(connection: Connection, invoice_id: UUID, now: datetime) -> None:
    """Give back what an invoice drew."""
    change(
        connection,
        """
        INSERT INTO credit_entries (grant_id, kind, amount, period_start, invoice_id, created_at)
        SELECT grant_id, 'return', -amount, period_start, invoice_id, :now FROM credit_entries
        WHERE invoice_id = :invoice AND kind = 'draw' ORDER BY position
        """,
        invoice=invoice_id,
        now=now,
    )


def lock_grants(connection: Connection, users: Sequence[str]) -> None:
    """Wait until nobody else draws on these customers' grants; held until the transaction ends."""
    change(
        connection,
        "SELECT FROM credit_grants WHERE user_id = ANY(:users) ORDER BY id FOR UPDATE",
        users=sorted(users),
    )


def grants_of(connection: Connection, users: Sequence[str]) -> list[StoredGrant]:
    """The customers' grants in the order in which they were made, those that are used up too."""
    rows = all_rows(
        connection,
        """
        SELECT g.id, g.user_id, g.unit, g.amount, g.balance, g.priority, g.granted_at, g.expires_at, g.every,
               g.carries_over, g.at_most,
               (SELECT max(e.period_start) FROM credit_entries AS e
                WHERE e.grant_id = g.id AND e.kind IN ('grant', 'renewal')) AS renewed_for
        FROM credit_grants AS g WHERE g.user_id = ANY(:users)
        ORDER BY (SELECT min(e.position) FROM credit_entries AS e WHERE e.grant_id = g.id)
        """,
        users=list(users),
    )
    return [StoredGrant(**row) for row in rows]


def expire_grants(connection: Connection, before: datetime, now: datetime, limit: int) -> list[tuple[UUID, str, int]]:
    """Take out what is left of grants that expired before an instant and that no open period can draw on any more.

    Each with its customer and how much that was; at most `limit`, and none that somebody else is drawing on.
    """
    rows = all_rows(
        connection,
        """
        WITH due AS MATERIALIZED (
            SELECT g.id, g.user_id, g.balance, g.expires_at FROM credit_grants AS g
            WHERE g.balance > 0 AND g.expires_at <= :before AND NOT EXISTS (
                SELECT FROM usage_periods AS u
                WHERE u.user_id = g.user_id AND u.period_start < g.expires_at AND u.billed_totals IS NULL)
            ORDER BY g.id LIMIT :limit FOR UPDATE OF g SKIP LOCKED
        ), taken AS (
            INSERT INTO credit_entries (grant_id, kind, amount, period_start, created_at)
            SELECT id, 'expiry', -balance, expires_at, :now FROM due
        )
        SELECT id, user_id, balance FROM due
        """,
        before=before,
        now=now,
        limit=limit,
    )
    return [(row["id"], row["user_id"], row["balance"]) for row in rows]
