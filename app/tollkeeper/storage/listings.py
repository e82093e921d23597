"""Long lists as operators page through them: newest first, each page from where the last one ended.

A place is the sorting columns of the last row that was shown, so a page costs the same however far down it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows

Row: TypeAlias = dict[str, Any]
Stamp: TypeAlias = tuple[datetime, UUID]
"""When a row was made, and its id."""
WebhookPlace: TypeAlias = tuple[datetime, str, str]

_FIRST_STAMP = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")


def list_customers_page(connection: Connection, search: str | None, after: str | None, limit: int) -> list[Row]:
    """Customers by name with the newest period of each; those whose name or address holds a text, or whose Stripe id it is."""
    return all_rows(
        connection,
        """
        SELECT c.user_id, c.email, c.plan_id, c.status, c.stripe_customer_id, coalesce(c.own_spend_cap, p.spend_cap) AS cap,
               u.period_end, u.spent, u.tokens, coalesce(u.currency, p.currency) AS currency
        FROM customers AS c JOIN plans AS p ON p.id = c.plan_id
        LEFT JOIN LATERAL (
            SELECT period_end, spent, tokens, currency FROM usage_periods
            WHERE user_id = c.user_id ORDER BY period_start DESC LIMIT 1
        ) AS u ON true
        WHERE (CAST(:after AS text) IS NULL OR c.user_id > :after)
          AND (CAST(:search AS text) IS NULL OR c.user_id ILIKE :pattern OR c.email ILIKE :pattern
               OR c.stripe_customer_id = :search)
        ORDER BY c.user_id LIMIT :limit
        """,
        search=search,
        pattern=None if search is None else f"%{_literal(search)}%",
        after=after,
        limit=limit,
    )


def list_invoices_page(
    connection: Connection, status: str | None, search: str | None, after: Stamp | None, limit: int
) -> list[Row]:
    """Invoices, the newest first: of one status (or `alarm`), and those that a text names: customer, id, or id at Stripe."""
    conditions = [*_status_condition(status), *_invoice_search(search)]
    return _stamped(
        connection,
        """
        SELECT id, user_id, period_start, period_end, currency, status, total_amount, plan_id, collect, alarm, created_at
        FROM invoices
        """,
        conditions,
        after,
        limit,
        status=status,
        search=search,
    )


def list_reports_page(
    connection: Connection, state: str | None, search: str | None, after: Stamp | None, limit: int
) -> list[Row]:
    """Reports to the payment side, the newest first: in one state, of one customer."""
    conditions = ["state = :state"] if state else []
    if search:
        conditions.append("user_id = :search")
    return _stamped(
        connection,
        """
        SELECT id, user_id, period_start, model_id, token_type, revision, event_name, value, state, attempts,
               acknowledged_at, last_error, created_at
        FROM stripe_reports
        """,
        conditions,
        after,
        limit,
        state=state,
        search=search,
    )


def list_webhooks_page(connection: Connection, state: str | None, after: WebhookPlace | None, limit: int) -> list[Row]:
    """Webhook events that came in, the newest first, in one state where it is named."""
    condition = "AND state = :state" if state else ""
    return all_rows(
        connection,
        f"""
        SELECT provider, event_id, type, state, attempts, received_at, applied_at, last_error FROM webhook_events
        WHERE (received_at, provider, event_id) < (CAST(:at AS timestamptz), :provider, :event_id) {condition}
        ORDER BY received_at DESC, provider DESC, event_id DESC LIMIT :limit
        """,  # noqa: S608 - put together from constants
        at="infinity" if after is None else after[0].isoformat(),
        provider="" if after is None else after[1],
        event_id="" if after is None else after[2],
        state=state,
        limit=limit,
    )


def list_audit_page(
    connection: Connection, user_id: str | None, kind: str | None, after: int | None, limit: int
) -> list[Row]:
    """The audit trail, the newest first: about one customer, of one kind."""
    conditions = [
        *(["user_id = :user"] if user_id else []),
        *(["kind = :kind"] if kind else []),
        *(["position < :after"] if after is not None else []),
    ]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return all_rows(
        connection,
        f"""
        SELECT position, at, actor, kind, user_id, subject, before, after, reason FROM audit_trail {where}
        ORDER BY position DESC LIMIT :limit
        """,  # noqa: S608 - put together from constants
        user=user_id,
        kind=kind,
        after=after,
        limit=limit,
    )


def list_deliveries_page(connection: Connection, user_id: str | None, after: Stamp | None, limit: int) -> list[Row]:
    """Notices and where each was delivered, the newest notice first; those of one customer where one is named."""
    condition = "AND n.user_id = :user" if user_id else ""
    at, last = _FIRST_STAMP if after is None else (after[0].isoformat(), str(after[1]))
    return all_rows(
        connection,
        f"""
        SELECT n.id, n.kind, n.user_id, n.created_at,
               (SELECT coalesce(json_agg(json_build_object('channel', d.channel, 'target', d.target, 'state', d.state,
                    'attempts', d.attempts, 'last_error', d.last_error) ORDER BY d.channel, d.target), '[]')
                FROM notice_deliveries AS d WHERE d.notice_id = n.id) AS deliveries
        FROM notices AS n
        WHERE (n.created_at, n.id) < (CAST(:at AS timestamptz), CAST(:last AS uuid)) {condition}
        ORDER BY n.created_at DESC, n.id DESC LIMIT :limit
        """,  # noqa: S608 - put together from constants
        user=user_id,
        at=at,
        last=last,
        limit=limit,
    )


def _stamped(
    connection: Connection, select: str, conditions: Sequence[str], after: Stamp | None, limit: int, **values: object
) -> list[Row]:
    at, last = _FIRST_STAMP if after is None else (after[0].isoformat(), str(after[1]))
    where = " AND ".join([*conditions, "(created_at, id) < (CAST(:at AS timestamptz), CAST(:last AS uuid))"])
    statement = f"{select} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT :limit"
    return all_rows(connection, statement, at=at, last=last, limit=limit, **values)


def _status_condition(status: str | None) -> list[str]:
    if status is None:
        return []
    return ["alarm IS NOT NULL"] if status == "alarm" else ["status = :status"]


def _invoice_search(search: str | None) -> list[str]:
    if search is None:
        return []
    try:
        UUID(search)
    except ValueError:
        return ["(user_id = :search OR stripe_invoice_id = :search)"]
    return ["(id = CAST(:search AS uuid) OR user_id = :search)"]


def _literal(text: str) -> str:
    """The text for a LIKE pattern that matches it and nothing else."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
