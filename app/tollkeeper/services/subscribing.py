"""Subscribing: what Stripe's subscriptions and checkouts mean for a customer's plan.

An event only says that something happened. What it came to is read at Stripe, while nobody else reads the same subscription;
so events may come twice, late and in any order, and the newest state is what is kept.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.plan import Plan
from tollkeeper.payments.stripe_selling import OUR_CHECKOUT, OUR_PLAN, OUR_USER, SoldSubscription, StripeSelling
from tollkeeper.services.dunning import settle_access
from tollkeeper.services.moving import move_in
from tollkeeper.storage.audit import record
from tollkeeper.storage.checkouts import Checkout, lock_checkout, save_checkout
from tollkeeper.storage.customers import find_customer
from tollkeeper.storage.dunning import user_of_stripe_customer
from tollkeeper.storage.links import name_stripe_customer
from tollkeeper.storage.plans import find_plan, load_plan
from tollkeeper.storage.stripe_objects import plan_of_prices
from tollkeeper.storage.subscriptions import Subscription, lock_subscription, save_subscription, subscriptions_of
from tollkeeper.storage.usage_periods import period_at

log = logging.getLogger(__name__)

NOTHING_OWED = "-"
_PAID_FOR = frozenset({"active", "trialing"})
"""Statuses that a plan is given for; an incomplete subscription is one that nobody has paid yet."""


@dataclass(frozen=True, slots=True)
class PaymentSide:
    """What the deeds about subscriptions need besides the database. Without `selling`, events about them wait."""

    selling: StripeSelling | None = None
    default_plan: str | None = None
    """Where a customer goes whose subscription ended; None: they are suspended."""
    grace: timedelta = timedelta(days=7)
    """How long after a failed payment the plan's `on_unpaid` is waited for."""


def refresh_subscription(
    connection: Connection, side: PaymentSide, selling: StripeSelling, subscription_id: str, now: datetime
) -> bool:
    """Bring a customer to what their subscription is at Stripe now; False where it is nobody's of ours.

    Raises `StripeDidNotAnswer` or `StripeRefused`.
    """
    before = lock_subscription(connection, subscription_id)
    sold = selling.subscription(subscription_id)
    user_id = None if sold is None else _customer_of(connection, sold)
    if sold is None or user_id is None:
        return False
    plan_id = _plan_of(connection, sold, user_id)
    current = _row(sold, user_id, plan_id, before)
    save_subscription(connection, current, now)
    if before is None or before.status != current.status:
        was = None if before is None else {"status": before.status}
        after = {"status": current.status, "plan_id": plan_id}
        record(connection, "subscription.changed", current.id, now, user_id=user_id, before=was, after=after)
    _give_plan(connection, selling, sold, before, current, now)
    settle_access(connection, user_id, now, grace=side.grace, default_plan=side.default_plan)
    return True


def refresh_checkout(
    connection: Connection, side: PaymentSide, selling: StripeSelling, session_id: str, now: datetime, *, failed: bool
) -> bool:
    """Bring a checkout, and with it its customer, to what its page came to; False for a page that is none of ours."""
    session = selling.session(session_id)
    if session is None:
        return False
    found = lock_checkout(connection, checkout_id=_uuid(session.metadata.get(OUR_CHECKOUT)), session_id=session_id)
    if found is None:
        return False
    if session.status == "expired":
        save_checkout(connection, found.id, "expired", now)
    elif failed and not session.settled:
        save_checkout(connection, found.id, "failed", now)
    elif session.subscription is not None:
        return refresh_subscription(connection, side, selling, session.subscription, now)
    return True


def _row(sold: SoldSubscription, user_id: str, plan_id: str | None, before: Subscription | None) -> Subscription:
    return Subscription(
        id=sold.id,
        user_id=user_id,
        plan_id=plan_id,
        status=sold.status,
        period_start=sold.period_start,
        period_end=sold.period_end,
        cancel_at_period_end=sold.cancel_at_period_end,
        first_fee_item=None if before is None else before.first_fee_item,
        started_at=sold.started_at,
        prices=list(sold.prices),
    )


def _customer_of(connection: Connection, sold: SoldSubscription) -> str | None:
    """Whose it is: by Stripe's customer, else by our own name in its metadata, which then is taken for theirs."""
    user_id = user_of_stripe_customer(connection, sold.customer)
    named = sold.metadata.get(OUR_USER)
    if user_id is not None or named is None or find_customer(connection, named) is None:
        return user_id
    return named if name_stripe_customer(connection, named, sold.customer) else None


def _plan_of(connection: Connection, sold: SoldSubscription, user_id: str) -> str | None:
    """The plan whose prices it has, else the one that it was begun for."""
    by_price = plan_of_prices(connection, list(sold.prices), user_id)
    named = sold.metadata.get(OUR_PLAN)
    if by_price is not None or named is None or find_plan(connection, named) is None:
        return by_price
    return named


def _give_plan(
    connection: Connection,
    selling: StripeSelling,
    sold: SoldSubscription,
    before: Subscription | None,
    current: Subscription,
    now: datetime,
) -> None:
    """The plan is the customer's once it is paid for: when the subscription begins, and when it becomes another plan's."""
    if current.status not in _PAID_FOR or current.plan_id is None:
        return
    checkout = _checkout_of(connection, sold)
    if checkout is not None and checkout.state != "granted" and not _is_settled(selling, checkout):
        return
    changed = before is None or before.plan_id != current.plan_id or before.status not in _PAID_FOR
    granted = checkout is not None and save_checkout(connection, checkout.id, "granted", now, current.id)
    if not (changed or granted):
        return
    others = [one.id for one in subscriptions_of(connection, current.user_id) if one.live and one.id != current.id]
    if others:
        log.error(
            "customer %r has more than one subscription: %s and %s", current.user_id, current.id, ", ".join(others)
        )
    plan = load_plan(connection, current.plan_id)
    if current.first_fee_item is None:
        owed = sold.began_with_a_stub and _priced_by(connection, current, plan)
        item = _first_fee(selling, sold, plan) if owed else NOTHING_OWED
        save_subscription(connection, replace(current, first_fee_item=item), now)
    move_in(connection, current.user_id, plan.id, now)


def _priced_by(connection: Connection, current: Subscription, plan: Plan) -> bool:
    """Whether we charge this plan's fee for the period that it begins in: not where that is metered by another plan."""
    open_period = period_at(connection, current.user_id, current.started_at)
    return open_period is None or open_period.plan_id == plan.id


def _first_fee(selling: StripeSelling, sold: SoldSubscription, plan: Plan) -> str:
    """The fee of the time before the first full period, which Stripe leaves free and we do not."""
    if not plan.base_fee:
        return NOTHING_OWED
    known = selling.first_fee_item(sold.customer, sold.id)
    return known or selling.charge_first_fee(
        sold.customer,
        sold.id,
        amount=plan.base_fee,
        currency=plan.currency,
        description=f"{plan.name}: {sold.started_at:%Y-%m-%d} to {sold.anchor - timedelta(seconds=1):%Y-%m-%d}",
        span=(sold.started_at, sold.anchor),
    )


def _checkout_of(connection: Connection, sold: SoldSubscription) -> Checkout | None:
    checkout_id = _uuid(sold.metadata.get(OUR_CHECKOUT))
    return None if checkout_id is None else lock_checkout(connection, checkout_id=checkout_id)


def _is_settled(selling: StripeSelling, checkout: Checkout) -> bool:
    """Whether the page of a checkout was gone through and nothing of its payment is open."""
    if checkout.session_id is None:
        return False
    session = selling.session(checkout.session_id)
    return session is not None and session.settled


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None
