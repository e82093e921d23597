"""Overriding: terms for one customer, in force as a plan's are.

The cap holds at the next request. What is charged becomes a version of the plan for this customer alone, from the next
period on, or with `immediate` for the open one too; when the plan changes, or the customer's plan, a new one is made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.own_terms import OwnTerms
from tollkeeper.domain.plan import Plan
from tollkeeper.services.repricing import reprice_open_periods
from tollkeeper.storage.audit import difference, record
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.own_terms import own_charges_on, own_terms_of, plans_of_open_periods, save_own_terms
from tollkeeper.storage.plans import add_own_version, load_plan, lock_plans

Term = Literal["cap", "discount", "prices"]


def terms_of(database: Database, user_id: str) -> tuple[OwnTerms, str]:
    """A customer's own terms and the currency they are in; `NotFound` for an unknown customer."""
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id))
        return own_terms_of(connection, user_id), load_plan(connection, customer.plan_id).currency


def override(
    database: Database,
    user_id: str,
    now: datetime,
    *,
    given: OwnTerms,
    clear: frozenset[Term] = frozenset(),
    immediate: bool = False,
) -> OwnTerms:
    """Give a customer terms of their own; what is neither given nor cleared stays. The terms as they are then."""
    with database.transaction() as connection:
        lock_plans(connection)
        customer = load_customer(connection, validate_user_id(user_id), lock=True)
        before = own_terms_of(connection, user_id)
        after = _merged(before, given, clear)
        save_own_terms(connection, user_id, after)
        was, becomes = difference(_told(before), _told(after))
        if was != becomes:
            record(connection, "customer.overridden", user_id, now, user_id=user_id, before=was, after=becomes)
        plans = sorted({customer.plan_id, *(plans_of_open_periods(connection, user_id) if immediate else ())})
        charges = (after.discount_percent, after.prices) != (before.discount_percent, before.prices)
        if charges or (immediate and after.changes_charges):
            for plan_id in plans:
                _add_version(connection, load_plan(connection, plan_id), user_id, after, now, immediate=immediate)
    if immediate:
        for plan_id in plans:
            reprice_open_periods(database, plan_id, user_id)
    return after


def follow_plan(connection: Connection, plan: Plan, now: datetime, *, immediate: bool) -> None:
    """A plan has a new version: give each customer with charges of their own one that follows from it."""
    for user_id, terms in own_charges_on(connection, plan.id).items():
        _add_version(connection, plan, user_id, terms, now, immediate=immediate)


def follow_customer(connection: Connection, user_id: str, before: Plan, after: Plan, now: datetime) -> None:
    """A customer comes to another plan: their own terms hold there, too. Amounts make sense in one currency only."""
    terms = own_terms_of(connection, user_id)
    if before.currency != after.currency and (terms.prices or terms.spend_cap is not None):
        raise InvalidInput("plan", f"one in {before.currency}, which this customer's own cap and prices are in")
    if terms.changes_charges and before.id != after.id:
        _add_version(connection, after, user_id, terms, now, immediate=True)


def refuse_other_currency(connection: Connection, before: Plan, after: Plan) -> None:
    """Amounts of customers' own are in the plan's currency, which therefore stays."""
    owners = [user_id for user_id, terms in own_charges_on(connection, before.id).items() if terms.prices]
    if owners and before.currency != after.currency:
        expected = f"{before.currency}, because customer {owners[0]} has prices of their own in it"
        raise InvalidInput(f"plans.{after.id}.currency", expected)


def _told(terms: OwnTerms) -> dict[str, object]:
    """What the audit trail keeps of a customer's own terms."""
    return {
        "spend_cap": terms.spend_cap,
        "discount_percent": terms.discount_percent,
        "prices": [price.to_json() for price in terms.prices],
    }


def _merged(before: OwnTerms, given: OwnTerms, clear: frozenset[Term]) -> OwnTerms:
    cap = None if "cap" in clear else before.spend_cap
    discount = None if "discount" in clear else before.discount_percent
    prices = () if "prices" in clear else before.prices
    return OwnTerms(
        spend_cap=cap if given.spend_cap is None else given.spend_cap,
        discount_percent=discount if given.discount_percent is None else given.discount_percent,
        prices=given.prices or prices,
    )


def _add_version(
    connection: Connection, plan: Plan, user_id: str, terms: OwnTerms, now: datetime, *, immediate: bool
) -> None:
    tariff = terms.applied_to(plan.tariff)
    add_own_version(connection, plan.id, user_id, tariff, now, purpose="override", immediate=immediate)
