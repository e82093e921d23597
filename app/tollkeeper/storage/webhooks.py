"""Webhook events: stored once under their provider's id before anything is made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row

Provider: TypeAlias = Literal["stripe", "paystack"]
WebhookState: TypeAlias = Literal["pending", "applied", "ignored", "failed"]


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """An event as it came, and how often it was tried to make something of it."""

    provider: Provider
    event_id: str
    type: str
    payload: dict[str, Any]
    received_at: datetime
    attempts: int


def insert_webhook(
    connection: Connection, provider: Provider, event_id: str, event_type: str, payload: dict[str, Any], now: datetime
) -> bool:
    """Store an event; False where it is there already."""
    stored = change(
        connection,
        """
        INSERT INTO webhook_events (provider, event_id, type, payload, received_at)
        VALUES (:provider, :event_id, :type, CAST(:payload AS jsonb), :now) ON CONFLICT (provider, event_id) DO NOTHING
        """,
        provider=provider,
        event_id=event_id,
        type=event_type,
        payload=json.dumps(payload),
        now=now,
    )
    return stored == 1


def claim_webhook(connection: Connection, provider: Provider, event_id: str) -> StoredWebhook | None:
    """Lock an event that nothing was made of yet; None where somebody else has it, or is done with it."""
    row = first_row(
        connection,
        """
        SELECT provider, event_id, type, payload, received_at, attempts FROM webhook_events
        WHERE provider = :provider AND event_id = :event_id AND state = 'pending' FOR UPDATE SKIP LOCKED
        """,
        provider=provider,
        event_id=event_id,
    )
    return None if row is None else StoredWebhook(**row)


def due_webhooks(connection: Connection, now: datetime, limit: int) -> list[tuple[Provider, str]]:
    """Events to try again, oldest first: twice as long after each attempt, from half a minute up to every hour."""
    rows = all_rows(
        connection,
        """
        SELECT provider, event_id FROM webhook_events
        WHERE state = 'pending' AND :now >= received_at +
            CASE WHEN attempts = 0 THEN interval '0' WHEN attempts < 7 THEN interval '15 seconds' * power(2, attempts)
                 ELSE interval '1 hour' * (attempts - 6) END
        ORDER BY received_at LIMIT :limit
        """,
        now=now,
        limit=limit,
    )
    return [(row["provider"], row["event_id"]) for row in rows]


def save_webhook(
    connection: Connection,
    provider: Provider,
    event_id: str,
    state: WebhookState,
    now: datetime,
    error: str | None = None,
) -> None:
    """Store what was made of an event, or why not yet."""
    change(
        connection,
        """
        UPDATE webhook_events
        SET state = :state, attempts = attempts + 1, last_error = :error,
            applied_at = CASE WHEN :state = 'applied' THEN CAST(:now AS timestamptz) END
        WHERE provider = :provider AND event_id = :event_id AND state = 'pending'
        """,
        provider=provider,
        event_id=event_id,
        state=state,
        error=error,
        now=now,
    )


def is_stripe_customer(connection: Connection, stripe_customer_id: str) -> bool:
    """Whether a customer of Stripe's is one of ours."""
    return (
        first_row(connection, "SELECT 1 AS found FROM customers WHERE stripe_customer_id = :id", id=stripe_customer_id)
        is not None
    )
