"""Upgrading: the schema that this version needs, and partitions for the months ahead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import OperationalError

from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.storage import migrating
from tollkeeper.storage.database import Database
from tollkeeper.storage.partitions import months_ahead
from tollkeeper.storage.schema import make_partitions, missing_partitions, stored_revision


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The schema's revision before (None: there was none) and after, and the months that got a partition."""

    before: str | None
    after: str | None
    months: tuple[datetime, ...]


def upgrade_database(database: Database, now: datetime) -> Upgraded:
    """Run what migrations have not run, and make partitions for this month and those after it."""
    with database.transaction() as connection:
        before = stored_revision(connection)
    try:
        migrating.upgrade(database.url, database.schema)
    except OperationalError as error:
        raise StoreUnavailable(f"PostgreSQL did not answer: {str(error.orig).splitlines()[0]}") from error
    with database.transaction() as connection:
        months = missing_partitions(connection, months_ahead(now))
        make_partitions(connection, months)
        return Upgraded(before, stored_revision(connection), tuple(months))


def upgrade_statements() -> str:
    """All migrations as SQL, for somebody who runs them by hand."""
    return migrating.upgrade_sql()
