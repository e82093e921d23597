"""Showing: where a customer stands, and what the last periods were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.period import Period, cut, period_of
from tollkeeper.domain.plan import Plan, version_for
from tollkeeper.domain.plan_part import part_at
from tollkeeper.domain.usage import Totals
from tollkeeper.storage.customers import Customer, load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.own_terms import own_terms_of
from tollkeeper.storage.plans import load_plan, versions_of
from tollkeeper.storage.spans import span_of
from tollkeeper.storage.totals import Sums
from tollkeeper.storage.usage_periods import UsagePeriod, period_at, recent_periods

RECENT = 6


@dataclass(frozen=True, slots=True)
class Quantity:
    """How much of one model was counted on one meter."""

    model_id: str
    token_type: str
    quantity: Decimal | int


@dataclass(frozen=True, slots=True)
class PartUsage:
    """One plan's part of a period in which the plan changes, from `start` on."""

    start: datetime
    plan_id: str
    plan_version: int
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """One period, with `parts` where its plan changes.

    `spent` is the usage charges as an invoice drafted now would say, `cost_units` the same unrounded.
    """

    period_start: datetime
    period_end: datetime
    status: str
    plan_id: str
    plan_version: int
    currency: str
    events: int
    tokens: int
    spent: int
    cost_units: Decimal
    quantities: tuple[Quantity, ...]
    parts: tuple[PartUsage, ...] = ()

    def priced_by(self, at: datetime) -> tuple[str, int]:
        """The plan that is in force at an instant of it, and its version."""
        begun = [part for part in self.parts if part.start <= at]
        return (begun[-1].plan_id, begun[-1].plan_version) if begun else (self.plan_id, self.plan_version)


@dataclass(frozen=True, slots=True)
class UsageOverview:
    """A customer's standing: the period of now, the limits that hold now, and the periods before."""

    user_id: str
    status: str
    plan_id: str
    spend_cap: int | None
    percent_of_cap: int | None
    quota_tokens: int | None
    percent_of_quota: int | None
    current: PeriodUsage
    recent: tuple[PeriodUsage, ...]


def usage_of(database: Database, user_id: str, now: datetime) -> UsageOverview:
    """The customer's standing at `now`, with up to `RECENT` other periods, newest first; or `NotFound`."""
    with database.transaction() as connection:
        return usage_in(connection, user_id, now)


def usage_in(connection: Connection, user_id: str, now: datetime) -> UsageOverview:
    """The same inside a transaction."""
    customer = load_customer(connection, validate_user_id(user_id))
    row = period_at(connection, user_id, now)
    plan = load_plan(connection, _in_force(customer, row, now))
    row = row or _unused(connection, customer, plan, now)
    own_cap = own_terms_of(connection, user_id).spend_cap
    others = recent_periods(connection, user_id, RECENT + 1)
    current = _shown(row)
    cap = plan.spend_cap if own_cap is None else own_cap
    return UsageOverview(
        user_id=user_id,
        status=customer.status,
        plan_id=plan.id,
        spend_cap=cap,
        percent_of_cap=_percent(current.spent, cap),
        quota_tokens=plan.quota,
        percent_of_quota=_percent(current.tokens, plan.quota),
        current=current,
        recent=tuple(_shown(other) for other in others if other.period_start != row.period_start)[:RECENT],
    )


def _in_force(customer: Customer, row: UsagePeriod | None, now: datetime) -> str:
    """The plan whose limits hold now: the customer's, unless that is still to come in this period."""
    if row is None or row.parts[-1].start <= now:
        return customer.plan_id
    return row.parts[part_at(row.parts, now)].plan_id


def _unused(connection: Connection, customer: Customer, plan: Plan, now: datetime) -> UsagePeriod:
    """The period that the customer's next event begins."""
    span = span_of(connection, customer.user_id)
    period = cut(period_of(plan.interval, now, customer.period_anchor), now, span.trial_end, span.closed_at)
    return UsagePeriod(
        user_id=customer.user_id,
        period_start=period.start,
        period_end=period.end,
        plan_id=plan.id,
        plan_version=_version(connection, plan, period, customer.user_id),
        currency=plan.currency,
        events=0,
        tokens=0,
        totals=Sums(),
        cost_units=Decimal(0),
        spent=0,
        status="open",
    )


def _version(connection: Connection, plan: Plan, period: Period, user_id: str) -> int:
    return version_for(period, versions_of(connection, plan.id, user_id)).version


def _shown(row: UsagePeriod) -> PeriodUsage:
    return PeriodUsage(
        period_start=row.period_start,
        period_end=row.period_end,
        status=row.status,
        plan_id=row.plan_id,
        plan_version=row.plan_version,
        currency=row.currency,
        events=row.events,
        tokens=row.tokens,
        spent=row.spent,
        cost_units=row.cost_units,
        quantities=tuple(_quantities(row.totals)),
        parts=tuple(
            PartUsage(part.start, part.plan_id, part.plan_version, tuple(_quantities(part.totals)))
            for part in row.plan_parts
        ),
    )


def _quantities(totals: Totals) -> Iterator[Quantity]:
    return (Quantity(model_id, meter, quantity) for (model_id, meter), quantity in sorted(totals.items()))


def _percent(part: int, whole: int | None) -> int | None:
    """Whole percent, rounded down; None where there is nothing to measure against."""
    return None if whole is None else part * 100 // whole if whole else 100
