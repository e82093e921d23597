"""Endpoints that webhooks go out to: a customer's, or the operator's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of `webhook_endpoints`. Without a `user_id` it is the operator's, and hears of all customers."""

    id: UUID
    user_id: str | None
    url: str
    secret: str = field(repr=False)
    kinds: Sequence[str] | None
    created_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery to an endpoint."""

    at: datetime
    kind: str
    user_id: str | None
    message_id: UUID
    attempt: int
    outcome: str
    status: int | None
    milliseconds: int
    detail: str | None


_COLUMNS = "id, user_id, url, secret, kinds, created_at, disabled_at, disabled_reason"


def insert_endpoint(connection: Connection, endpoint: Endpoint) -> None:
    """Store a new endpoint."""
    change(
        connection,
        """
        INSERT INTO webhook_endpoints (id, user_id, url, secret, kinds, created_at)
        VALUES (:id, :user, :url, :secret, :kinds, :at)
        """,
        id=endpoint.id,
        user=endpoint.user_id,
        url=endpoint.url,
        secret=endpoint.secret,
        kinds=None if endpoint.kinds is None else list(endpoint.kinds),
        at=endpoint.created_at,
    )


def find_endpoint(connection: Connection, endpoint_id: UUID) -> Endpoint | None:
    """The endpoint of this id, removed ones too."""
    row = first_row(connection, f"SELECT {_COLUMNS} FROM webhook_endpoints WHERE id = :id", id=endpoint_id)  # noqa: S608 - constant
    return None if row is None else Endpoint(**row)


def list_endpoints(connection: Connection, user_id: str | None = None) -> list[Endpoint]:
    """All endpoints that are in use or were disabled, or one customer's, oldest first."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM webhook_endpoints
        WHERE CAST(:user AS text) IS NULL OR user_id = :user ORDER BY created_at, id
        """,  # noqa: S608 - put together from constants
        user=user_id,
    )
    return [Endpoint(**row) for row in rows]


def disable_endpoint(connection: Connection, endpoint_id: UUID, reason: str, now: datetime) -> bool:
    """Send nothing there any more, and drop what waits for it; False where that was so already."""
    disabled = change(
        connection,
        "UPDATE webhook_endpoints SET disabled_at = :now, disabled_reason = :reason WHERE id = :id AND disabled_at IS NULL",
        id=endpoint_id,
        now=now,
        reason=reason,
    )
    change(
        connection,
        """
        UPDATE notice_deliveries SET state = 'dropped', last_error = 'its endpoint was removed'
        WHERE channel = 'webhook' AND target = CAST(:id AS text) AND state IN ('pending', 'parked')
        """,
        id=str(endpoint_id),
    )
    return disabled == 1


def attempts_at(connection: Connection, endpoint_id: UUID, limit: int) -> list[Attempt]:
    """The newest attempts at an endpoint, oldest of them first."""
    rows = all_rows(
        connection,
        """
        SELECT a.at, n.kind, n.user_id, n.id AS message_id, a.attempt, a.outcome, a.status, a.milliseconds, a.detail
        FROM notice_deliveries AS d
        JOIN notices AS n ON n.id = d.notice_id JOIN notice_attempts AS a ON a.delivery_id = d.id
        WHERE d.channel = 'webhook' AND d.target = :target ORDER BY a.at DESC, a.attempt DESC LIMIT :limit
        """,
        target=str(endpoint_id),
        limit=limit,
    )
    return [Attempt(**row) for row in reversed(rows)]
