"""API keys: a hash to look up by, and a prefix to recognise them by. The keys themselves are kept nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a key once it was issued."""

    key_hash: bytes = field(repr=False)
    prefix: str
    user_id: str
    created_at: datetime
    revoked_at: datetime | None

    def works(self, now: datetime) -> bool:
        """Whether requests may come with it; one that was replaced works until its overlap is over."""
        return self.revoked_at is None or self.revoked_at > now


def insert_key(connection: Connection, user_id: str, key_hash: bytes, prefix: str, now: datetime) -> None:
    """Store a key of a customer that exists."""
    change(
        connection,
        "INSERT INTO api_keys (key_hash, prefix, user_id, created_at) VALUES (:hash, :prefix, :user, :now)",
        hash=key_hash,
        prefix=prefix,
        user=user_id,
        now=now,
    )


def keys_of(connection: Connection, user_id: str) -> list[StoredKey]:
    """A customer's keys, revoked ones too, oldest first."""
    rows = all_rows(
        connection,
        "SELECT key_hash, prefix, user_id, created_at, revoked_at FROM api_keys "
        "WHERE user_id = :user ORDER BY created_at, prefix",
        user=user_id,
    )
    return [StoredKey(**row) for row in rows]


def owner_of_key(connection: Connection, key_hash: bytes, now: datetime) -> str | None:
    """Whose key this is; None where it is nobody's, or revoked by now."""
    row = first_row(
        connection,
        "SELECT user_id FROM api_keys WHERE key_hash = :hash AND (revoked_at IS NULL OR revoked_at > :now)",
        hash=key_hash,
        now=now,
    )
    return None if row is None else str(row["user_id"])


def keys_with_prefix(connection: Connection, prefix: str) -> list[StoredKey]:
    """Keys that begin so; nearly always one, because eight random characters follow the `tk_`."""
    rows = all_rows(
        connection,
        "SELECT key_hash, prefix, user_id, created_at, revoked_at FROM api_keys WHERE prefix = :prefix FOR UPDATE",
        prefix=prefix,
    )
    return [StoredKey(**row) for row in rows]


def revoke_key(connection: Connection, key_hash: bytes, at: datetime) -> None:
    """Refuse the key from an instant on; a revocation that comes earlier keeps its date."""
    change(
        connection,
        "UPDATE api_keys SET revoked_at = least(revoked_at, :at) WHERE key_hash = :hash",
        hash=key_hash,
        at=at,
    )
