"""Checking: what Stripe was told of one period against what was billed, and against what Stripe says it has counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from tollkeeper.domain.money import round_half_away
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.usage import Key, Totals
from tollkeeper.services.owing import untold
from tollkeeper.services.reading import SumReader, Untold
from tollkeeper.services.reconciled import ReconciledPeriod
from tollkeeper.storage.event_sums import Counted
from tollkeeper.storage.invoices import Invoice
from tollkeeper.storage.periods import StoredPeriod
from tollkeeper.storage.reports import OVERDUE, Report, is_overdue
from tollkeeper.storage.totals import Sums

_AFTER_FIRST_CLOSE = 2


def compare_reports(
    row: ReconciledPeriod,
    stored: StoredPeriod,
    tariff: Tariff,
    invoices: Sequence[tuple[Invoice, int]],
    now: datetime,
) -> None:
    """Whether Stripe was told what was billed, and how far it has got with it."""
    reports = row.reports
    rejected = sum(report.state == "rejected" for report in reports)
    waiting = sum(report.state in ("pending", "sending") for report in reports)
    if rejected:
        row.differences.append(f"Stripe rejects {rejected} reports")
    if waiting:
        row.notes.append(f"{waiting} reports are not acknowledged yet")
    overdue = sum(is_overdue(report, now) for report in reports)
    if overdue:
        row.notes.append(f"alarm: {overdue} reports have not been acknowledged for {_in_minutes(OVERDUE)} minutes")
    if any(invoice.collect == "meters" and invoice.status != "void" for invoice, _ in invoices):
        missing = untold(stored.billed_totals or {}, tariff, reports)
        # What was billed after the first close came too late for Stripe's own invoice: an item has it.
        row.differences += [
            f"{model} {meter}: {value} were billed and are in no report"
            for (model, meter), value in missing.items()
            if value > 0 and stored.revision <= _AFTER_FIRST_CLOSE
        ]


def compare_surplus(row: ReconciledPeriod, stored: StoredPeriod, counted: Counted) -> None:
    """Stripe may have been told of what was taken back since; anything beyond that was never used."""
    surplus = _surplus(stored.totals, row.reports)
    if not surplus:
        return
    used = Sums(stored.totals)
    used.add(counted.taken_back)
    if _surplus(used, row.reports):
        row.differences.append(f"{surplus} more were reported than were used")
    else:
        row.notes.append(f"{surplus} were reported and taken back since; an item takes them off Stripe's next invoice")


def compare_sums(row: ReconciledPeriod, reader: SumReader) -> None:
    """Stripe's sum lies between what it has acknowledged and all that it may have heard of."""
    groups: defaultdict[tuple[str, str], list[Report]] = defaultdict(list)
    for report in row.reports:
        if report.stripe_customer_id is not None and report.state != "missed":
            groups[report.event_name, report.stripe_customer_id].append(report)
    for (event_name, customer), group in groups.items():
        total = reader.total(event_name, customer, row.period)
        if isinstance(total, Untold):
            row.differences.append(f"Stripe's sum of {event_name} is not known: {total.reason}")
            continue
        row.tokens_at_stripe = (row.tokens_at_stripe or Decimal(0)) + total
        acknowledged = sum(one.value for one in group if one.state in ("acknowledged", "confirmed"))
        doubtful = [one.value for one in group if one.state not in ("acknowledged", "confirmed")]
        least, most = (sum(value for value in doubtful if (value < 0) is low) for low in (True, False))
        if not acknowledged + least <= total <= acknowledged + most:
            row.differences.append(f"Stripe counts {total:f} {event_name}, {acknowledged:f} were acknowledged")


def _surplus(totals: Totals, reports: Sequence[Report]) -> int:
    """How much more Stripe was told than was used, in whole units."""
    told: dict[Key, int] = {}
    for report in reports:
        key = (report.model_id, report.token_type)
        told[key] = told.get(key, 0) + int(report.value)
    return sum(max(value - round_half_away(totals.get(key, 0)), 0) for key, value in told.items())


def _in_minutes(span: timedelta) -> int:
    return int(span.total_seconds()) // 60
