"""Browsing: an operator's long lists, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.usage import Totals
from tollkeeper.services.explaining import Explanation, explain_in
from tollkeeper.services.overseeing import Costs, ModelMargin, customer_margins
from tollkeeper.storage.customers import Customer, load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Invoice, customer_invoices
from tollkeeper.storage.keys import StoredKey, keys_of
from tollkeeper.storage.listings import (
    Row,
    Stamp,
    WebhookPlace,
    list_audit_page,
    list_customers_page,
    list_deliveries_page,
    list_invoices_page,
    list_reports_page,
    list_webhooks_page,
)
from tollkeeper.storage.parked import ParkedPeriod, parked_periods
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.schema import waiting_for_a_person
from tollkeeper.storage.usage_periods import UsagePeriod, period_at, recent_periods

ON_A_PAGE = 50
_RECENT = 12
_MOST_PARKED = 200


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list, and the place to go on from; None at its end."""

    rows: list[Row]
    place: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class CustomerFile:
    """All that an operator looks up about one customer."""

    customer: Customer
    keys: list[StoredKey]
    periods: list[UsagePeriod]
    invoices: list[Invoice]
    margins: list[ModelMargin]
    costs_known: bool
    audit: list[Row]


def browse_customers(database: Database, search: str | None, after: str | None) -> Page:
    """Customers by name."""
    return _page(database, lambda c, n: list_customers_page(c, search, after, n), lambda row: (row["user_id"],))


def browse_invoices(database: Database, status: str | None, search: str | None, after: Stamp | None) -> Page:
    """Invoices, the newest first."""
    return _page(database, lambda c, n: list_invoices_page(c, status, search, after, n), _stamp)


def browse_reports(database: Database, state: str | None, search: str | None, after: Stamp | None) -> Page:
    """Reports to Stripe, the newest first."""
    return _page(database, lambda c, n: list_reports_page(c, state, search, after, n), _stamp)


def browse_webhooks(database: Database, state: str | None, after: WebhookPlace | None) -> Page:
    """Webhook events that came in, the newest first."""
    return _page(
        database,
        lambda c, n: list_webhooks_page(c, state, after, n),
        lambda row: (row["received_at"], row["provider"], row["event_id"]),
    )


def browse_deliveries(database: Database, search: str | None, after: Stamp | None) -> Page:
    """Notices and what became of them, the newest first."""
    return _page(database, lambda c, n: list_deliveries_page(c, search, after, n), _stamp)


def browse_audit(database: Database, user_id: str | None, kind: str | None, after: int | None) -> Page:
    """Who changed what, the newest first."""
    return _page(database, lambda c, n: list_audit_page(c, user_id, kind, after, n), lambda row: (row["position"],))


def parked(database: Database) -> tuple[list[ParkedPeriod], dict[str, int]]:
    """Periods that wait for a person, the oldest first, as many as a person looks at; and how much else waits for one."""
    with database.transaction() as connection:
        return parked_periods(connection)[:_MOST_PARKED], waiting_for_a_person(connection)


def customer_file(database: Database, user_id: str, now: datetime) -> CustomerFile:
    """One customer; `NotFound` for an unknown one."""
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id))
        current = period_at(connection, user_id, now)
        parts = [] if current is None else list(_priced(connection, current))
        keys, periods = keys_of(connection, user_id), recent_periods(connection, user_id, _RECENT)
        invoices = customer_invoices(connection, user_id, None, _RECENT)
        audit = list_audit_page(connection, user_id, None, None, _RECENT)
    costs = Costs(now)
    margins = customer_margins([one for one in parts if one[0].currency == "usd"], costs)
    return CustomerFile(customer, keys, periods, invoices, margins, costs.known, audit)


def any_invoice(database: Database, invoice_id: UUID) -> Explanation:
    """An invoice, each line explained; `NotFound` where there is none."""
    with database.transaction() as connection:
        return explain_in(connection, invoice_id)


def _priced(connection: Connection, period: UsagePeriod) -> Iterator[tuple[Tariff, Totals]]:
    """What a period, or each part of it, is priced by, and what was used in it."""
    for part in period.parts:
        yield for_part(load_tariff(connection, part.plan_id, part.plan_version), part.share), part.totals


def _page(
    database: Database, read: Callable[[Connection, int], list[Row]], place_of: Callable[[Row], tuple[Any, ...]]
) -> Page:
    with database.transaction() as connection:
        rows = read(connection, ON_A_PAGE + 1)
    shown = rows[:ON_A_PAGE]
    return Page(shown, place_of(shown[-1]) if len(rows) > ON_A_PAGE else None)


def _stamp(row: Row) -> tuple[Any, ...]:
    return row["created_at"], row["id"]
