"""Reconciling: does everything agree? Events, running totals, invoice lines, reports, and what Stripe and Paystack say.
Changes nothing.

A *difference* is something that must not be; it stays until somebody has mended it. A *note* is something on its way that the
next sweep or the next invoice will settle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.usage import TOKEN_TYPES, Totals
from tollkeeper.services.checking import compare_reports, compare_sums, compare_surplus
from tollkeeper.services.collecting import Collectors
from tollkeeper.services.comparing import compare_items, compare_ledger, compare_with_collectors
from tollkeeper.services.invoicing import by_unit, usage_lines
from tollkeeper.services.rating import count_waiting
from tollkeeper.services.reading import SumReader
from tollkeeper.services.reconciled import ReconciledPeriod
from tollkeeper.storage.collections import Collection, collections_of, items_of
from tollkeeper.storage.database import Database, change
from tollkeeper.storage.event_sums import Counted, count_events, difference, events_without_period
from tollkeeper.storage.invoices import Invoice, InvoiceLine, invoices_of, usage_lines_of
from tollkeeper.storage.periods import PeriodKey, StoredPeriod, periods_after
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.reports import Report, reports_of
from tollkeeper.storage.unpriced import UnpricedCount

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every period, and what belongs to none."""

    rows: tuple[ReconciledPeriod, ...]
    strays: dict[str, int]
    """Events by customer that lie in no period of theirs."""
    unpriced: UnpricedCount
    """What is billed by nobody until it has a price: no difference, and nothing to leave alone."""

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
            return Reconciliation(tuple(rows), strays(database), count_waiting(database))


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
    for row, invoices, ledger in found:
        if reader is not None:
            compare_sums(row, reader)
        compare_with_collectors(row, invoices, ledger, collectors)
        compare_items(row, [one for one in row.collections if one.part], collectors)
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
) -> Iterator[tuple[ReconciledPeriod, list[Invoice], dict[UUID, Collection]]]:
    parts = [part.key for stored in page for part in stored.parts]
    counted = count_events(connection, page)
    lines, reports = usage_lines_of(connection, parts), reports_of(connection, parts)
    invoices = invoices_of(connection, [stored.key for stored in page])
    ledger = collections_of(connection, [invoice.id for found in invoices.values() for invoice, _ in found])
    items = items_of(connection, [invoice.id for found in invoices.values() for invoice, _ in found])
    tariffs: dict[tuple[str, int], Tariff] = {}
    for stored in page:
        found = invoices[stored.key]
        wrong, own = difference(stored, counted), found
        for part in stored.parts:
            plan = (part.plan_id, part.plan_version)
            if plan not in tariffs:
                tariffs[plan] = load_tariff(connection, *plan)
            tariff = for_part(tariffs[plan], part.share)
            row = _row(part, counted[part.key], lines[part.key], reports[part.key])
            own_ids = {invoice.id for invoice, _ in own}
            row.collections = [one for one in (*ledger.values(), *items) if one.invoice_id in own_ids]
            _compare_totals(row, part, wrong, now)
            _compare_lines(row, part, tariff, lines[part.key], own)
            compare_reports(row, part, tariff, found if part in stored.collected_parts else (), now)
            compare_surplus(row, part, counted[part.key])
            compare_ledger(row, [invoice for invoice, _ in own], ledger)
            yield row, [invoice for invoice, _ in own], ledger
            wrong, own = None, []  # what is said of the whole period stands at its first part


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
        reports=list(reports),
        tokens_reported=int(sum(report.value for report in reports if report.token_type in TOKEN_TYPES)),
    )


def _compare_totals(row: ReconciledPeriod, stored: StoredPeriod, wrong: str | None, now: datetime) -> None:
    if wrong is not None:
        row.differences.append(wrong)
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


def _tokens(totals: Totals) -> int:
    return int(sum(quantity for (_, meter), quantity in totals.items() if meter in TOKEN_TYPES))


_NOTHING = (Decimal(0), 0)
