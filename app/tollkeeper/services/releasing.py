"""Releasing: a person looks at what the close set aside, mends it where it needs mending, and lets it pass."""

from __future__ import annotations

from datetime import datetime

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import NotFound
from tollkeeper.storage.audit import record
from tollkeeper.storage.database import Database
from tollkeeper.storage.parked import ParkedPeriod, parked_periods, release_period


def list_parked(database: Database) -> list[ParkedPeriod]:
    """Every period that waits for a person, the oldest first."""
    with database.transaction() as connection:
        return parked_periods(connection)


def release(database: Database, user_id: str, period_start: datetime, *, by: str, reason: str, now: datetime) -> str:
    """Let the next close take up a parked period; what it had been parked for.

    Its amount parks it no more. Sums that do not agree still do, so these have to be mended first. `NotFound` where no such
    period is parked.
    """
    plain_text(by, "by")
    plain_text(reason, "reason")
    with database.transaction() as connection:
        why = release_period(connection, user_id, period_start, now)
        if why is None:
            raise NotFound("parked period", f"{user_id} {period_start.isoformat()}")
        record(
            connection,
            "period.released",
            f"{user_id} {period_start.isoformat()}",
            now,
            user_id=user_id,
            before={"parked_reason": why},
            reason=reason,
            by=by,
        )
    return why
