"""Windowing: enter the days or hours of open periods into the ledger of reports, so that Stripe hears of usage early.

Windows change when Stripe is told, never what: what a window holds beyond what was told of it is one more revision, and when
the period is over the close completes the reports to the exact total.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.domain.money import round_half_away
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.usage import Key
from tollkeeper.domain.window import Cadence, begun_by, windows_between
from tollkeeper.services.owing import event_name_of, new_report, untold
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Collect
from tollkeeper.storage.periods import PeriodKey, StoredPeriod, stored_period
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.report_windows import lock_for_windows, save_told_to, windows_due
from tollkeeper.storage.reports import Report, insert_reports, reports_of
from tollkeeper.storage.totals import Sums
from tollkeeper.storage.window_sums import count_by_window


def enter_windows(
    database: Database,
    *,
    now: datetime,
    cadence: Cadence,
    collect: Collect = "meters",
    grace: timedelta = timedelta(0),
    limit: int = 1_000,
) -> int:
    """Enter what windows hold that have been over for the grace; of how many periods. `collect` is for plans that do not say.

    A period's last window is left to the close.
    """
    if cadence == "period":
        return 0
    edge = begun_by(now - grace, cadence)
    with database.transaction() as connection:
        due = windows_due(connection, edge, collect, limit)
    return sum(_enter(database, key, edge, cadence, collect, now) for key in due)


def _enter(
    database: Database, key: PeriodKey, edge: datetime, cadence: Cadence, collect: Collect, now: datetime
) -> bool:
    """Enter one period's windows up to an edge; False where somebody else is at it, or it is closed by now.

    Whoever closes the period holds the customer's row too, so nobody else tells anything of it meanwhile.
    """
    with database.transaction() as connection:
        told_to = lock_for_windows(connection, key)
        stored = stored_period(connection, *key) if told_to is not None else None
        if told_to is None or stored is None or stored.status != "open":
            return False
        parts = [part for part in stored.parts if (part.collect or collect) == "meters" and part.period.start < edge]
        told = reports_of(connection, [part.key for part in parts])
        for part in parts:
            tariff = load_tariff(connection, part.plan_id, part.plan_version)
            since, before, counted = _counted(connection, part, tariff, told[part.key], told_to, cadence)
            windows = [
                (window, counted.get(begun_by(window.start, cadence), Sums()))
                for window in windows_between(part.period, since, edge, cadence)
            ]
            insert_reports(connection, _reports(part, tariff, told[part.key], windows, before, now))
        if parts:
            save_told_to(connection, key, edge)
        return bool(parts)


def _counted(
    connection: Connection,
    stored: StoredPeriod,
    tariff: Tariff,
    told: Sequence[Report],
    told_to: datetime,
    cadence: Cadence,
) -> tuple[datetime, Sums, Mapping[datetime, Sums]]:
    """From which instant windows are looked at, what lies before it, and what was counted since.

    That is where the last look ended, if what was told explains all that lies before; else something came late, and the
    period is counted from its start.
    """
    counted = count_by_window(connection, stored.user_id, told_to, stored.period.end, cadence)
    before = Sums(stored.totals)
    for sums in counted.values():
        before.take(sums)
    if untold(before, tariff, told):
        start = stored.period.start
        return start, Sums(), count_by_window(connection, stored.user_id, start, stored.period.end, cadence)
    return told_to, before, counted


def _reports(
    stored: StoredPeriod,
    tariff: Tariff,
    told: Sequence[Report],
    windows: Sequence[tuple[Period, Sums]],
    before: Sums,
    now: datetime,
) -> Iterator[Report]:
    """What windows hold beyond what was told of them, oldest first.

    Fractions are rounded on the running sum, so what is told up to the end of a window is that sum, rounded.
    """
    revision = 1 + max((report.revision for report in told), default=0)
    running = Sums(before)
    said: dict[Key, int] = {key: round_half_away(quantity) for key, quantity in before.items()}
    for window, sums in windows:
        running.add(sums)
        for report in told:
            if window.contains(report.timestamp):
                key = (report.model_id, report.token_type)
                said[key] = said.get(key, 0) + int(report.value)
        entered = False
        for key in sorted(running.keys() | said.keys()):
            value = round_half_away(running.get(key, 0)) - said.get(key, 0)
            if value and event_name_of(tariff, key) is not None:
                said[key] = said.get(key, 0) + value
                entered = True
                yield new_report(stored, tariff, key, value, revision, invoice_id=None, now=now, window=window)
        revision += entered
