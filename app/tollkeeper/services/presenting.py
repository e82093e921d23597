"""Presenting: everything that a customer's usage page shows, as of one instant.

The money is the preview's own, that is, the close's; nothing is added up here a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import NotFound
from tollkeeper.domain.period import Period, period_of
from tollkeeper.domain.plan import Plan
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.projection import projected_totals
from tollkeeper.domain.usage import TOKEN_TYPES
from tollkeeper.services.explaining import Explanation, explain_in
from tollkeeper.services.previewing import PeriodNotBillable, Preview, one_instant, preview_of
from tollkeeper.services.showing import UsageOverview, usage_in
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Collect, Invoice, InvoicePlace, customer_invoices, load_invoice
from tollkeeper.storage.plans import load_plan, load_tariff
from tollkeeper.storage.usage_days import Grain, UsageDay, usage_by_day

LATEST_INVOICES = 12
_MOST_DAYS = timedelta(days=62)
_NO_COST = Decimal(0)


@dataclass(frozen=True, slots=True)
class Presentation:
    """A customer's standing: limits and totals, the invoice so far, and what was used when.

    `preview` is None where the period could not be billed as it stands. `days` has every day of the period, or every month
    of one that is long; it is None where there are too many events to add up for a picture.
    """

    usage: UsageOverview
    plan: Plan
    tariff: Tariff
    """What the period of now is priced by."""
    preview: Preview | None
    projected_tokens: int
    grain: Grain
    days: tuple[UsageDay, ...] | None
    invoices: tuple[Invoice, ...]
    more_invoices: bool

    @property
    def period(self) -> Period:
        return Period(self.usage.current.period_start, self.usage.current.period_end)


def present(database: Database, user_id: str, at: datetime, *, collect: Collect = "meters") -> Presentation:
    """Where the customer stands at an instant; `NotFound` for an unknown one."""
    with database.transaction() as connection:
        one_instant(connection)
        usage = usage_in(connection, user_id, at)
        current = usage.current
        period = Period(current.period_start, current.period_end)
        preview: Preview | None
        try:
            preview = preview_of(connection, user_id, at, collect, proving=False)
        except PeriodNotBillable:
            preview = None
        invoices = customer_invoices(connection, user_id, None, LATEST_INVOICES + 1)
        plan = load_plan(connection, usage.plan_id)
        tariff = load_tariff(connection, *current.priced_by(at))
        grain: Grain = "day" if period.end - period.start <= _MOST_DAYS else "month"
        days = usage_by_day(connection, user_id, period, grain)
    totals = {(one.model_id, one.token_type): one.quantity for one in current.quantities}
    projected = projected_totals(totals, totals, period, period, at)
    return Presentation(
        usage=usage,
        plan=plan,
        tariff=tariff,
        preview=preview,
        projected_tokens=int(sum(quantity for key, quantity in projected.items() if key[1] in TOKEN_TYPES)),
        grain=grain,
        days=None if days is None else tuple(_every_day(days, period, grain)),
        invoices=tuple(invoices[:LATEST_INVOICES]),
        more_invoices=len(invoices) > LATEST_INVOICES,
    )


def customers_invoice(database: Database, user_id: str, invoice_id: UUID) -> Explanation:
    """One invoice of the customer's with its lines explained; `NotFound` for anybody else's."""
    with database.transaction() as connection:
        if load_invoice(connection, invoice_id).user_id != user_id:
            raise NotFound("invoice", str(invoice_id))
        return explain_in(connection, invoice_id)


def customers_invoices(
    database: Database, user_id: str, after: InvoicePlace | None, limit: int
) -> tuple[list[Invoice], InvoicePlace | None]:
    """The customer's next invoices, newest period first, and where to go on; None at the end."""
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id))
        found = customer_invoices(connection, user_id, after, limit + 1)
    shown = found[:limit]
    return shown, (shown[-1].period.start, shown[-1].revision) if len(found) > limit else None


def _every_day(used: list[UsageDay], period: Period, grain: Grain) -> list[UsageDay]:
    """The days on which nothing was used among the others. A day is cut where the period begins or ends inside it."""
    by_start = {day.start: day for day in used}
    days = []
    at = period.start.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == "month":
        at = at.replace(day=1)
    while at < period.end:
        days.append(by_start.get(at) or UsageDay(at, 0, 0, _NO_COST))
        at = at + timedelta(days=1) if grain == "day" else period_of("month", at).end
    return days
