"""Applying plans: all of a file or nothing of it.

Limits are in force at the next request. What affects money is versioned: a version that somebody was metered by is never
touched, a change makes the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from tollkeeper.domain.currency import display, display_price
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.plan import Plan
from tollkeeper.domain.pricing import Price, Tier
from tollkeeper.services.overriding import follow_plan, refuse_other_currency
from tollkeeper.services.repricing import reprice_open_periods
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import anchor_customers
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import (
    PlanListing,
    add_version,
    drop_unused_versions,
    find_plan,
    has_usage,
    last_version,
    list_plans,
    lock_plans,
    save_plan,
    versions_of,
)

ChangeKind = Literal["created", "new_version", "updated", "unchanged"]

_MONEY = ("spend_cap", "base_fee", "minimum", "maximum")
_LIMITS = (
    "name", "spend_cap", "at_cap", "quota_tokens", "rate_limit", "throttle_limit", "collect", "collector", "days_until_due",
    "split", "unpriced", "hold_tokens", "upgrade_url", "on_unpaid",
)  # fmt: skip
_CHARGES = (
    "currency", "interval", "base_fee", "included_tokens", "minimum", "maximum", "discount_percent", "trial_days",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a plan, before and after, as people write it; None where it is not set."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class PlanChange:
    """What applying a plan changes.

    `charges` are versioned: with `immediate` they count for periods that are open now, otherwise from each customer's next
    period on. `limits` are in force at the next request.
    """

    plan_id: str
    kind: ChangeKind
    version: int
    immediate: bool = False
    charges: tuple[FieldChange, ...] = ()
    limits: tuple[FieldChange, ...] = ()


def apply_plans(
    database: Database, plans: Sequence[Plan], now: datetime, *, immediate: bool = False, dry_run: bool = False
) -> list[PlanChange]:
    """Bring the stored plans to what `plans` say; plans that are not among them stay as they are.

    A plan's currency and interval are fixed once something was metered on it: `InvalidInput`, and nothing is changed. With
    `dry_run` nothing is changed either way.
    """
    with database.transaction() as connection:
        lock_plans(connection)
        changes = [_apply(connection, plan, now, immediate=immediate, dry_run=dry_run) for plan in plans]
    if immediate and not dry_run:
        for change in changes:
            reprice_open_periods(database, change.plan_id)
    return changes


def list_all(database: Database) -> list[PlanListing]:
    """Every plan as it is in force now."""
    with database.transaction() as connection:
        return list_plans(connection)


def _apply(connection: Connection, plan: Plan, now: datetime, *, immediate: bool, dry_run: bool) -> PlanChange:
    found = find_plan(connection, plan.id)
    if found is None:
        change = PlanChange(plan.id, "created", 1)
    else:
        before, version = found
        starts_over = (before.currency, before.interval) != (plan.currency, plan.interval)
        if starts_over and has_usage(connection, plan.id):
            raise _fixed(before, plan)
        refuse_other_currency(connection, before, plan)
        hurry = immediate and not starts_over and not _counts_now(connection, plan.id)
        following = last_version(connection, plan.id) + 1
        change = _compare(before, plan, version, following, immediate=immediate, hurry=hurry)
        if starts_over and not dry_run:
            drop_unused_versions(connection, plan.id)
    if not dry_run and change.kind != "unchanged":
        _save(connection, plan, change, now)
    return change


def _save(connection: Connection, plan: Plan, change: PlanChange, now: datetime) -> None:
    save_plan(connection, plan, now)
    if change.kind in ("created", "new_version"):
        add_version(connection, plan, change.version, now, immediate=change.immediate)
        follow_plan(connection, plan, now, immediate=change.immediate)
    if plan.interval == "anniversary":
        anchor_customers(connection, plan.id)
    changed = (*change.charges, *change.limits)
    record(
        connection,
        f"plan.{change.kind}",
        plan.id,
        now,
        before={one.field: one.before for one in changed},
        after={"version": change.version, "immediate": change.immediate, **{one.field: one.after for one in changed}},
    )


def _counts_now(connection: Connection, plan_id: str) -> bool:
    """Whether the newest version prices the periods that are open: the only one does, and one that was made to."""
    versions = versions_of(connection, plan_id)
    return len(versions) == 1 or versions[-1].now


def _compare(before: Plan, after: Plan, version: int, following: int, *, immediate: bool, hurry: bool) -> PlanChange:
    """The change from one plan to the other; `hurry` makes a version of an unchanged tariff that waits for next periods."""
    charges, limits = tuple(_charges(before, after)), tuple(_limits(before, after))
    if before.tariff != after.tariff or hurry:
        return PlanChange(after.id, "new_version", following, immediate, charges, limits)
    return PlanChange(after.id, "updated" if limits else "unchanged", version, limits=limits)


def _fixed(before: Plan, after: Plan) -> InvalidInput:
    """The refusal to change what periods were measured by."""
    field = "currency" if before.currency != after.currency else "interval"
    was = getattr(before, field)
    return InvalidInput(
        f"plans.{after.id}.{field}", f"{was}, because usage was metered in it; another {field} needs a plan of its own"
    )


def _limits(before: Plan, after: Plan) -> Iterator[FieldChange]:
    return _differences(_LIMITS, before, after, before.currency, after.currency)


def _charges(before: Plan, after: Plan) -> Iterator[FieldChange]:
    yield from _differences(_CHARGES, before.tariff, after.tariff, before.currency, after.currency)
    for index in range(max(len(before.prices), len(after.prices))):
        was, becomes = before.prices[index : index + 1], after.prices[index : index + 1]
        if was != becomes:
            yield FieldChange(f"prices[{index}]", _prices(was, before.currency), _prices(becomes, after.currency))


def _differences(
    fields: Sequence[str], before: object, after: object, currency_before: str, currency_after: str
) -> Iterator[FieldChange]:
    for field in fields:
        was, becomes = getattr(before, field), getattr(after, field)
        if was != becomes:
            yield FieldChange(field, _shown(field, was, currency_before), _shown(field, becomes, currency_after))


def _shown(field: str, value: object, currency: str) -> str | None:
    if value is None:
        return None
    return display(value, currency) if field in _MONEY and isinstance(value, int) else str(value)


def _prices(prices: Sequence[Price], currency: str) -> str | None:
    return "".join(_price(price, currency) for price in prices) or None


def _price(price: Price, currency: str) -> str:
    """A price in one line: `gpt-4o* *: $0 to 100,000, then $0.003, per 1,000 graduated`."""
    tiers = ", then ".join(_tier(tier, currency) for tier in price.tiers)
    how = f" {price.mode}" if len(price.tiers) > 1 else " rounded up" if price.round_up else ""
    meter = f" at Stripe's {price.stripe_meter}" if price.stripe_meter else ""
    return f"{price.model} {price.meter}: {tiers}, per {price.per:,}{how}{meter}"


def _tier(tier: Tier, currency: str) -> str:
    bound = "" if tier.up_to is None else f" to {tier.up_to:,}"
    fee = f" and {display_price(tier.flat_fee, currency)} once" if tier.flat_fee else ""
    return f"{display_price(tier.price, currency)}{bound}{fee}"
