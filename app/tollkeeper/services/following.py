"""Following: a subscription gets the prices that its customer's plan has now, each at the boundary at which ours change.

A plan that was moved to, and a plan that charges something else, count from the next period on. Fees are taken in advance at
Stripe, so a new base price has to be there before the period ends. Usage of a closed period is priced when its invoice is
finalized, by the prices that are there then; so the new metered ones wait until that is done, while nothing of the new period
has been told yet.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tollkeeper.domain.period import period_of
from tollkeeper.domain.plan import Plan, version_for
from tollkeeper.payments.catalog import BASE, PlanUnfit, wanted_by
from tollkeeper.payments.stripe import StripeDidNotAnswer, StripeRefused
from tollkeeper.payments.stripe_selling import SoldSubscription, StripeSelling
from tollkeeper.services.subscribing import PaymentSide, refresh_subscription
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import Customer, load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import find_plan, versions_of
from tollkeeper.storage.stripe_objects import names_of_prices, objects_in_use
from tollkeeper.storage.subscriptions import lock_subscription, look_again_at, subscriptions_behind
from tollkeeper.storage.usage_periods import period_at

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=30)


def follow_plans(
    database: Database, side: PaymentSide, selling: StripeSelling, *, now: datetime, limit: int = 20
) -> int:
    """Bring subscriptions that are behind a step on, at most `limit` of them; how many were changed."""
    with database.transaction() as connection:
        behind = subscriptions_behind(connection, selling.livemode, now, limit)
    changed = 0
    for subscription_id in behind:
        with database.transaction() as connection:
            look_again_at(connection, subscription_id, now + LOOK_AGAIN)
        try:
            with database.transaction() as connection:
                changed += _follow(connection, side, selling, subscription_id, now)
        except (StripeDidNotAnswer, StripeRefused, PlanUnfit) as error:
            log.warning("subscription %s goes on at its old prices for now: %s", subscription_id, error)
    return changed


def _follow(
    connection: Connection, side: PaymentSide, selling: StripeSelling, subscription_id: str, now: datetime
) -> bool:
    known = lock_subscription(connection, subscription_id)
    sold = selling.subscription(subscription_id)
    if known is None or sold is None:
        return False
    customer = load_customer(connection, known.user_id)
    found = find_plan(connection, customer.plan_id)
    wanted = {} if found is None else _wanted(connection, selling.livemode, found[0])
    names = names_of_prices(connection, list(sold.prices))
    # Fees may change at any time, metered prices only between two periods.
    items = _changes(sold, names, wanted, fees=True)
    if (
        found is not None
        and _new_prices_count(connection, customer, *found, now)
        and not selling.has_draft(sold.customer)
    ):
        items += _changes(sold, names, wanted, fees=False)
    if not wanted or not items:
        return False
    selling.change_items(subscription_id, items)
    record(
        connection,
        "subscription.followed",
        subscription_id,
        now,
        user_id=known.user_id,
        after={"plan_id": customer.plan_id},
    )
    return refresh_subscription(connection, side, selling, subscription_id, now)


def _wanted(connection: Connection, livemode: bool, plan: Plan) -> dict[str, str]:
    """The prices that the plan has at Stripe, by their parts; none where the setup has not caught up with the plan."""
    in_use = objects_in_use(connection, livemode)
    prices: dict[str, str] = {}
    for price in wanted_by(plan).prices:
        there = in_use.get(("price", price.lookup_key))
        if there is None or there.fingerprint != price.fingerprint:
            return {}
        prices[price.part] = there.stripe_id
    return prices


def _changes(
    sold: SoldSubscription, names: Mapping[str, str], wanted: Mapping[str, str], *, fees: bool
) -> list[dict[str, Any]]:
    """What has to become of the items, of fees or of the metered ones."""
    has = {names[price].split(":", 2)[2]: price for price in sold.prices if price in names}
    changes: list[dict[str, Any]] = []
    for part in dict.fromkeys((*has, *wanted)):
        if (part == BASE) is not fees or has.get(part) == wanted.get(part):
            continue
        item = {"id": sold.items[has[part]]} if part in has else {}
        if part not in wanted:
            changes.append({**item, "deleted": True})
        else:
            changes.append({**item, "price": wanted[part], **({"quantity": 1} if fees else {})})
    return changes


def _new_prices_count(connection: Connection, customer: Customer, plan: Plan, newest: int, now: datetime) -> bool:
    """Whether the period that is open is charged by the plan as it is now."""
    stored = period_at(connection, customer.user_id, now)
    if stored is not None:
        return (stored.plan_id, stored.plan_version) == (plan.id, newest)
    period = period_of(plan.interval, now, customer.period_anchor or customer.created_at)
    return version_for(period, versions_of(connection, plan.id, customer.user_id)).version == newest
