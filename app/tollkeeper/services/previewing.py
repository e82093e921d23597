"""Previewing: what a customer's invoice would say if the period of now were closed now, and where usage is heading.

The deciding is the close's own (`drafting`), over the same rows, read as of one instant; nothing is locked and nothing stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.period import Period, cut, period_of
from tollkeeper.domain.plan import version_for
from tollkeeper.domain.projection import projected_amount
from tollkeeper.services.drafting import Drafting
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database, change
from tollkeeper.storage.invoices import Collect, InvoiceLine
from tollkeeper.storage.periods import StoredPeriod, stored_period, unbilled_periods
from tollkeeper.storage.plans import load_plan, versions_of
from tollkeeper.storage.spans import span_of
from tollkeeper.storage.totals import Sums


class PeriodNotBillable(TollkeeperError):
    """The period could not be closed as it stands: it would be parked, and this is why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the period could not be closed: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Preview:
    """What the invoice of a period would say if it were drafted now; amounts in minor units.

    `usage_amount` is its usage lines alone: what the spend cap is measured against. `projected_usage_amount` is the same at
    the period's end if usage goes on at the present rate.
    """

    user_id: str
    period: Period
    plan_id: str
    plan_version: int
    currency: str
    lines: tuple[InvoiceLine, ...]
    total_amount: int
    usage_amount: int
    projected_usage_amount: int
    alarm: str | None


def preview(database: Database, user_id: str, *, at: datetime, collect: Collect = "meters") -> Preview:
    """What the period that `at` lies in would be billed now; `NotFound` for an unknown customer.

    Raises `PeriodNotBillable` where the close would park it.
    """
    with database.transaction() as connection:
        one_instant(connection)
        return preview_of(connection, user_id, at, collect)


def one_instant(connection: Connection) -> None:
    """Read everything in this transaction as it is now; for its first statement."""
    change(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def preview_of(
    connection: Connection, user_id: str, at: datetime, collect: Collect, *, proving: bool = True
) -> Preview:
    """The same inside a transaction; with `proving` false without counting the events behind the totals again."""
    load_customer(connection, validate_user_id(user_id))
    current = stored_period(connection, user_id, at) or unused_period(connection, user_id, at)
    others = unbilled_periods(connection, user_id, current.period.end)
    drafting = Drafting(collect, at, proving=proving)
    outcome = drafting.decide(connection, _with(others, current))
    if current.key in outcome.parked:
        raise PeriodNotBillable(outcome.parked[current.key])
    parts = [(drafting.tariff(connection, part), part.totals, part.period) for part in current.parts]
    now_in_force = next(part for part in current.parts if part.period.contains(at))
    draft = next((one for one in outcome.drafts if one.invoice.period == current.period), None)
    lines = () if draft is None else draft.lines
    return Preview(
        user_id=user_id,
        period=current.period,
        plan_id=now_in_force.plan_id,
        plan_version=now_in_force.plan_version,
        currency=current.currency,
        lines=lines,
        total_amount=0 if draft is None else draft.invoice.total_amount,
        usage_amount=sum(line.amount for line in lines if line.kind == "usage"),
        projected_usage_amount=projected_amount(parts, current.period, at),
        alarm=None if draft is None else draft.invoice.alarm,
    )


def unused_period(connection: Connection, user_id: str, at: datetime) -> StoredPeriod:
    """The period that a customer's next event at `at` would begin."""
    customer = load_customer(connection, user_id)
    plan = load_plan(connection, customer.plan_id)
    span = span_of(connection, user_id)
    whole = period_of(plan.interval, at, customer.period_anchor or customer.created_at)
    period = cut(whole, at, span.trial_end, span.closed_at)
    return StoredPeriod(
        user_id=user_id,
        period=period,
        plan_id=plan.id,
        plan_version=version_for(period, versions_of(connection, plan.id, user_id)).version,
        plan_name=plan.name,
        collect=plan.collect,
        currency=plan.currency,
        revision=1,
        events=0,
        totals=Sums(),
        billed_totals=None,
        status="open",
        parked_reason=None,
        closed_at=None,
        anchor=customer.period_anchor or customer.created_at,
        left_at=span.closed_at if customer.status == "closed" else None,
    )


def _with(others: list[StoredPeriod], current: StoredPeriod) -> list[StoredPeriod]:
    """All of them, oldest first, the current one once."""
    kept = [one for one in others if one.key != current.key]
    return sorted([*kept, current], key=lambda one: one.period.start)
