"""Opening: rows for periods in which nothing was metered, so that their base fee and late usage of others find a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.domain.period import Period, cut, next_period, parts_of, period_of
from tollkeeper.domain.plan import version_for
from tollkeeper.domain.pricing import Tariff
from tollkeeper.storage.database import Database
from tollkeeper.storage.periods import (
    Member,
    NewPeriod,
    insert_periods,
    members_due,
    members_with_adjustments,
    members_with_late_usage,
    save_next_period_ends,
)
from tollkeeper.storage.plans import PlanVersion, load_tariff, versions_for

_INSTANT = timedelta(microseconds=1)


def open_missing(database: Database, cutoff: datetime, chunk: int) -> None:
    """Make the rows that periods over by `cutoff` lack: each with a base fee, and the latest where late usage waits.

    A customer's periods are looked at once each, from the one that the customer was added in. What is stored meanwhile has
    a row already, and none is made that would share an instant with another.
    """
    calendar = _Calendar(cutoff)
    while calendar.open_with_fee(database, chunk) == chunk:
        pass
    calendar.open_for_late_usage(database)
    calendar.open_for_adjustments(database)


def open_missing_of(connection: Connection, user_id: str, cutoff: datetime) -> None:
    """Make the rows that one customer's periods over by `cutoff` lack, each with a base fee, by the plan of now."""
    _Calendar(cutoff).open_in(connection, 1, user_id)


class _Calendar:
    """Which periods customers have, and what each would be charged by; tariffs are read once."""

    def __init__(self, cutoff: datetime) -> None:
        self._cutoff = cutoff
        self._versions: dict[tuple[str, str | None], list[PlanVersion]] = {}
        self._tariffs: dict[tuple[str, int], Tariff] = {}

    def open_with_fee(self, database: Database, limit: int) -> int:
        """Look at the periods of some customers; how many customers these were."""
        with database.transaction() as connection:
            return self.open_in(connection, limit)

    def open_in(self, connection: Connection, limit: int, only: str | None = None) -> int:
        """The same inside a transaction, or for one customer."""
        members = members_due(connection, self._cutoff, limit, only)
        self._read_versions(connection, members)
        new = [self._new(member, period) for member in members for period in self._over(member)]
        insert_periods(connection, [one for one in new if self._tariff(connection, one).base_fee])
        save_next_period_ends(connection, {member.user_id: self._running(member).end for member in members})
        return len(members)

    def open_for_late_usage(self, database: Database) -> None:
        """Where late usage waits for an invoice, let the period that ended last have one."""
        with database.transaction() as connection:
            waiting = members_with_late_usage(connection)
            self._read_versions(connection, [member for member, _ in waiting])
            last = [(member, self._last(member), late_end) for member, late_end in waiting]
            insert_periods(
                connection,
                [self._new(member, period) for member, period, late_end in last if period.start >= late_end],
            )

    def open_for_adjustments(self, database: Database) -> None:
        """Where an adjustment waits for an invoice, let the period that ended last since it was made have one."""
        with database.transaction() as connection:
            waiting = members_with_adjustments(connection)
            self._read_versions(connection, [member for member, _ in waiting])
            last = [(member, self._last(member), at) for member, at in waiting]
            new = [self._new(member, period) for member, period, at in last if period.end > at]
            insert_periods(connection, new)

    def _over(self, member: Member) -> Iterator[Period]:
        """The periods that nobody has looked at, up to those that ended at the cutoff."""
        seen_to = member.created_at if member.next_period_end is None else member.next_period_end - _INSTANT
        period = period_of(member.interval, seen_to, member.anchor)
        while period.end <= self._cutoff:
            yield from parts_of(period, member.trial_end, member.closed_at)
            period = next_period(member.interval, period, member.anchor)

    def _running(self, member: Member) -> Period:
        return period_of(member.interval, self._cutoff, member.anchor)

    def _last(self, member: Member) -> Period:
        before = self._running(member).start - _INSTANT
        return cut(period_of(member.interval, before, member.anchor), before, member.trial_end, member.closed_at)

    def _new(self, member: Member, period: Period) -> NewPeriod:
        own = self._versions.get((member.plan_id, member.user_id))
        version = version_for(period, own or self._versions[member.plan_id, None]).version
        return NewPeriod(member.user_id, period, member.plan_id, version, member.currency)

    def _read_versions(self, connection: Connection, members: Sequence[Member]) -> None:
        """The versions of some customers' plans, in one statement."""
        plans, users = {member.plan_id for member in members}, {member.user_id for member in members}
        self._versions = versions_for(connection, plans, users)

    def _tariff(self, connection: Connection, new: NewPeriod) -> Tariff:
        key = (new.plan_id, new.plan_version)
        if key not in self._tariffs:
            self._tariffs[key] = load_tariff(connection, *key)
        return self._tariffs[key]
