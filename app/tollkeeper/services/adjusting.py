"""Adjusting: a person adds something to a customer's next invoice, or takes something off it, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from tollkeeper.domain.currency import minor_step
from tollkeeper.domain.customer import plain_text, validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import bigint
from tollkeeper.storage.adjustments import Adjustment, adjustments_of, find_adjustment, insert_adjustment
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import load_plan


def adjust(
    database: Database, user_id: str, amount: int, *, by: str, reason: str, adjustment_id: UUID, now: datetime
) -> Adjustment:
    """Put an amount, in minor units of the customer's currency, on the customer's next invoice.

    The same id again is the same adjustment, and `InvalidInput` where it says something else. `NotFound` for an unknown
    customer.
    """
    plain_text(by, "by")
    plain_text(reason, "reason")
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id), lock=True)
        currency = load_plan(connection, customer.plan_id).currency
        if amount == 0 or amount % minor_step(currency) or bigint(amount) != amount:
            raise InvalidInput("amount", "more or less than nothing, in steps of the currency")
        made = Adjustment(adjustment_id, user_id, currency, amount, reason, by, now)
        if not insert_adjustment(connection, made):
            return _same(find_adjustment(connection, adjustment_id), made)
        after = {"amount": amount, "currency": currency}
        record(
            connection, "invoice.adjusted", str(adjustment_id), now, user_id=user_id, after=after, reason=reason, by=by
        )
    return made


def list_adjustments(database: Database, user_id: str) -> list[Adjustment]:
    """A customer's adjustments, oldest first; `NotFound` for an unknown customer."""
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id))
        return adjustments_of(connection, user_id)


def _same(known: Adjustment | None, made: Adjustment) -> Adjustment:
    """The one that is there already, where it says the same."""
    assert known is not None, "its id is taken"
    if replace(known, created_at=made.created_at, invoice_id=None) != made:
        raise InvalidInput("id", "one that was not seen before with another customer, amount, author or reason")
    return known
