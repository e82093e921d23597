"""Auditing: read back who changed what. The entries themselves are written by the deeds."""

from __future__ import annotations

from tollkeeper.domain.customer import plain_text, validate_user_id
from tollkeeper.storage.audit import AuditEntry, entries
from tollkeeper.storage.database import Database


def trail(
    database: Database, *, user_id: str | None = None, kind: str | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The newest entries, oldest of them first: all, those about one customer, those of one kind or thing."""
    with database.transaction() as connection:
        return entries(
            connection,
            user_id=None if user_id is None else validate_user_id(user_id),
            kind=None if kind is None else plain_text(kind, "kind"),
            limit=limit,
        )
