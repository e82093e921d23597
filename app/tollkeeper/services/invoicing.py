"""Invoicing: from a period's frozen totals to the lines of its invoice. Composes, and looks things up; the close stores.

Late usage of an earlier period is rated together with everything else of that period, and what was billed for it before is
taken off. So the sum of all invoices is what one invoice would have been, had everything come in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID, uuid5

from tollkeeper.domain.credit import TOKENS
from tollkeeper.domain.money import as_decimal, bigint
from tollkeeper.domain.period import Period, period_of
from tollkeeper.domain.pricing import RatedLine, Tariff, rate
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.proration import base_fee_line
from tollkeeper.domain.usage import REQUESTS, Totals
from tollkeeper.services.crediting import Payment, Purse
from tollkeeper.storage.adjustments import Adjustment
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Collect, Invoice, InvoiceLine, lines_of, list_invoices, load_invoice
from tollkeeper.storage.periods import StoredPeriod
from tollkeeper.storage.totals import Sums

_INVOICES = UUID("6f9a3c0e-7b57-4d0b-8f0e-2f6d1b9f5c11")
_ALARMED_MODELS = 5


Priced: TypeAlias = tuple[StoredPeriod, Tariff]
"""A period, or a plan's part of one, and what it is priced by."""


@dataclass(frozen=True, slots=True)
class LateUsage:
    """A closed period, or part of one, with more in it than was billed, its tariff, and every line that billed usage of it."""

    row: StoredPeriod
    """The period itself."""
    stored: StoredPeriod
    tariff: Tariff
    billed: Sequence[InvoiceLine]


@dataclass(frozen=True, slots=True)
class Draft:
    """An invoice that is to be stored, with its lines."""

    invoice: Invoice
    lines: tuple[InvoiceLine, ...]

    @property
    def charges(self) -> int:
        """What it charges before credits, in minor units."""
        return sum(line.amount for line in self.lines if line.kind != "credit")

    def with_alarm(self, alarm: str) -> Draft:
        """The same with one more note for a person to look at."""
        alarms = [text for text in (self.invoice.alarm, alarm) if text is not None]
        return replace(self, invoice=replace(self.invoice, alarm="; ".join(alarms)))


def draft_invoice(
    stored: StoredPeriod,
    parts: Sequence[Priced],
    late: Sequence[LateUsage],
    credit: int,
    purse: Purse,
    *,
    collect: Collect,
    now: datetime,
    adjustments: Sequence[Adjustment] = (),
) -> Draft | None:
    """The invoice of a period, or None where nothing was used, no base fee is due, nothing came late and nobody adjusts it.

    `parts` are what the period is made of: itself, or a part for each plan. `credit` is what the customer has coming from
    earlier negative totals, in minor units; a total that would be negative is carried forward in turn. What is left to pay is
    drawn from the purse.
    """
    own = list(_own_lines(stored, parts))
    lines = [*own, *(line for one in late for line in late_lines(one))]
    lines += [_adjustment_line(one, stored.period) for one in adjustments]
    if not lines and not any(_was_used(part.totals, tariff) for part, tariff in parts):
        return None
    interval = parts[-1][1].interval
    purse.renew(period_of(interval, stored.period.start, stored.anchor), interval, stored.anchor)
    used = [(tariff, part.totals) for part, tariff in parts]
    by_tokens = purse.for_tokens(used, stored.period) if own else []
    lines += [_payment_line(payment, stored.period) for payment in by_tokens]
    owed = sum(line.amount for line in lines)
    carried = -owed if owed < 0 else -min(owed, credit)
    if carried:
        lines.append(_carry_line(carried, stored.period))
    by_money = purse.for_money(owed + carried, stored.currency, stored.period)
    lines += [_payment_line(payment, stored.period) for payment in by_money]
    invoice = Invoice(
        id=uuid5(_INVOICES, f"{stored.period.start.isoformat()} {stored.revision} {stored.user_id}"),
        user_id=stored.user_id,
        period=stored.period,
        revision=stored.revision,
        currency=stored.currency,
        total_amount=bigint(sum(line.amount for line in lines)),
        plan_id=stored.plan_id,
        plan_version=stored.plan_version,
        collect=collect,
        arrival_cutoff=now,
        created_at=now,
        alarm=without_price(used),
        carried=carried,
    )
    purse.pay([*by_tokens, *by_money], invoice.id, stored.period)
    return Draft(invoice, tuple(lines))


def _own_lines(stored: StoredPeriod, parts: Sequence[Priced]) -> Iterator[InvoiceLine]:
    """The lines of the period itself; where it has several plans, each line names its own."""
    for part, tariff in parts:
        if stored.revision == 1 and not stored.plan_parts:
            yield from period_lines(part, tariff)  # which is what nearly all are: there is nothing to add to them
            continue
        for line in period_lines(part, tariff):
            text = _naming_the_plan(line, part) if stored.plan_parts else line.description
            yield line._replace(revision=stored.revision, description=text)


def period_lines(stored: StoredPeriod, tariff: Tariff) -> list[InvoiceLine]:
    """The lines of the usage of a period or a part, and of its base fee; none where there is neither."""
    whole = period_of(tariff.interval, stored.period.start, stored.anchor)
    fee = base_fee_line(tariff, stored.period, whole, stored.plan_name)
    lines = usage_lines(stored.totals, stored.period, tariff)
    return lines if fee is None else [*lines, _line(fee, stored.period)]


def usage_lines(totals: Totals, period: Period, tariff: Tariff) -> list[InvoiceLine]:
    """The lines of a period's usage: one for each price and tier, and what discounts and bounds change.

    A period in which nothing was used has none, unless it has a base fee: only then is a minimum owed for nothing.
    """
    if not _was_used(totals, tariff) and not tariff.base_fee:
        return []
    return [_line(line, period) for line in rate(tariff, totals).lines]


def late_lines(late: LateUsage) -> Iterator[InvoiceLine]:
    """What usage of a closed period comes to now, less what was billed for it; nothing where that is the same."""
    rated, billed = by_unit(usage_lines(late.stored.totals, late.stored.period, late.tariff)), by_unit(late.billed)
    for unit in dict.fromkeys([*rated, *billed]):
        (quantity, amount), (billed_quantity, billed_amount) = rated.get(unit, _NONE), billed.get(unit, _NONE)
        if (quantity, amount) != (billed_quantity, billed_amount):
            line = _late_line(late.stored.period, unit, quantity - billed_quantity, amount - billed_amount)
            since = 1 + max((one.revision for one in late.billed), default=0)
            yield line._replace(since_revision=min(since, late.stored.revision), revision=late.stored.revision)


Unit = tuple[str | None, str | None, Decimal]
"""What lines are compared by: the price's patterns and its amount for one; nothing of that for discounts and bounds."""
_NO_UNIT: Unit = (None, None, Decimal(0))
_NONE: tuple[Decimal, int] = (Decimal(0), 0)


def by_unit(lines: Iterable[InvoiceLine]) -> dict[Unit, tuple[Decimal, int]]:
    """Quantity and amount of usage lines, added up by what they charge for."""
    sums: dict[Unit, tuple[Decimal, int]] = {}
    for line in lines:
        priced = line.model_id is not None
        unit = (line.model_id, line.token_type, line.unit_amount) if priced else _NO_UNIT
        quantity, amount = sums.get(unit, _NONE)
        sums[unit] = (quantity + line.quantity if priced else Decimal(0), amount + line.amount)
    return sums


def all_invoices(database: Database, user_id: str | None = None) -> list[Invoice]:
    """All invoices, or one customer's, newest period first; `NotFound` for an unknown customer."""
    with database.transaction() as connection:
        if user_id is not None:
            load_customer(connection, user_id)
        return list_invoices(connection, user_id)


def invoice_with_lines(database: Database, invoice_id: UUID) -> tuple[Invoice, list[InvoiceLine]]:
    """An invoice and its lines, or `NotFound`."""
    with database.transaction() as connection:
        return load_invoice(connection, invoice_id), lines_of(connection, invoice_id)


def _was_used(totals: Totals, tariff: Tariff) -> bool:
    """A request that used nothing is no usage, unless requests have a price; tokens are, whether they have one or not."""
    return any(
        quantity and (key[1] != REQUESTS or tariff.price_of(key) is not None) for key, quantity in totals.items()
    )


def _line(line: RatedLine, period: Period) -> InvoiceLine:
    """A line that is not usage is one piece at its own price."""
    return InvoiceLine(
        line.kind,
        line.model,
        line.meter,
        Decimal(1) if line.quantity is None else line.quantity,
        as_decimal(line.exact) if line.unit_amount is None else line.unit_amount,
        line.amount,
        line.description,
        period,
    )


def _naming_the_plan(line: InvoiceLine, part: StoredPeriod) -> str:
    """What the line says beside those of another plan; a base fee says for which time it is in any case."""
    if line.kind == "base_fee":
        return line.description
    return f"{part.plan_name} from {part.period.start:%Y-%m-%d %H:%M:%S} UTC: {line.description}"


def _late_line(period: Period, unit: Unit, quantity: Decimal, amount: int) -> InvoiceLine:
    model, meter, unit_amount = unit
    of = f"Late usage of {period.start:%Y-%m-%d} to {period.end:%Y-%m-%d}"
    if model is None:
        return InvoiceLine(
            "late_usage", None, None, Decimal(1), Decimal(amount), amount, f"{of}: discounts and bounds", period
        )
    return InvoiceLine(
        "late_usage", model, meter, quantity, unit_amount, amount, f"{of}: {model}, {meter}: {quantity:+,f}", period
    )


def _payment_line(payment: Payment, period: Period) -> InvoiceLine:
    of = f"{payment.draw.amount:,} granted tokens" if payment.unit == TOKENS else "Prepaid"
    description = f"{of}, grant {payment.draw.grant_id}"
    amount = Decimal(-payment.amount)
    return InvoiceLine("credit", None, None, Decimal(1), amount, -payment.amount, description, period)


def _adjustment_line(one: Adjustment, period: Period) -> InvoiceLine:
    amount = Decimal(one.amount)
    return InvoiceLine(
        "adjustment",
        None,
        None,
        Decimal(1),
        amount,
        one.amount,
        f"Adjustment: {one.reason}",
        period,
        adjustment_id=one.id,
    )


def _carry_line(carried: int, period: Period) -> InvoiceLine:
    description = "Carried forward to the next invoice" if carried > 0 else "Carried forward from earlier invoices"
    return InvoiceLine("credit", None, None, Decimal(1), Decimal(carried), carried, description, period)


def without_price(used: Iterable[tuple[Tariff, Totals]]) -> str | None:
    """The note on an invoice about usage that is on no line of it; None where there is none."""
    found = Sums()
    for tariff, totals in used:
        found.add({key: totals[key] for key in unpriced(tariff, totals)})
    if not found:
        return None
    named = [f"{model} {meter} ({count})" for (model, meter), count in list(found.items())[:_ALARMED_MODELS]]
    more = f" and {len(found) - _ALARMED_MODELS} more" if len(found) > _ALARMED_MODELS else ""
    return f"no price for {', '.join(named)}{more}"
