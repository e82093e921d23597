"""Checking out: the page at Stripe on which a customer subscribes to a plan, and the API key that is handed over once for it.

The key is not mailed and not kept: it is made when the success page claims it, for whoever shows both the page's session id,
which Stripe puts into the address, and the claim that was given to whoever began the checkout.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from tollkeeper.domain.customer import plain_text, validate_user_id
from tollkeeper.domain.errors import InvalidInput, TollkeeperError
from tollkeeper.domain.plan import Collect, Plan
from tollkeeper.payments.catalog import wanted_by
from tollkeeper.payments.stripe_selling import OUR_CHECKOUT, OUR_PLAN, OUR_USER, StripeSelling
from tollkeeper.services.linking import linked_customer
from tollkeeper.services.moving import check_continues
from tollkeeper.services.onboarding import new_key
from tollkeeper.storage.audit import record
from tollkeeper.storage.checkouts import Checkout, insert_checkout, lock_checkout, name_session, save_claimed
from tollkeeper.storage.customers import Customer, load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.keys import keys_of
from tollkeeper.storage.plans import load_plan
from tollkeeper.storage.stripe_objects import objects_in_use
from tollkeeper.storage.subscriptions import subscriptions_of

SESSION_PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
"""What Stripe replaces by the session's id in the address of the success page."""


class NotSetUp(TollkeeperError):
    """Something that a plan needs is not at Stripe yet."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not at Stripe as it should be; run: tollkeeper stripe setup")


class AlreadySubscribed(TollkeeperError):
    """A customer has a subscription that still runs."""

    def __init__(self, user_id: str, until: datetime | None) -> None:
        end = "" if until is None else f", paid until {until:%Y-%m-%dT%H:%M:%SZ}"
        super().__init__(
            f"customer {user_id!r} has a subscription already{end}; `tollkeeper customers plan` moves it to another plan"
        )


class NotPaidYet(TollkeeperError):
    """The checkout is not paid, or Stripe has not said so yet."""

    transient = True


class ClaimRefused(TollkeeperError):
    """No checkout is known by this session and this claim."""


class KeyHandedOver(TollkeeperError):
    """The API key of this checkout was handed over before; it is not shown again."""


@dataclass(frozen=True, slots=True)
class Started:
    """A checkout that waits for the customer. `claim` is for whoever may be given the API key, and for nobody else."""

    user_id: str
    plan_id: str
    session_id: str
    url: str
    claim: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What a claim was answered with; `key` is None where the customer had a working key before."""

    user_id: str
    plan_id: str
    key: str | None = field(repr=False)


def start_checkout(
    database: Database,
    selling: StripeSelling,
    user_id: str,
    plan_id: str,
    *,
    now: datetime,
    success_url: str,
    cancel_url: str | None = None,
    collect: Collect = "meters",
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Started:
    """A page on which the customer subscribes to the plan; nothing of theirs changes until it is paid.

    `success_url` may hold `{CHECKOUT_SESSION_ID}`. Raises `NotFound`, `InvalidInput`, `NotSetUp`, `AlreadySubscribed`,
    `NotLinkedYet`, and `StripeRefused` or `StripeDidNotAnswer`.
    """
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id))
        plan = load_plan(connection, plain_text(plan_id, "plan"))
        if (plan.collect or collect) != "meters":
            raise InvalidInput("plan", f'one that Stripe charges (collect = "meters"), not {plan.id}')
        sold = subscription_params(connection, selling.livemode, customer, plan)
    at_stripe = linked_customer(database, selling, user_id, now)
    claim = random(32).hex()
    checkout = Checkout(uuid4(), user_id, plan.id, None, _hash(claim), "open", None, None)
    with database.transaction() as connection:
        insert_checkout(connection, checkout, now)
    params = _params(checkout, sold, at_stripe, success_url, cancel_url)
    session_id, url = selling.open_checkout(params, f"checkout:{checkout.id}")
    with database.transaction() as connection:
        name_session(connection, checkout.id, session_id)
        after = {"plan_id": plan.id, "session_id": session_id}
        record(connection, "checkout.started", str(checkout.id), now, user_id=user_id, after=after)
    return Started(user_id, plan.id, session_id, url, claim)


def claim_key(
    database: Database, session_id: str, claim: str, now: datetime, random: Callable[[int], bytes] = secrets.token_bytes
) -> HandedOver:
    """The API key of a checkout that is paid: made now, told this once.

    Raises `ClaimRefused`, `NotPaidYet` (try again), or `KeyHandedOver`.
    """
    with database.transaction() as connection:
        checkout = lock_checkout(connection, session_id=plain_text(session_id, "session_id"))
        known = b"" if checkout is None else checkout.claim_hash
        if not hmac.compare_digest(known, _hash(claim)) or checkout is None:
            raise ClaimRefused("no checkout is known by this session and this claim")
        if checkout.claimed_at is not None:
            raise KeyHandedOver("the API key of this checkout was handed over before")
        if checkout.state != "granted":
            raise NotPaidYet(f"the checkout is {checkout.state}")
        save_claimed(connection, checkout.id, now)
        key = (
            None if _has_key(connection, checkout.user_id, now) else new_key(connection, checkout.user_id, now, random)
        )
    return HandedOver(checkout.user_id, checkout.plan_id, key)


def open_portal(
    database: Database, selling: StripeSelling, user_id: str, *, now: datetime, return_url: str | None = None
) -> str:
    """The address of Stripe's portal for one customer, made for this click: it works once and for minutes.

    Whoever has it is the customer to Stripe, so it belongs into no log.
    """
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id))
        portal = objects_in_use(connection, selling.livemode).get(("portal", "portal"))
    if portal is None:
        raise NotSetUp("the customer portal")
    return selling.open_portal(linked_customer(database, selling, user_id, now), portal.stripe_id, return_url)


def subscription_params(connection: Connection, livemode: bool, customer: Customer, plan: Plan) -> dict[str, Any]:
    """What the customer's subscription to the plan is to be, in the words of Stripe's API; refusals as `start_checkout`."""
    check_continues(connection, customer, plan)
    for one in subscriptions_of(connection, customer.user_id):
        if one.live:
            raise AlreadySubscribed(customer.user_id, one.period_end)
    known = objects_in_use(connection, livemode)
    items = []
    for price in wanted_by(plan).prices:
        found = known.get(("price", price.lookup_key))
        if found is None or found.fingerprint != price.fingerprint:
            raise NotSetUp(f"the price {price.lookup_key}")
        items.append({"price": found.stripe_id, **({"quantity": 1} if price.meter is None else {})})
    return {
        "items": items,
        "metadata": {OUR_USER: customer.user_id, OUR_PLAN: plan.id},
        "billing_cycle_anchor_config": anchor_of(plan, customer),
        "proration_behavior": "none",
    }


def _params(
    checkout: Checkout, sold: dict[str, Any], at_stripe: str, success_url: str, cancel_url: str | None
) -> dict[str, Any]:
    metadata = {**sold["metadata"], OUR_CHECKOUT: str(checkout.id)}
    return {
        "mode": "subscription",
        "customer": at_stripe,
        "line_items": sold["items"],
        "success_url": success_url,
        "metadata": metadata,
        "subscription_data": {
            "metadata": metadata,
            "billing_cycle_anchor_config": sold["billing_cycle_anchor_config"],
            "proration_behavior": sold["proration_behavior"],
        },
        **({} if cancel_url is None else {"cancel_url": cancel_url}),
        **({"client_reference_id": checkout.user_id} if len(checkout.user_id) <= 200 else {}),
    }


def anchor_of(plan: Plan, customer: Customer) -> dict[str, int]:
    """When Stripe's periods have to begin so that they are ours: at our next boundary, and at each one after it."""
    if plan.interval == "anniversary":
        anchor = customer.period_anchor or customer.created_at
        return {"day_of_month": anchor.day, "hour": anchor.hour, "minute": anchor.minute, "second": anchor.second}
    first = {"day_of_month": 1, "hour": 0, "minute": 0, "second": 0}
    return {**first, "month": 1} if plan.interval == "year" else first


def _has_key(connection: Connection, user_id: str, now: datetime) -> bool:
    return any(key.works(now) for key in keys_of(connection, user_id))


def _hash(claim: str) -> bytes:
    return hashlib.sha256(claim.encode("utf-8", "replace")).digest()
