"""Dunning: what a payment that failed leads to. A notice at once, then a grace, then what the plan says, and back once it is paid.

Nothing of it touches usage: what was metered stays metered, and what is refused is refused at the gate alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.services.moving import move_in
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import Customer, load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.dunning import (
    Access,
    access_of,
    customers_made_good,
    failing_customers,
    failing_since,
    save_access,
)
from tollkeeper.storage.plans import load_plan, lock_plans
from tollkeeper.storage.subscriptions import Subscription, subscriptions_of

log = logging.getLogger(__name__)

_STOPPED = frozenset({"paused", "unpaid"})
_ENDED = frozenset({"canceled"})


def enforce_access(
    database: Database, *, now: datetime, grace: timedelta, default_plan: str | None = None, limit: int = 100
) -> int:
    """Narrow the access of customers whose grace is over, and widen it again for those who have paid; how many."""
    with database.transaction() as connection:
        users = failing_customers(connection, now - grace, limit) + customers_made_good(connection, limit)
    for user_id in users:
        with database.transaction() as connection:
            settle_access(connection, user_id, now, grace=grace, default_plan=default_plan)
    return len(users)


def settle_access(
    connection: Connection, user_id: str, now: datetime, *, grace: timedelta, default_plan: str | None
) -> Access | None:
    """What is left to the customer by all that is known now; None is everything. Made anew each time, so order plays no part."""
    lock_plans(connection)  # before the customer's row, as everybody does who may move somebody
    before = access_of(connection, user_id)
    customer = load_customer(connection, user_id)
    subscriptions = subscriptions_of(connection, user_id)
    access = _by_subscriptions(connection, customer, subscriptions, now, default_plan)
    access = access or _by_payments(connection, load_customer(connection, user_id), now, grace)
    if access != before:
        save_access(connection, user_id, access)
        was, becomes = {"access": before}, {"access": access}
        record(connection, "customer.access", user_id, now, user_id=user_id, before=was, after=becomes)
    return access


def _by_subscriptions(
    connection: Connection,
    customer: Customer,
    subscriptions: Sequence[Subscription],
    now: datetime,
    default_plan: str | None,
) -> Access | None:
    """A plan that was subscribed to lasts as long as a subscription to it; what else they subscribe to plays no part."""
    if any(one.live and one.plan_id is not None for one in subscriptions):
        return None
    statuses = {one.status for one in subscriptions if one.plan_id == customer.plan_id}
    if statuses & _STOPPED:
        return "suspended"
    if not statuses & _ENDED:
        return None
    return None if _falls_back(connection, customer, now, default_plan) else "suspended"


def _falls_back(connection: Connection, customer: Customer, now: datetime, default_plan: str | None) -> bool:
    """Whether the customer went to the default plan."""
    if default_plan in (None, customer.plan_id):
        return default_plan is not None
    try:
        move_in(connection, customer.user_id, str(default_plan), now)
    except (InvalidInput, NotFound) as error:
        log.error("customer %r cannot go to the default plan %s: %s", customer.user_id, default_plan, error)
        return False
    return True


def _by_payments(connection: Connection, customer: Customer, now: datetime, grace: timedelta) -> Access | None:
    since = failing_since(connection, customer.user_id)
    if since is None or since + grace > now:
        return None
    choice = load_plan(connection, customer.plan_id).on_unpaid
    return {"throttle": "throttled", "suspend": "suspended"}.get(choice)  # type: ignore[return-value]
