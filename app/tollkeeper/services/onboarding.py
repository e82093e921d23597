"""Onboarding: customers and their API keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection

from tollkeeper.domain.customer import plain_text, validate_email, validate_user_id
from tollkeeper.domain.errors import InvalidInput, NotFound, TollkeeperError
from tollkeeper.domain.keys import generate_key, hash_key, key_prefix, looks_like_key
from tollkeeper.domain.period import utc
from tollkeeper.domain.plan import Plan
from tollkeeper.services.trying import begin_trial
from tollkeeper.storage.audit import difference, record, shown_address
from tollkeeper.storage.customers import (
    Customer,
    find_customer,
    insert_customer,
    list_customers,
    load_customer,
    update_customer,
)
from tollkeeper.storage.database import Database
from tollkeeper.storage.keys import StoredKey, insert_key, keys_of, keys_with_prefix, revoke_key
from tollkeeper.storage.plans import load_plan


class CustomerExists(TollkeeperError):
    """A customer of this name exists and is not what was asked for."""

    def __init__(self, user_id: str, differences: str) -> None:
        super().__init__(f"customer {user_id!r} exists already, with {differences}")
        self.user_id = user_id


@dataclass(frozen=True, slots=True)
class Added:
    """The customer, and whether it was there before."""

    customer: Customer
    existed: bool


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new key, and the one before, which works until an instant."""

    key: str = field(repr=False)
    old: StoredKey
    old_until: datetime


def add_customer(
    database: Database,
    user_id: str,
    *,
    email: str,
    plan_id: str,
    now: datetime,
    stripe_customer_id: str | None = None,
    period_anchor: datetime | None = None,
) -> Added:
    """Make a customer. The very same call again changes nothing and says so.

    Raises `InvalidInput`, `NotFound` for the plan, `CustomerExists` where one of this name is something else, and
    `StripeCustomerTaken`. On a plan whose interval is `anniversary` the anchor is now unless one is given; on others it is
    refused.
    """
    wanted = Customer(
        user_id=validate_user_id(user_id),
        email=validate_email(email),
        plan_id=plain_text(plan_id, "plan"),
        stripe_customer_id=_stripe_customer(stripe_customer_id),
        status="active",
        period_anchor=None if period_anchor is None else utc(period_anchor, "period_anchor").replace(microsecond=0),
        created_at=now,
    )
    with database.transaction() as connection:
        plan = load_plan(connection, wanted.plan_id)
        _check_anchor(plan, wanted.period_anchor)
        if insert_customer(connection, _anchored(wanted, now)):
            begin_trial(connection, user_id, plan, now)
            _record_added(connection, wanted, now)
            return Added(wanted, existed=False)
        found = load_customer(connection, user_id)
    differences = ", ".join(_differences(found, wanted))
    if differences:
        raise CustomerExists(user_id, differences)
    return Added(found, existed=True)


def welcome(database: Database, user_id: str, plan_id: str, now: datetime) -> None:
    """Make a customer that the host app named for the first time, on the default plan; nothing where there is one already.

    No mail address is known of them, so they get no notices until one is set. Raises `NotFound` for the plan.
    """
    newcomer = Customer(validate_user_id(user_id), None, plan_id, None, "active", None, now)
    with database.transaction() as connection:
        plan = load_plan(connection, plan_id)
        if insert_customer(connection, _anchored(newcomer, now)):
            begin_trial(connection, user_id, plan, now)
            _record_added(connection, newcomer, now)


def change_customer(
    database: Database,
    user_id: str,
    now: datetime,
    *,
    email: str | None = None,
    stripe_customer_id: str | None = None,
    status: Literal["active", "suspended"] | None = None,
) -> Customer:
    """Change what is given, and the customer as it is then. A suspended customer's requests are refused.

    Raises `InvalidInput`, `NotFound` and `StripeCustomerTaken`.
    """
    with database.transaction() as connection:
        before = load_customer(connection, validate_user_id(user_id), lock=True)
        update_customer(
            connection,
            user_id,
            email=None if email is None else validate_email(email),
            stripe_customer_id=_stripe_customer(stripe_customer_id),
            status=status,
        )
        after = load_customer(connection, user_id)
        was, becomes = difference(_told(before), _told(after))
        if was != becomes or before.email != after.email:
            record(connection, "customer.changed", user_id, now, user_id=user_id, before=was, after=becomes)
        return after


def currency_of(database: Database, user_id: str) -> str:
    """The currency that a customer's plan charges in; `NotFound` for an unknown customer."""
    with database.transaction() as connection:
        return load_plan(connection, load_customer(connection, validate_user_id(user_id)).plan_id).currency


def all_customers(database: Database) -> list[Customer]:
    """Every customer by name."""
    with database.transaction() as connection:
        return list_customers(connection)


def issue_key(
    database: Database, user_id: str, now: datetime, random: Callable[[int], bytes] = secrets.token_bytes
) -> str:
    """A new API key for a customer. Only its hash is kept, so this is the one time that it can be shown."""
    with database.transaction() as connection:
        if find_customer(connection, validate_user_id(user_id)) is None:
            raise NotFound("customer", user_id)
        return new_key(connection, user_id, now, random)


def new_key(
    connection: Connection, user_id: str, now: datetime, random: Callable[[int], bytes] = secrets.token_bytes
) -> str:
    """A new API key for a customer who exists, in a transaction that somebody else has open."""
    key = generate_key(random)
    insert_key(connection, user_id, hash_key(key), key_prefix(key), now)
    record(connection, "key.issued", key_prefix(key), now, user_id=user_id)
    return key


def rotate_key(
    database: Database,
    key: str,
    now: datetime,
    *,
    overlap: timedelta,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Rotated:
    """A new key in place of one that works; the old one works until `overlap` from now, so that nobody is locked out.

    `key` is the whole old key, or its prefix where only one begins so. A key that is refused already is `InvalidInput`.
    """
    until = now + overlap
    with database.transaction() as connection:
        old = _the_key(connection, key)
        if old.revoked_at is not None:
            raise InvalidInput(
                "key", f"one that works; {old.prefix}… is refused from {old.revoked_at:%Y-%m-%dT%H:%M:%SZ} on"
            )
        revoke_key(connection, old.key_hash, until)
        record(connection, "key.rotated", old.prefix, now, user_id=old.user_id, after={"revoked_at": until})
        return Rotated(new_key(connection, old.user_id, now, random), old, until)


def list_keys(database: Database, user_id: str) -> list[StoredKey]:
    """A customer's keys, revoked ones too, oldest first."""
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id))
        return keys_of(connection, user_id)


def revoke(database: Database, key: str, now: datetime) -> StoredKey:
    """Refuse a key from the next request on; the key as it was before. Its prefix is enough where only one begins so."""
    with database.transaction() as connection:
        found = _the_key(connection, key)
        revoke_key(connection, found.key_hash, now)
        if found.revoked_at is None or found.revoked_at > now:
            record(connection, "key.revoked", found.prefix, now, user_id=found.user_id)
    return found


def _the_key(connection: Connection, key: str) -> StoredKey:
    """The one key that is meant, locked; `NotFound`, or `InvalidInput` where more than one begins so."""
    whole = looks_like_key(key)
    prefix = key_prefix(key) if whole else plain_text(key, "key")
    found = [stored for stored in keys_with_prefix(connection, prefix) if not whole or stored.key_hash == hash_key(key)]
    if not found:
        raise NotFound("key", prefix)
    if len(found) > 1:
        raise InvalidInput("key", f"the whole key, because {len(found)} keys begin with {prefix}")
    return found[0]


def _record_added(connection: Connection, customer: Customer, now: datetime) -> None:
    user_id = customer.user_id
    record(connection, "customer.added", user_id, now, user_id=user_id, after=_told(customer))


def _told(customer: Customer) -> dict[str, object]:
    """What the audit trail keeps of a customer."""
    return {
        "email": shown_address(customer.email),
        "plan_id": customer.plan_id,
        "stripe_customer_id": customer.stripe_customer_id,
        "status": customer.status,
    }


def _stripe_customer(stripe_customer_id: str | None) -> str | None:
    return None if stripe_customer_id is None else plain_text(stripe_customer_id, "stripe_customer_id")


def _check_anchor(plan: Plan, anchor: datetime | None) -> None:
    if anchor is not None and plan.interval != "anniversary":
        raise InvalidInput("period_anchor", f"none, because plan {plan.id} goes by the calendar {plan.interval} in UTC")


def _anchored(customer: Customer, now: datetime) -> Customer:
    """With an anchor in any case, since a plan that needs one may come later."""
    return replace(customer, period_anchor=customer.period_anchor or now.replace(microsecond=0))


def _differences(found: Customer, wanted: Customer) -> Iterator[str]:
    """What the customer is instead. An anchor or Stripe customer that was not asked for is no difference."""
    if found.email != wanted.email:
        yield f"email {found.email}" if found.email else "no email"
    if found.plan_id != wanted.plan_id:
        yield f"plan {found.plan_id}"
    if wanted.stripe_customer_id not in (None, found.stripe_customer_id):
        yield f"Stripe customer {found.stripe_customer_id}" if found.stripe_customer_id else "no Stripe customer"
    if wanted.period_anchor not in (None, found.period_anchor):
        yield f"period anchor {found.period_anchor:%Y-%m-%dT%H:%M:%SZ}"
