"""Reconciling: does everything agree? Events, running totals, invoice lines, reports, and what Stripe and Paystack say.
Changes nothing.

A *difference* is something that must not be; it stays until somebody has mended it. A *note* is something on its way that the
next sweep or the next invoice will settle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.money import round_half_away
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.usage import TOKEN_TYPES, Key, Totals
from tollkeeper.services.collecting import Collectors
from tollkeeper.services.comparing import compare_ledger, compare_with_collectors
from tollkeeper.services.invoicing import by_unit, usage_lines
from tollkeeper.services.owing import untold
from tollkeeper.services.reading import SumReader, Untold
from tollkeeper.storage.collections import Collection, collections_of
from tollkeeper.storage.database import Database, change
from tollkeeper.storage.event_sums import Counted, count_events, events_without_period
from tollkeeper.storage.invoices import Invoice, InvoiceLine, invoices_of, usage_lines_of
from tollkeeper.storage.periods import PeriodKey, StoredPeriod, periods_after
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.reports import Report, reports_of
from tollkeeper.storage.totals import Sums

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments

_PAGE = 500


@dataclass(slots=True)
class ReconciledPeriod:
    """One customer's period seen from every side; quantities are tokens of all types, amounts minor units."""

    user_id: str
    period: Period
    status: str
    currency: str
    tokens_in_events: int
    tokens_in_totals: int
    tokens_billed: int = 0
    tokens_late: int = 0
    """Came after the close and waits for the next invoice."""
    amount_billed: int = 0
    """On all invoices, late usage included, without base fees."""
    tokens_reported: int = 0
    tokens_at_stripe: Decimal | None = None
    """What Stripe counts on the meters that this period was reported to; None where it was not asked."""
    amount_collected: int | None = None
    """What Stripe and Paystack say that the invoices they collect for us are over; None where neither was asked."""
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every period, and what belongs to none."""

    rows: tuple[ReconciledPeriod, ...]
    strays: dict[str, int]
    """Events by customer that lie in no period of theirs."""

    @property
    def ok(self) -> bool:
        return not self.strays and all(row.ok for row in self.rows)


def reconcile(
    database: Database,
    stripe: StripePayments | None = None,
    *,
    now: datetime,
    collectors: Collectors | None = None,
) -> Reconciliation:
    """Compare everything for every customer and period; Stripe's own sums too where a Stripe is given, and where collectors
    are, what they say of the invoices they collect."""
    reader = None if stripe is None else SumReader(stripe)
    rows: list[ReconciledPeriod] = []
    place: PeriodKey | None = None
    while True:
        page, place = compare_page(database, reader, collectors or {}, place, now=now)
        rows += page
        if place is None:
            return Reconciliation(tuple(rows), strays(database))


def compare_page(
    database: Database,
    reader: SumReader | None,
    collectors: Collectors,
    place: PeriodKey | None,
    *,
    now: datetime,
    since: datetime | None = None,
) -> tuple[list[ReconciledPeriod], PeriodKey | None]:
    """Compare the next periods after a place, and the place to go on from; None where these were the last.

    With `since` only periods that ended after it, or have not ended.
    """
    with database.transaction() as connection:
        _as_of_one_instant(connection)
        page = periods_after(connection, place, _PAGE, since)
        found = list(_compare(connection, page, now))
    for row, reports, invoices, ledger in found:
        if reader is not None:
            _compare_with_stripe(row, reports, reader)
        compare_with_collectors(row, invoices, ledger, collectors)
    return [row for row, *_ in found], page[-1].key if len(page) == _PAGE else None


def strays(database: Database, since: datetime | None = None) -> dict[str, int]:
    """Events by customer, of all time or since an instant, that lie in no period of theirs."""
    with database.transaction() as connection:
        return events_without_period(connection, since)


def _as_of_one_instant(connection: Connection) -> None:
    """What follows sees the database as it is now, or usage that comes in meanwhile would look like a difference."""
    change(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _compare(
    connection: Connection, page: Sequence[StoredPeriod], now: datetime
) -> Iterator[tuple[ReconciledPeriod, list[Report], list[Invoice], dict[UUID, Collection]]]:
    keys = [stored.key for stored in page]
    counted, lines = count_events(connection, page), usage_lines_of(connection, keys)
    invoices, reports = invoices_of(connection, keys), reports_of(connection, keys)
    ledger = collections_of(connection, [invoice.id for found in invoices.values() for invoice, _ in found])
    tariffs: dict[tuple[str, int], Tariff] = {}
    for stored in page:
        plan = (stored.plan_id, stored.plan_version)
        if plan not in tariffs:
            tariffs[plan] = load_tariff(connection, *plan)
        row = _row(stored, counted[stored.key], lines[stored.key], reports[stored.key])
        _compare_totals(row, stored, counted[stored.key], now)
        _compare_lines(row, stored, tariffs[plan], lines[stored.key], invoices[stored.key])
        _compare_reports(row, stored, tariffs[plan], invoices[stored.key], reports[stored.key])
        _compare_surplus(row, stored, counted[stored.key], reports[stored.key])
        own = [invoice for invoice, _ in invoices[stored.key]]
        compare_ledger(row, own, ledger)
        yield row, reports[stored.key], own, ledger


def _row(
    stored: StoredPeriod, counted: Counted, lines: Sequence[InvoiceLine], reports: Sequence[Report]
) -> ReconciledPeriod:
    billed = _tokens(stored.billed_totals or {})
    return ReconciledPeriod(
        user_id=stored.user_id,
        period=stored.period,
        status=stored.status,
        currency=stored.currency,
        tokens_in_events=_tokens(counted.totals),
        tokens_in_totals=_tokens(stored.totals),
        tokens_billed=billed,
        tokens_late=_tokens(stored.totals) - billed if stored.is_late else 0,
        amount_billed=sum(line.amount for line in lines),
        tokens_reported=int(sum(report.value for report in reports if report.token_type in TOKEN_TYPES)),
    )


def _compare_totals(row: ReconciledPeriod, stored: StoredPeriod, counted: Counted, now: datetime) -> None:
    difference = counted.difference_from(stored)
    if difference is not None:
        row.differences.append(difference)
    if stored.status == "parked":
        row.differences.append(f"parked: {stored.parked_reason}")
    if stored.status == "open" and stored.period.end <= now:
        row.notes.append("over, and not closed yet")
    if stored.is_late:
        row.notes.append("late usage waits for the next invoice")


def _compare_lines(
    row: ReconciledPeriod,
    stored: StoredPeriod,
    tariff: Tariff,
    lines: Sequence[InvoiceLine],
    invoices: Sequence[tuple[Invoice, int]],
) -> None:
    row.differences += [
        f"the lines of invoice {invoice.id} add up to {total}, its total is {invoice.total_amount}"
        for invoice, total in invoices
        if total != invoice.total_amount
    ]
    row.notes += [f"alarm: {invoice.alarm}" for invoice, _ in invoices if invoice.alarm is not None]
    row.notes += [
        f"written off on the void invoice {invoice.id}: {invoice.void_reason or 'void at Stripe'}"
        for invoice, _ in invoices
        if invoice.status == "void" and not invoice.replaced
    ]
    row.notes += [
        f"{model} {meter}: {stored.totals[model, meter]} have no price"
        for model, meter in unpriced(tariff, stored.totals)
    ]
    closed = stored.billed_totals is not None
    owed = by_unit(usage_lines(stored.billed_totals or {}, stored.period, tariff)) if closed else {}
    billed = by_unit(lines)
    for unit in dict.fromkeys([*owed, *billed]):
        ours, theirs = owed.get(unit, _NOTHING), billed.get(unit, _NOTHING)
        if ours != theirs:
            model, meter, _ = unit
            row.differences.append(
                f"{model or 'discounts and bounds'} {meter or ''}: {ours[0]:f} for {ours[1]} by the totals, "
                f"{theirs[0]:f} for {theirs[1]} on invoices"
            )


def _compare_reports(
    row: ReconciledPeriod,
    stored: StoredPeriod,
    tariff: Tariff,
    invoices: Sequence[tuple[Invoice, int]],
    reports: Sequence[Report],
) -> None:
    rejected = sum(report.state == "rejected" for report in reports)
    waiting = sum(report.state in ("pending", "sending") for report in reports)
    if rejected:
        row.differences.append(f"Stripe rejects {rejected} reports")
    if waiting:
        row.notes.append(f"{waiting} reports are not acknowledged yet")
    if any(invoice.collect == "meters" and invoice.status != "void" for invoice, _ in invoices):
        missing = untold(stored.billed_totals or {}, tariff, reports)
        for (model, meter), value in missing.items():
            # After the first close it can only be usage that came too late for Stripe's own invoice: an alarm says so.
            told = row.differences if stored.revision <= _AFTER_FIRST_CLOSE else row.notes
            told.append(f"{model} {meter}: {value} were billed and are in no report")


def _compare_surplus(row: ReconciledPeriod, stored: StoredPeriod, counted: Counted, reports: Sequence[Report]) -> None:
    """Stripe may have been told of what was taken back since; anything beyond that was never used."""
    surplus = _surplus(stored.totals, reports)
    if not surplus:
        return
    used = Sums(stored.totals)
    used.add(counted.taken_back)
    if _surplus(used, reports):
        row.differences.append(f"{surplus} more were reported than were used")
    else:
        row.notes.append(f"{surplus} were reported and taken back since; Stripe needs an invoice item for them")


def _compare_with_stripe(row: ReconciledPeriod, reports: Sequence[Report], reader: SumReader) -> None:
    """Stripe's sum lies between what it has acknowledged and all that it may have heard of."""
    groups: defaultdict[tuple[str, str], list[Report]] = defaultdict(list)
    for report in reports:
        if report.stripe_customer_id is not None:
            groups[report.event_name, report.stripe_customer_id].append(report)
    for (event_name, customer), group in groups.items():
        total = reader.total(event_name, customer, row.period)
        if isinstance(total, Untold):
            row.differences.append(f"Stripe's sum of {event_name} is not known: {total.reason}")
            continue
        row.tokens_at_stripe = (row.tokens_at_stripe or Decimal(0)) + total
        acknowledged = sum(one.value for one in group if one.state in ("acknowledged", "confirmed"))
        if not acknowledged <= total <= sum(one.value for one in group):
            row.differences.append(f"Stripe counts {total:f} {event_name}, {acknowledged:f} were acknowledged")


def _surplus(totals: Totals, reports: Sequence[Report]) -> int:
    """How much more Stripe was told than was used, in whole units."""
    told: dict[Key, int] = {}
    for report in reports:
        key = (report.model_id, report.token_type)
        told[key] = told.get(key, 0) + int(report.value)
    return sum(max(value - round_half_away(totals.get(key, 0)), 0) for key, value in told.items())


def _tokens(totals: Totals) -> int:
    return int(sum(quantity for (_, meter), quantity in totals.items() if meter in TOKEN_TYPES))


_NOTHING = (Decimal(0), 0)
_AFTER_FIRST_CLOSE = 2
