"""What reconciling found, day by day: one run at a time, which remembers how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import change, first_row
from tollkeeper.storage.periods import PeriodKey

MOST_DIFFERENCES = 100


@dataclass(frozen=True, slots=True)
class ReconcilingRun:
    """A row of `reconciliations`. Only periods that ended after `since`, or have not ended, are compared."""

    id: UUID
    began_at: datetime
    ended_at: datetime | None
    since: datetime
    place_user: str | None
    place_start: datetime | None
    periods: int
    differing: int
    differences: Sequence[str]

    @property
    def place(self) -> PeriodKey | None:
        if self.place_user is None or self.place_start is None:
            return None
        return self.place_user, self.place_start


_COLUMNS = "id, began_at, ended_at, since, place_user, place_start, periods, differing, differences"


def begin_run(connection: Connection, now: datetime, last_before: datetime, since: datetime) -> None:
    """Begin a run, unless one is under way or the last one began after `last_before`."""
    change(
        connection,
        """
        INSERT INTO reconciliations (began_at, since)
        SELECT :now, :since WHERE NOT EXISTS (SELECT FROM reconciliations WHERE began_at > :last_before)
        ON CONFLICT DO NOTHING
        """,
        now=now,
        since=since,
        last_before=last_before,
    )


def claim_run(connection: Connection) -> ReconcilingRun | None:
    """The run that is under way, locked; None where there is none, or somebody else goes on with it."""
    row = first_row(
        connection,
        f"SELECT {_COLUMNS} FROM reconciliations WHERE ended_at IS NULL FOR UPDATE SKIP LOCKED",  # noqa: S608 - constant
    )
    return None if row is None else ReconcilingRun(**row)


def save_page(
    connection: Connection,
    run_id: UUID,
    *,
    periods: int,
    differences: Sequence[str],
    place: PeriodKey | None,
    ended_at: datetime | None,
) -> None:
    """Add what was found on a page, and note how far the run has come; or that it has ended."""
    change(
        connection,
        f"""
        UPDATE reconciliations
        SET periods = periods + :periods, differing = differing + :differing, ended_at = :ended_at,
            differences = (differences || CAST(:differences AS text[]))[1:{MOST_DIFFERENCES}],
            place_user = coalesce(:user, place_user), place_start = coalesce(:start, place_start)
        WHERE id = :id
        """,  # noqa: S608 - a number of ours
        id=run_id,
        periods=periods,
        differing=len(differences),
        differences=list(differences[:MOST_DIFFERENCES]),
        user=None if place is None else place[0],
        start=None if place is None else place[1],
        ended_at=ended_at,
    )


def last_run(connection: Connection) -> ReconcilingRun | None:
    """The newest run that has come to its end."""
    row = first_row(
        connection,
        f"SELECT {_COLUMNS} FROM reconciliations WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1",  # noqa: S608 - constant
    )
    return None if row is None else ReconcilingRun(**row)
