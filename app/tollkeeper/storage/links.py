"""Customers who are to be made at Stripe, each once: a row is claimed before a call is made, and says what was tried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row

LinkState: TypeAlias = Literal["pending", "sending", "linked", "refused"]


@dataclass(frozen=True, slots=True)
class Link:
    """One customer's row. `email` is as it was when the row was written: every attempt has to say the same."""

    user_id: str
    email: str | None
    state: LinkState
    key_attempt: int
    attempts: int
    first_sent_at: datetime | None


def note_unlinked(connection: Connection, collect: str, now: datetime, limit: int) -> int:
    """A row for customers whom Stripe is to bill and does not know; how many. `collect` is for plans that do not say.

    Who was refused is tried again with another address.
    """
    change(
        connection,
        """
        UPDATE stripe_links AS l SET state = 'pending', email = c.email, next_attempt_at = :now FROM customers AS c
        WHERE c.user_id = l.user_id AND l.state = 'refused' AND l.email IS DISTINCT FROM c.email
        """,
        now=now,
    )
    return change(
        connection,
        """
        INSERT INTO stripe_links (user_id, email, next_attempt_at, created_at)
        SELECT c.user_id, c.email, :now, :now FROM customers AS c JOIN plans AS p ON p.id = c.plan_id
        WHERE c.stripe_customer_id IS NULL AND c.status <> 'closed' AND coalesce(p.collect, :collect) <> 'off'
          AND p.collector IS DISTINCT FROM 'paystack'
          AND NOT EXISTS (SELECT FROM stripe_links AS l WHERE l.user_id = c.user_id)
        LIMIT :limit ON CONFLICT (user_id) DO NOTHING
        """,
        collect=collect,
        now=now,
        limit=limit,
    )


def want_link(connection: Connection, user_id: str, now: datetime) -> None:
    """A row for one customer, whatever their plan."""
    change(
        connection,
        "INSERT INTO stripe_links (user_id, email, next_attempt_at, created_at) "
        "SELECT user_id, email, :now, :now FROM customers WHERE user_id = :user ON CONFLICT (user_id) DO NOTHING",
        user=user_id,
        now=now,
    )


def due_links(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Who is to be made now, those first who wait longest."""
    rows = all_rows(
        connection,
        "SELECT user_id FROM stripe_links WHERE state IN ('pending', 'sending') AND next_attempt_at <= :now "
        "ORDER BY next_attempt_at LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [row["user_id"] for row in rows]


def claim_link(
    connection: Connection, user_id: str, now: datetime, lease_until: datetime, *, insist: bool
) -> Link | None:
    """Take a row, and write down that a call is about to be made; the row as it was. None where it is somebody else's turn.

    `insist` does not wait for the next attempt's time, and tries what was refused again; a call under way is left alone.
    """
    row = first_row(
        connection,
        """
        SELECT user_id, email, state, key_attempt, attempts, first_sent_at FROM stripe_links
        WHERE user_id = :user AND (
            (state IN ('pending', 'sending') AND next_attempt_at <= :now) OR (:insist AND state IN ('pending', 'refused')))
        FOR UPDATE SKIP LOCKED
        """,
        user=user_id,
        now=now,
        insist=insist,
    )
    if row is None:
        return None
    change(
        connection,
        "UPDATE stripe_links SET state = 'sending', attempts = attempts + 1, next_attempt_at = :until, "
        "first_sent_at = coalesce(first_sent_at, :now) WHERE user_id = :user",
        user=user_id,
        now=now,
        until=lease_until,
    )
    return Link(**row)


def save_link(
    connection: Connection,
    user_id: str,
    state: LinkState,
    next_attempt_at: datetime,
    *,
    key_attempt: int,
    error: str | None = None,
) -> None:
    """Write down what came of the call."""
    change(
        connection,
        "UPDATE stripe_links SET state = :state, next_attempt_at = :at, key_attempt = :key_attempt, last_error = :error "
        "WHERE user_id = :user AND state = 'sending'",
        user=user_id,
        state=state,
        at=next_attempt_at,
        key_attempt=key_attempt,
        error=error,
    )


def name_stripe_customer(connection: Connection, user_id: str, stripe_customer_id: str) -> bool:
    """Give a customer their name at Stripe; False where they have another one by now."""
    given = change(
        connection,
        "UPDATE customers SET stripe_customer_id = :id WHERE user_id = :user "
        "AND (stripe_customer_id IS NULL OR stripe_customer_id = :id)",
        user=user_id,
        id=stripe_customer_id,
    )
    return given == 1
