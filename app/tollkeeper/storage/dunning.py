"""Payments that failed and were not made good, and what they leave a customer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row

Access: TypeAlias = Literal["throttled", "suspended"]


def note_failure(connection: Connection, stripe_invoice_id: str, user_id: str, at: datetime, attempt: int) -> None:
    """An attempt to collect failed. The first one counts; one that is heard of after the invoice was settled changes nothing."""
    change(
        connection,
        """
        INSERT INTO payment_failures AS f (stripe_invoice_id, user_id, failed_at, attempts)
        VALUES (:invoice, :user, :at, :attempt)
        ON CONFLICT (stripe_invoice_id) DO UPDATE SET failed_at = least(f.failed_at, excluded.failed_at),
            attempts = greatest(f.attempts, excluded.attempts)
        """,
        invoice=stripe_invoice_id,
        user=user_id,
        at=at,
        attempt=attempt,
    )


def note_settled(connection: Connection, stripe_invoice_id: str, user_id: str, at: datetime) -> None:
    """An invoice was paid, or nobody wants it paid any more."""
    change(
        connection,
        """
        INSERT INTO payment_failures AS f (stripe_invoice_id, user_id, resolved_at) VALUES (:invoice, :user, :at)
        ON CONFLICT (stripe_invoice_id) DO UPDATE SET resolved_at = coalesce(f.resolved_at, excluded.resolved_at)
        """,
        invoice=stripe_invoice_id,
        user=user_id,
        at=at,
    )


def failures_noted(connection: Connection, stripe_invoice_id: str) -> int:
    """How many attempts to collect an invoice are known to have failed."""
    row = first_row(
        connection,
        "SELECT attempts FROM payment_failures WHERE stripe_invoice_id = :invoice",
        invoice=stripe_invoice_id,
    )
    return 0 if row is None else int(row["attempts"])


def failing_since(connection: Connection, user_id: str) -> datetime | None:
    """Since when a payment of the customer's has been failing; None where none is."""
    row = first_row(
        connection,
        "SELECT min(failed_at) AS at FROM payment_failures WHERE user_id = :user AND resolved_at IS NULL",
        user=user_id,
    )
    return None if row is None else row["at"]


def failing_customers(connection: Connection, failed_before: datetime, limit: int) -> list[str]:
    """Customers a payment of whom has been failing since before an instant and whose access says nothing of it yet."""
    rows = all_rows(
        connection,
        """
        SELECT DISTINCT f.user_id FROM payment_failures AS f
        JOIN customers AS c USING (user_id) JOIN plans AS p ON p.id = c.plan_id
        WHERE f.resolved_at IS NULL AND f.failed_at <= :before AND p.on_unpaid <> 'none'
          AND c.access IS DISTINCT FROM 'suspended'
          AND c.access IS DISTINCT FROM CASE p.on_unpaid WHEN 'throttle' THEN 'throttled' ELSE 'suspended' END
        ORDER BY f.user_id LIMIT :limit
        """,
        before=failed_before,
        limit=limit,
    )
    return [row["user_id"] for row in rows]


def customers_made_good(connection: Connection, limit: int) -> list[str]:
    """Customers whose access was narrowed although every failed payment is made good, and no subscription ended or stopped."""
    rows = all_rows(
        connection,
        """
        SELECT c.user_id FROM customers AS c
        WHERE c.access IS NOT NULL
          AND EXISTS (SELECT FROM payment_failures AS f WHERE f.user_id = c.user_id)
          AND NOT EXISTS (SELECT FROM payment_failures AS f WHERE f.user_id = c.user_id AND f.resolved_at IS NULL)
          AND NOT EXISTS (SELECT FROM subscriptions AS s WHERE s.user_id = c.user_id)
        ORDER BY c.user_id LIMIT :limit
        """,
        limit=limit,
    )
    return [row["user_id"] for row in rows]


def access_of(connection: Connection, user_id: str) -> Access | None:
    """What is left to a customer; None: everything. The row is locked."""
    row = first_row(connection, "SELECT access FROM customers WHERE user_id = :user FOR UPDATE", user=user_id)
    return None if row is None else row["access"]


def save_access(connection: Connection, user_id: str, access: Access | None) -> None:
    """In force at the next request."""
    change(connection, "UPDATE customers SET access = :access WHERE user_id = :user", user=user_id, access=access)


def user_of_stripe_customer(connection: Connection, stripe_customer_id: str) -> str | None:
    """Whom Stripe means."""
    row = first_row(connection, "SELECT user_id FROM customers WHERE stripe_customer_id = :id", id=stripe_customer_id)
    return None if row is None else str(row["user_id"])
