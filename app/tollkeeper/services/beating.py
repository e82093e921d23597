"""Beating: processes say that they are alive, where everybody can look it up."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version

from tollkeeper.storage.database import Database
from tollkeeper.storage.heartbeats import Heartbeat, Role, heartbeats, save_alive


def say_alive(database: Database, process: str, role: Role, now: datetime, *, worked: bool = False) -> None:
    """Note that a process lives; with `worked` also that a message has come through broker and worker."""
    with database.transaction() as connection:
        save_alive(connection, f"{role} {process}"[:255], role, version("tollkeeper"), now, worked=worked)


def all_heartbeats(database: Database) -> list[Heartbeat]:
    """All processes that were heard of in the last days."""
    with database.transaction() as connection:
        return heartbeats(connection)
