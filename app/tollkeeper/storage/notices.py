"""Notices and their deliveries: written with the fact, spread to everybody concerned, taken by one sender at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.delivery import ChannelName, Outcome
from tollkeeper.domain.notice import OPERATOR_ONLY, Notice
from tollkeeper.storage.database import all_rows, change, first_row

DeliveryState: TypeAlias = Literal["pending", "sent", "parked", "dropped"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt at telling one notice to one receiver, with where it goes as it stands now."""

    id: UUID
    channel: ChannelName
    target: str
    attempts: int
    """How often it was tried, this time included."""
    notice_id: UUID
    kind: str
    user_id: str | None
    payload: dict[str, Any]
    created_at: datetime
    email: str | None
    slack_webhook_url: str | None
    endpoint_url: str | None
    endpoint_secret: str | None


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery as people look at it."""

    id: UUID
    notice_id: UUID
    kind: str
    user_id: str | None
    channel: ChannelName
    target: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears of what: the kinds that customers are told of, and those that the operator's room is."""

    customer_kinds: Sequence[str]
    operator_kinds: Sequence[str]
    """Empty where the operator has no room."""


def insert_notices(connection: Connection, notices: Iterable[Notice], now: datetime) -> None:
    """Write notices with the fact that they tell; one that is there already is left alone."""
    rows = [asdict(notice) for notice in notices]
    if not rows:
        return
    change(
        connection,
        """
        INSERT INTO notices (kind, user_id, subject, payload, created_at)
        SELECT r.kind, r.user_id, r.subject, r.payload, :now
        FROM json_to_recordset(CAST(:rows AS json)) AS r(kind text, user_id text, subject text, payload jsonb)
        ON CONFLICT (subject) DO NOTHING
        """,
        now=now,
        rows=json.dumps(rows),
    )


def spread_notices(connection: Connection, audience: Audience, now: datetime, limit: int) -> int:
    """Make the deliveries of notices that have none yet; how many notices these were.

    Nobody is told of an invoice over nothing by mail or in a room, and no customer of what is for the operator alone.
    """
    row = first_row(
        connection,
        """
        WITH taken AS MATERIALIZED (
            SELECT n.id, n.kind, n.user_id, n.kind <> ALL(:operator_only) AS for_customer,
                   n.kind LIKE 'invoice.%' AND n.payload -> 'total_amount' = '0'::jsonb AS over_nothing
            FROM notices AS n WHERE n.spread_at IS NULL ORDER BY n.created_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ), told AS (
            SELECT t.id, t.user_id FROM taken AS t
            WHERE t.user_id IS NOT NULL AND t.for_customer AND t.kind = ANY(:customer_kinds) AND NOT t.over_nothing
        ), receivers AS (
            SELECT id, 'mail' AS channel, 'customer' AS target FROM told
            UNION ALL
            SELECT told.id, 'slack', 'customer' FROM told JOIN customers AS c ON c.user_id = told.user_id
            WHERE c.slack_webhook_url IS NOT NULL
            UNION ALL
            SELECT t.id, 'slack', 'operator' FROM taken AS t
            WHERE t.kind = ANY(:operator_kinds) AND NOT t.over_nothing
            UNION ALL
            SELECT t.id, 'webhook', e.id::text FROM taken AS t
            JOIN webhook_endpoints AS e ON e.user_id IS NULL OR (e.user_id = t.user_id AND t.for_customer)
            WHERE e.disabled_at IS NULL AND (e.kinds IS NULL OR t.kind = ANY(e.kinds))
        ), made AS (
            INSERT INTO notice_deliveries (notice_id, channel, target, next_attempt_at)
            SELECT id, channel, target, :now FROM receivers ON CONFLICT DO NOTHING
        ), marked AS (
            UPDATE notices SET spread_at = :now WHERE id IN (SELECT id FROM taken) RETURNING 1
        )
        SELECT count(*) AS n FROM marked
        """,
        operator_only=list(OPERATOR_ONLY),
        customer_kinds=list(audience.customer_kinds),
        operator_kinds=list(audience.operator_kinds),
        now=now,
        limit=limit,
    )
    assert row is not None
    return int(row["n"])


def drop_stale(connection: Connection, channel: ChannelName, since: datetime) -> int:
    """Give up what has been due since before an instant and was not even tried: news of that age is none. How many."""
    return change(
        connection,
        """
        UPDATE notice_deliveries SET state = 'dropped', last_error = 'nothing was set up to send it in time'
        WHERE channel = :channel AND state = 'pending' AND next_attempt_at < :since
        """,
        channel=channel,
        since=since,
    )


def claim_delivery(connection: Connection, channel: ChannelName, now: datetime, until: datetime) -> Delivery | None:
    """Take the next delivery of a channel that is due: nobody else takes it before `until`. None where nothing is due."""
    taken = first_row(
        connection,
        """
        UPDATE notice_deliveries AS d SET attempts = d.attempts + 1, next_attempt_at = :until
        WHERE d.id = (
            SELECT due.id FROM notice_deliveries AS due
            WHERE due.channel = :channel AND due.state = 'pending' AND due.next_attempt_at <= :now
            ORDER BY due.next_attempt_at, due.id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING d.id
        """,
        channel=channel,
        now=now,
        until=until,
    )
    if taken is None:
        return None
    row = first_row(
        connection,
        """
        SELECT d.id, d.channel, d.target, d.attempts, n.id AS notice_id, n.kind, n.user_id, n.payload, n.created_at,
               c.email, c.slack_webhook_url, e.url AS endpoint_url, e.secret AS endpoint_secret
        FROM notice_deliveries AS d JOIN notices AS n ON n.id = d.notice_id
        LEFT JOIN customers AS c ON c.user_id = n.user_id
        LEFT JOIN webhook_endpoints AS e ON d.channel = 'webhook' AND e.id::text = d.target AND e.disabled_at IS NULL
        WHERE d.id = :id
        """,
        id=taken["id"],
    )
    assert row is not None
    return Delivery(**row)


def save_attempt(
    connection: Connection,
    delivery: Delivery,
    state: DeliveryState,
    outcome: Outcome,
    now: datetime,
    *,
    milliseconds: int,
    next_attempt_at: datetime | None = None,
) -> None:
    """Store what became of an attempt, and log it. What another sender has taken over meanwhile is only logged."""
    change(
        connection,
        """
        UPDATE notice_deliveries
        SET state = :state, last_error = :error, sent_at = CASE WHEN :state = 'sent' THEN CAST(:now AS timestamptz) END,
            next_attempt_at = coalesce(:next_attempt_at, next_attempt_at)
        WHERE id = :id AND state = 'pending' AND attempts = :attempts
        """,
        id=delivery.id,
        attempts=delivery.attempts,
        state=state,
        error=None if state == "sent" else outcome.detail,
        now=now,
        next_attempt_at=next_attempt_at,
    )
    change(
        connection,
        """
        INSERT INTO notice_attempts (delivery_id, attempt, at, outcome, status, milliseconds, detail)
        VALUES (:id, (SELECT count(*) + 1 FROM notice_attempts WHERE delivery_id = :id), :now, :outcome, :status,
                :milliseconds, :detail)
        """,
        id=delivery.id,
        now=now,
        outcome=outcome.kind,
        status=outcome.status,
        milliseconds=milliseconds,
        detail=outcome.detail,
    )


def rest_target(connection: Connection, channel: ChannelName, target: str, until: datetime) -> None:
    """Leave one receiver alone until then: whatever waits for it waits, so that it takes nobody else's turn."""
    change(
        connection,
        """
        UPDATE notice_deliveries SET next_attempt_at = :until
        WHERE channel = :channel AND target = :target AND state = 'pending' AND next_attempt_at < :until
        """,
        channel=channel,
        target=target,
        until=until,
    )


def list_deliveries(
    connection: Connection,
    *,
    user_id: str | None = None,
    state: DeliveryState | None = None,
    kind: str | None = None,
    limit: int = 100,
) -> list[ListedDelivery]:
    """The newest deliveries, oldest of them first."""
    rows = all_rows(
        connection,
        """
        SELECT d.id, d.notice_id, n.kind, n.user_id, d.channel, d.target, d.state, d.attempts, n.created_at, d.sent_at,
               CASE WHEN d.state = 'pending' THEN d.next_attempt_at END AS next_attempt_at, d.last_error
        FROM notice_deliveries AS d JOIN notices AS n ON n.id = d.notice_id
        WHERE (CAST(:user AS text) IS NULL OR n.user_id = :user) AND (CAST(:state AS text) IS NULL OR d.state = :state)
          AND (CAST(:kind AS text) IS NULL OR n.kind = :kind)
        ORDER BY n.created_at DESC, d.channel DESC, d.target DESC, d.id LIMIT :limit
        """,
        user=user_id,
        state=state,
        kind=kind,
        limit=limit,
    )
    return [ListedDelivery(**row) for row in reversed(rows)]


def retry_deliveries(connection: Connection, now: datetime, delivery_id: UUID | None = None) -> list[UUID]:
    """Let parked deliveries (or one, parked or dropped) be tried again from the start; which."""
    rows = all_rows(
        connection,
        """
        UPDATE notice_deliveries SET state = 'pending', attempts = 0, next_attempt_at = :now
        WHERE CASE WHEN CAST(:id AS uuid) IS NULL THEN state = 'parked' ELSE id = :id AND state IN ('parked', 'dropped') END
        RETURNING id
        """,
        now=now,
        id=delivery_id,
    )
    return [row["id"] for row in rows]


def forget_notices(connection: Connection, before: datetime, limit: int) -> int:
    """Remove notices from before an instant, with their log, that nobody waits for any more; how many."""
    return change(
        connection,
        """
        DELETE FROM notices WHERE id IN (
            SELECT n.id FROM notices AS n
            WHERE n.created_at < :before AND n.spread_at IS NOT NULL AND NOT EXISTS (
                SELECT FROM notice_deliveries AS d WHERE d.notice_id = n.id AND d.state = 'pending')
            ORDER BY n.created_at LIMIT :limit FOR UPDATE OF n SKIP LOCKED)
        """,
        before=before,
        limit=limit,
    )
