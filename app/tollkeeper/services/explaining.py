"""Explaining: how each line of an invoice came about, and which events are behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.currency import display, display_price
from tollkeeper.domain.money import as_decimal, as_number
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Price, Tariff
from tollkeeper.domain.pricing.kinds import slices
from tollkeeper.domain.pricing.price import FINE, Slice
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.usage import Totals
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Invoice, InvoiceLine, lines_of, load_invoice
from tollkeeper.storage.periods import stored_period
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.totals import Sums


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """One line. `tier` counts from 1 and is None for what has none; `events_sql` is None where no events are behind it."""

    position: int
    line: InvoiceLine
    plan_id: str
    plan_version: int
    tier: int | None
    arithmetic: str
    events_sql: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """An invoice and its lines, explained."""

    invoice: Invoice
    lines: tuple[ExplainedLine, ...]


Seen: TypeAlias = Counter[tuple[datetime, str | None, str | None]]
"""How many lines of a span and price came before."""


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a line's period was priced by, and what was used in it."""

    plan_id: str
    plan_version: int
    tariff: Tariff
    totals: Totals


def explain(database: Database, invoice_id: UUID) -> Explanation:
    """How an invoice's lines came about; `NotFound` where there is no such invoice."""
    with database.transaction() as connection:
        return explain_in(connection, invoice_id)


def explain_in(connection: Connection, invoice_id: UUID) -> Explanation:
    """The same inside a transaction."""
    invoice = load_invoice(connection, invoice_id)
    lines = lines_of(connection, invoice_id)
    bases = {line.period: _basis(connection, invoice, line.period) for line in lines}
    seen: Seen = Counter()
    explained = []
    for position, line in enumerate(lines, 1):
        explained.append(_explained(position, line, bases[line.period], invoice, seen))
        if line.kind == "usage":
            seen[line.period.start, line.model_id, line.token_type] += 1
    return Explanation(invoice, tuple(explained))


def _basis(connection: Connection, invoice: Invoice, period: Period) -> _Basis:
    """An invoice keeps the version that it was drafted with; a late line, and one of several plans, goes by its own span's."""
    row = stored_period(connection, invoice.user_id, period.start)
    stored = None if row is None else next((part for part in row.parts if part.period == period), row)
    plan_id, version = invoice.plan_id, invoice.plan_version
    if stored is None:
        return _Basis(plan_id, version, load_tariff(connection, plan_id, version), Sums())
    if period != invoice.period:
        plan_id, version = stored.plan_id, stored.plan_version
    tariff = for_part(load_tariff(connection, plan_id, version), stored.share)
    return _Basis(plan_id, version, tariff, stored.totals)


def _explained(position: int, line: InvoiceLine, basis: _Basis, invoice: Invoice, seen: Seen) -> ExplainedLine:
    index = _price_of(line, basis.tariff)
    tier, arithmetic = None, _plain_words(line, invoice.currency)
    if line.kind == "usage" and index is not None:
        price = basis.tariff.prices[index]
        piece = _slice(price, line.quantity, seen[line.period.start, line.model_id, line.token_type])
        tier, arithmetic = piece.tier + 1, _in_words(price, piece, line, invoice.currency)
    return ExplainedLine(
        position=position,
        line=line,
        plan_id=basis.plan_id,
        plan_version=basis.plan_version,
        tier=tier,
        arithmetic=arithmetic,
        events_sql=_events_sql(line, invoice.user_id, _models(basis, index)),
    )


def _price_of(line: InvoiceLine, tariff: Tariff) -> int | None:
    """The price whose patterns the line carries; no two prices of a plan have the same."""
    pairs = [(price.model, price.meter) for price in tariff.prices]
    pair = (line.model_id or "", line.token_type or "")
    return pairs.index(pair) if pair in pairs else None


def _slice(price: Price, quantity: Decimal, before: int) -> Slice:
    """The part of the price that a line stands for. Graduated prices have a line for each tier, from the first one on."""
    number = as_number(quantity)
    if price.kind == "graduated":
        return Slice(before, number, number)
    return next(slices(price, number))


def _in_words(price: Price, piece: Slice, line: InvoiceLine, currency: str) -> str:
    """`900,000 × $0.003 / 1,000 = $2.70`, with packages, fees and rounding where there are any."""
    tier = price.tiers[piece.tier]
    rate = display_price(tier.price, currency)
    if price.round_up:
        count = int(piece.charged) // price.per
        parts = f"{line.quantity:,f} begin {count:,} packages of {price.per:,}; {count:,} × {rate}"
    else:
        parts = f"{line.quantity:,f} × {rate}" + (f" / {price.per:,}" if price.per > 1 else "")
    if tier.flat_fee:
        parts += f" + {display_price(tier.flat_fee, currency)} once"
    exact = as_decimal(Fraction(price.charge(piece)) / FINE)
    if exact == line.amount:
        return f"{parts} = {display(line.amount, currency)}"
    shown = display_price(exact, currency)
    return f"{parts} = {shown}, rounded half away from zero to {display(line.amount, currency)}"


def _plain_words(line: InvoiceLine, currency: str) -> str:
    amount = display(line.amount, currency)
    if line.kind == "late_usage":
        return f"all usage of the period rated again, less what was billed for it before: {amount}"
    if line.kind == "base_fee":
        return f"the base fee for the period, or for its share of the time: {amount}"
    if line.adjustment_id is not None:
        return f"adjusted by hand, {line.adjustment_id}: {amount}"
    if line.kind == "adjustment":
        return f"what the usage lines above are changed by: {amount}"
    return amount


def _models(basis: _Basis, index: int | None) -> list[str]:
    """Models whose usage the line's price took; none stands for all of them."""
    if index is None:
        return []
    return sorted({key[0] for key, count in basis.totals.items() if count and basis.tariff.price_of(key) == index})


def _events_sql(line: InvoiceLine, user_id: str, models: Sequence[str]) -> str | None:
    """The statement that lists the very events behind a line, bounds half-open."""
    if line.kind in ("base_fee", "credit") or line.adjustment_id is not None:
        return None
    names = ", ".join(map(_quoted, models))
    part = f"EXISTS (SELECT FROM jsonb_array_elements(parts) AS part WHERE part ->> 'model_id' IN ({names}))"
    chosen = f" AND (model_id IN ({names}) OR {part})" if models else ""
    return (
        f"SELECT * FROM usage_events WHERE user_id = {_quoted(user_id)} "  # noqa: S608 - to be read and run by a person
        f'AND "timestamp" >= {_instant(line.period.start)} AND "timestamp" < {_instant(line.period.end)} '
        f'AND billable AND revision {_revisions(line)}{chosen} ORDER BY "timestamp", id'
    )


def _revisions(line: InvoiceLine) -> str:
    if line.since_revision == line.revision:
        return f"= {line.revision}"
    return f"BETWEEN {line.since_revision} AND {line.revision}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _instant(at: datetime) -> str:
    return f"'{at.isoformat()}'"
