"""Moving: put a customer on another plan, from the next period on or from an instant of the open one.

A plan that changes inside a period leaves it in parts. Each is priced by its own plan on what was used in it; caps and quotas
count over the whole period, which has one invoice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.domain.customer import plain_text, validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period, period_of, utc
from tollkeeper.domain.plan import Collect, Plan
from tollkeeper.domain.plan_part import from_then_on, part_at, spans
from tollkeeper.services.opening import open_missing_of
from tollkeeper.services.overriding import follow_customer
from tollkeeper.services.previewing import unused_period
from tollkeeper.services.repricing import replan
from tollkeeper.services.trying import continue_trial
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import Customer, billed_in, load_customer, set_plan
from tollkeeper.storage.database import Database
from tollkeeper.storage.periods import NewPeriod, insert_periods, seen_until, stored_period
from tollkeeper.storage.plans import load_plan, lock_plans
from tollkeeper.storage.reports import told_until
from tollkeeper.storage.usage_periods import UsagePeriod, lock_periods_past

SHORTEST_PART = timedelta(minutes=1)
"""Stripe sums up whole minutes, so what is reported of two parts must not stand in the same one."""


@dataclass(frozen=True, slots=True)
class PlanMove:
    """A customer's plan, before and after; the same twice where nothing changed. `at` is None for the next period."""

    before: str
    after: str
    at: datetime | None = None


def move_customer(
    database: Database,
    user_id: str,
    plan_id: str,
    now: datetime,
    *,
    at: datetime | None = None,
    collect: Collect = "meters",
) -> PlanMove:
    """Put a customer on a plan: its limits at once, its prices from the next period on; or all of it from an instant on.

    Without an instant an open period in which nothing was used goes with the plan. `at` may be past or still to come, as long
    as its period is open; what was to change after it is called off. `collect` is for plans that do not say. Raises
    `NotFound`, and `InvalidInput` for an instant or a plan that will not do.
    """
    with database.transaction() as connection:
        return move_in(connection, user_id, plan_id, now, at=at, collect=collect)


def move_in(
    connection: Connection,
    user_id: str,
    plan_id: str,
    now: datetime,
    *,
    at: datetime | None = None,
    collect: Collect = "meters",
) -> PlanMove:
    """The same in a transaction that somebody else has open."""
    at = None if at is None else utc(at, "at")
    lock_plans(connection)
    customer = load_customer(connection, validate_user_id(user_id), lock=True)
    before, plan = load_plan(connection, customer.plan_id), load_plan(connection, plain_text(plan_id, "plan"))
    end = _open_period(connection, customer, now).end
    if at is not None and at > end:
        raise InvalidInput("at", f"an instant up to {end:%Y-%m-%dT%H:%M:%SZ}, the end of the open period")
    inside = None if at == end else at
    check_continues(connection, customer, plan, None if inside is None else before)
    open_missing_of(
        connection, user_id, now if inside is None else min(inside, now)
    )  # what was over by then is the old plan's
    if inside is None:
        _bring_own_terms(connection, customer, before, plan, now)
        move = PlanMove(before.id, plan.id)
    else:
        move = _from_instant(connection, customer, before, plan, now, inside, collect)
    if move.before != move.after:
        was, becomes = {"plan_id": move.before}, {"plan_id": move.after} | ({"at": inside} if inside else {})
        record(connection, "customer.moved", user_id, now, user_id=user_id, before=was, after=becomes)
    set_plan(connection, user_id, plan.id, anchor=now.replace(microsecond=0))
    return move


def _from_instant(
    connection: Connection, customer: Customer, before: Plan, plan: Plan, now: datetime, at: datetime, collect: Collect
) -> PlanMove:
    """All that is open from the instant on gets the plan; of the period that it lies in, the part after it."""
    user_id = customer.user_id
    _check_open(connection, customer, at)
    _make_period(connection, user_id, at)
    rows = lock_periods_past(connection, user_id, at)
    if any(row.status != "open" for row in rows):
        raise InvalidInput("at", "an instant in a period that is not closed yet, and with no closed one after it")
    changes = [from_then_on(row.parts, at, plan.id) for row in rows]
    was = rows[0].parts[part_at(rows[0].parts, at)].plan_id
    _check_parts(connection, rows[0], at, changes[0], collect)
    _bring_own_terms(connection, customer, before, plan, min(at, now))
    changed = [replan(connection, row, change) for row, change in zip(rows, changes, strict=True)]
    return PlanMove(was if any(changed) else plan.id, plan.id, at)


def _bring_own_terms(connection: Connection, customer: Customer, before: Plan, plan: Plan, since: datetime) -> None:
    """What the customer has of their own goes with them: terms, and the rest of a trial."""
    follow_customer(connection, customer.user_id, before, plan, since)
    if plan.id != before.id:
        continue_trial(connection, customer.user_id, plan, since)


def _open_period(connection: Connection, customer: Customer, now: datetime) -> Period:
    interval = load_plan(connection, customer.plan_id).interval
    return period_of(interval, now, customer.period_anchor or customer.created_at)


def _make_period(connection: Connection, user_id: str, at: datetime) -> None:
    """Store the period that an instant lies in with the plan that it has, so that it keeps it."""
    if stored_period(connection, user_id, at) is None:
        unused = unused_period(connection, user_id, at)
        new = NewPeriod(user_id, unused.period, unused.plan_id, unused.plan_version, unused.currency)
        insert_periods(connection, [new])


def check_continues(connection: Connection, customer: Customer, plan: Plan, before: Plan | None = None) -> None:
    """Periods follow one another without overlap, and in one currency; `before` is the plan of a period without usage."""
    billed = billed_in(connection, customer.user_id)
    if billed is None and before is not None:
        billed = before.currency, before.interval
    if billed is None:
        return
    for name, was, becomes in zip(("currency", "interval"), billed, (plan.currency, plan.interval), strict=True):
        if was != becomes:
            raise InvalidInput("plan", f"one whose {name} is {was}, as metered so far, not {becomes} like {plan.id}")


def _check_open(connection: Connection, customer: Customer, at: datetime) -> None:
    """A period in which something was used says itself whether it is open; one without a row was closed when it was passed."""
    if customer.status == "closed":
        raise InvalidInput("user_id", "a customer who has not left")
    if stored_period(connection, customer.user_id, at) is not None:
        return
    if at < customer.created_at:
        raise InvalidInput("at", "an instant since the customer was added")
    looked_at = seen_until(connection, customer.user_id)
    if looked_at is not None and _open_period(connection, customer, at).end < looked_at:
        raise InvalidInput("at", "an instant in a period that is not closed yet")


def _check_parts(
    connection: Connection, row: UsagePeriod, at: datetime, changes: Sequence[tuple[datetime, str]], collect: Collect
) -> None:
    """What one invoice can be made of: parts that Stripe can tell apart, and plans that are collected in one way."""
    told = told_until(connection, row.user_id, Period(row.period_start, row.period_end))
    if told is not None and told >= at:
        raise InvalidInput("at", f"an instant after {told:%Y-%m-%dT%H:%M:%SZ}, up to where Stripe has been told")
    starts = [start for start, _ in changes]
    if any(span.end - span.start < SHORTEST_PART for span in spans(starts, row.period_end)):
        raise InvalidInput("at", "an instant at least a minute from the period's bounds and from other changes of plan")
    if len(changes) < 2:
        return
    plans = [load_plan(connection, plan_id) for plan_id in dict.fromkeys(plan_id for _, plan_id in changes)]
    ways = {plan.collect or collect: plan.id for plan in plans if plan.collect != "off" or plan.tariff.charges}
    if len(ways) > 1:
        said = ", ".join(f"{plan_id} by {way}" for way, plan_id in ways.items())
        raise InvalidInput(
            "plan", f"one that is collected as the other, because a period has one invoice ({said}); or no instant"
        )
    if plans[0].interval == "year" and "meters" in ways:
        raise InvalidInput(
            "at", "none, because Stripe takes reports of the last 35 days and this plan goes by the year"
        )
