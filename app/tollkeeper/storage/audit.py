"""The audit trail: who changed what, when, from what to what. Written with the change itself, and never touched again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.acting import current_actor
from tollkeeper.storage.database import all_rows, change

Values = Mapping[str, object]
"""Fields by name; only those that the deed concerns. Instants, decimals and ids become text."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What is to be recorded. `kind` is `thing.what_happened`, such as `invoice.finalized`; `subject` names the thing."""

    kind: str
    subject: str
    user_id: str | None = None
    before: Values | None = None
    after: Values | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A row of `audit_trail`."""

    position: int
    at: datetime
    actor: str
    kind: str
    user_id: str | None
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None


def record(
    connection: Connection,
    kind: str,
    subject: str,
    now: datetime,
    *,
    user_id: str | None = None,
    before: Values | None = None,
    after: Values | None = None,
    reason: str | None = None,
    by: str | None = None,
) -> None:
    """Add one entry in the transaction of the deed; who acts is what the edge said, unless `by` names somebody."""
    record_all(connection, [Deed(kind, subject, user_id, before, after, reason)], now, by=by)


def record_all(connection: Connection, deeds: Iterable[Deed], now: datetime, *, by: str | None = None) -> None:
    """Add entries in this order, all in one statement."""
    rows = [_row(deed) for deed in deeds]
    if not rows:
        return
    change(
        connection,
        """
        INSERT INTO audit_trail (at, actor, kind, user_id, subject, before, after, reason)
        SELECT :now, :actor, r.kind, r.user_id, r.subject, r.before, r.after, r.reason
        FROM ROWS FROM (json_to_recordset(CAST(:rows AS json)) AS (
            kind text, user_id text, subject text, before jsonb, after jsonb, reason text)) WITH ORDINALITY AS r
        ORDER BY r.ordinality
        """,
        now=now,
        actor=by or current_actor(),
        rows=json.dumps(rows),
    )


def difference(before: Values, after: Values) -> tuple[dict[str, object], dict[str, object]]:
    """Of both, only the fields that differ; two empty mappings where nothing does."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in changed}, {name: after.get(name) for name in changed}


def shown_address(email: str | None) -> str | None:
    """A mail address as the trail keeps it: recognisable, and nothing that had to be erased one day."""
    if email is None:
        return None
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}…@{domain}"


def entries(
    connection: Connection, *, user_id: str | None = None, kind: str | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The newest entries, oldest of them first. `kind` is a whole one, or its first part for all of a thing."""
    rows = all_rows(
        connection,
        """
        SELECT position, at, actor, kind, user_id, subject, before, after, reason FROM audit_trail
        WHERE (CAST(:user AS text) IS NULL OR user_id = :user)
          AND (CAST(:kind AS text) IS NULL OR kind = :kind OR split_part(kind, '.', 1) = :kind)
        ORDER BY position DESC LIMIT :limit
        """,
        user=user_id,
        kind=kind,
        limit=limit,
    )
    return [AuditEntry(**row) for row in reversed(rows)]


def _row(deed: Deed) -> dict[str, object]:
    return {
        "kind": deed.kind,
        "user_id": deed.user_id,
        "subject": deed.subject,
        "before": _plain(deed.before),
        "after": _plain(deed.after),
        "reason": deed.reason,
    }


def _plain(value: object) -> object:
    """In what JSON has; a decimal stays exact as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
