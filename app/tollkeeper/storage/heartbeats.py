"""Which workers and beats are alive, as they said themselves, and when work last went through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change

Role: TypeAlias = Literal["worker", "beat"]
FORGOTTEN_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A row of `heartbeats`."""

    process: str
    role: Role
    version: str
    alive_at: datetime
    worked_at: datetime | None


def save_alive(
    connection: Connection, process: str, role: Role, version: str, now: datetime, *, worked: bool = False
) -> None:
    """Note that a process lives, and with `worked` that a message came through to it. Long silent ones are forgotten."""
    change(
        connection,
        """
        INSERT INTO heartbeats AS h (process, role, version, alive_at, worked_at)
        VALUES (:process, :role, :version, :now, CASE WHEN :worked THEN CAST(:now AS timestamptz) END)
        ON CONFLICT (process) DO UPDATE SET role = excluded.role, version = excluded.version,
            alive_at = excluded.alive_at, worked_at = coalesce(excluded.worked_at, h.worked_at)
        """,
        process=process,
        role=role,
        version=version,
        now=now,
        worked=worked,
    )
    change(connection, "DELETE FROM heartbeats WHERE alive_at < :since", since=now - FORGOTTEN_AFTER)


def heartbeats(connection: Connection) -> list[Heartbeat]:
    """All processes that were heard of in the last days, by name."""
    rows = all_rows(connection, "SELECT process, role, version, alive_at, worked_at FROM heartbeats ORDER BY process")
    return [Heartbeat(**row) for row in rows]
