"""Terms of customers' own, as they stand beside the customer."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from tollkeeper.domain.own_terms import OwnTerms
from tollkeeper.domain.pricing import Price
from tollkeeper.storage.database import all_rows, change, first_row

_COLUMNS = "own_spend_cap, own_discount_percent, own_prices"


def own_terms_of(connection: Connection, user_id: str) -> OwnTerms:
    """A customer's own terms; empty ones for who has none."""
    row = first_row(connection, f"SELECT {_COLUMNS} FROM customers WHERE user_id = :user", user=user_id)  # noqa: S608 - constant
    return OwnTerms() if row is None else _terms(row)


def own_charges_on(connection: Connection, plan_id: str) -> dict[str, OwnTerms]:
    """By customer, the terms of those on a plan, or with an open period on it, who are charged otherwise than it says."""
    rows = all_rows(
        connection,
        f"""
        SELECT user_id, {_COLUMNS} FROM customers
        WHERE (own_discount_percent IS NOT NULL OR own_prices IS NOT NULL)
          AND (plan_id = :plan OR CAST(:plan AS text) IN (
            SELECT u.plan_id FROM usage_periods AS u WHERE u.user_id = customers.user_id AND u.status = 'open'
            UNION ALL
            SELECT part ->> 'plan_id' FROM usage_periods AS u, jsonb_array_elements(u.plan_parts) AS part
            WHERE u.user_id = customers.user_id AND u.status = 'open'))
        ORDER BY user_id COLLATE "C"
        """,  # noqa: S608 - put together from constants
        plan=plan_id,
    )
    return {row["user_id"]: _terms(row) for row in rows}


def plans_of_open_periods(connection: Connection, user_id: str) -> list[str]:
    """The plans that a customer's open periods are priced by, in whole or in part."""
    rows = all_rows(
        connection,
        """
        SELECT DISTINCT coalesce(part ->> 'plan_id', u.plan_id) AS plan_id
        FROM usage_periods AS u LEFT JOIN LATERAL jsonb_array_elements(u.plan_parts) AS part ON true
        WHERE u.user_id = :user AND u.status = 'open' AND u.billed_totals IS NULL ORDER BY 1
        """,
        user=user_id,
    )
    return [row["plan_id"] for row in rows]


def save_own_terms(connection: Connection, user_id: str, terms: OwnTerms) -> None:
    """Store a customer's own terms; what they charge is stored as a version of the plan."""
    change(
        connection,
        """
        UPDATE customers SET own_spend_cap = :cap, own_discount_percent = :discount, own_prices = CAST(:prices AS jsonb)
        WHERE user_id = :user
        """,
        user=user_id,
        cap=terms.spend_cap,
        discount=terms.discount_percent,
        prices=json.dumps([price.to_json() for price in terms.prices]) if terms.prices else None,
    )


def _terms(row: dict[str, Any]) -> OwnTerms:
    prices = tuple(Price.from_json(price) for price in row["own_prices"] or ())
    return OwnTerms(row["own_spend_cap"], row["own_discount_percent"], prices)
