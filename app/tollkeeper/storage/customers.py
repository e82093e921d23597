"""Customers: who is billed, and by which plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tollkeeper.domain.errors import NotFound, TollkeeperError
from tollkeeper.storage.database import all_rows, change, first_row

_FIND = """
SELECT user_id, email, plan_id, stripe_customer_id, status, period_anchor, created_at
FROM customers WHERE user_id = :user
"""
_LIST = """
SELECT user_id, email, plan_id, stripe_customer_id, status, period_anchor, created_at
FROM customers ORDER BY user_id
"""
_INSERT = """
INSERT INTO customers (user_id, email, plan_id, stripe_customer_id, status, period_anchor, created_at)
VALUES (:user_id, :email, :plan_id, :stripe_customer_id, :status, :period_anchor, :created_at)
ON CONFLICT (user_id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Customer:
    """A row of `customers`. `period_anchor` decides periods only where the plan's interval is `anniversary`."""

    user_id: str
    email: str | None
    plan_id: str
    stripe_customer_id: str | None
    status: str
    period_anchor: datetime | None
    created_at: datetime


class StripeCustomerTaken(TollkeeperError):
    """Another customer is already billed as this Stripe customer."""

    def __init__(self, stripe_customer_id: str) -> None:
        super().__init__(f"Stripe customer {stripe_customer_id!r} belongs to another customer already")
        self.stripe_customer_id = stripe_customer_id


def find_customer(connection: Connection, user_id: str, *, lock: bool = False) -> Customer | None:
    """The customer, or None; with `lock`, nobody else changes the row until the transaction ends."""
    row = first_row(connection, _FIND + "FOR UPDATE" if lock else _FIND, user=user_id)
    return None if row is None else Customer(**row)


def load_customer(connection: Connection, user_id: str, *, lock: bool = False) -> Customer:
    """The customer, or `NotFound`."""
    customer = find_customer(connection, user_id, lock=lock)
    if customer is None:
        raise NotFound("customer", user_id)
    return customer


def list_customers(connection: Connection) -> list[Customer]:
    """All customers by name."""
    return [Customer(**row) for row in all_rows(connection, _LIST)]


def insert_customer(connection: Connection, customer: Customer) -> bool:
    """Store a new customer; False where the name is taken. Raises `StripeCustomerTaken`."""
    with _one_each(customer.stripe_customer_id):
        return change(connection, _INSERT, **asdict(customer)) == 1


def update_customer(
    connection: Connection, user_id: str, *, email: str | None, stripe_customer_id: str | None, status: str | None
) -> None:
    """Change what is given; what is None stays. Raises `StripeCustomerTaken`."""
    with _one_each(stripe_customer_id):
        change(
            connection,
            """
            UPDATE customers
            SET email_refused_at = CASE WHEN coalesce(:email, email) = email THEN email_refused_at END,
                email = coalesce(:email, email), status = coalesce(:status, status),
                stripe_customer_id = coalesce(:stripe_customer_id, stripe_customer_id)
            WHERE user_id = :user
            """,
            email=email,
            status=status,
            stripe_customer_id=stripe_customer_id,
            user=user_id,
        )


def flag_address(connection: Connection, user_id: str, now: datetime) -> None:
    """Remember that a mail server does not take mail for the customer's address, since when first."""
    change(
        connection,
        "UPDATE customers SET email_refused_at = coalesce(email_refused_at, :now) WHERE user_id = :user",
        user=user_id,
        now=now,
    )


def slack_room(connection: Connection, user_id: str) -> str | None:
    """Where the customer's notices are posted, besides being mailed."""
    row = first_row(connection, "SELECT slack_webhook_url FROM customers WHERE user_id = :user", user=user_id)
    return None if row is None else row["slack_webhook_url"]


def save_slack_room(connection: Connection, user_id: str, url: str | None) -> None:
    """Post the customer's notices into a room, or into none."""
    change(connection, "UPDATE customers SET slack_webhook_url = :url WHERE user_id = :user", user=user_id, url=url)


@contextmanager
def _one_each(stripe_customer_id: str | None) -> Iterator[None]:
    """Says in our words that the Stripe customer is another's already."""
    try:
        yield
    except IntegrityError as error:
        if stripe_customer_id is not None and "customers_stripe_customer_id_key" in str(error.orig):
            raise StripeCustomerTaken(stripe_customer_id) from error
        raise


def set_plan(connection: Connection, user_id: str, plan_id: str, anchor: datetime) -> None:
    """Move a customer to a plan; `anchor` stands in where the customer has none of its own."""
    change(
        connection,
        "UPDATE customers SET plan_id = :plan, period_anchor = coalesce(period_anchor, :anchor) WHERE user_id = :user",
        plan=plan_id,
        anchor=anchor,
        user=user_id,
    )


def anchor_customers(connection: Connection, plan_id: str) -> None:
    """Give every customer of a plan an anchor, where one is missing: the moment the customer was added."""
    change(
        connection,
        "UPDATE customers SET period_anchor = created_at WHERE plan_id = :plan AND period_anchor IS NULL",
        plan=plan_id,
    )


def billed_in(connection: Connection, user_id: str) -> tuple[str, str] | None:
    """Currency and interval of the customer's newest period, or None where nothing was metered yet."""
    row = first_row(
        connection,
        """
        SELECT u.currency, v.tariff ->> 'interval' AS billing_interval
        FROM usage_periods AS u
        JOIN plan_versions AS v ON v.plan_id = u.plan_id AND v.version = u.plan_version
        WHERE u.user_id = :user ORDER BY u.period_start DESC LIMIT 1
        """,
        user=user_id,
    )
    return None if row is None else (row["currency"], row["billing_interval"])
