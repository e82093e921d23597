"""Sums over all customers, for the operator's desk: read from totals and invoices, never from events, and kept for a while."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from tollkeeper.domain.usage import Key
from tollkeeper.storage.database import all_rows, change, first_row

_LOCK = 0x6465736B  # "desk": whoever takes stock, takes it alone
_FIGURES = "all"
_NOW_OPEN = "u.status = 'open' AND u.period_start <= :now AND u.period_end > :now"


@dataclass(frozen=True, slots=True)
class MonthRevenue:
    """What invoices of periods that began in a month come to, in minor units. Credits are payments, so they are below zero."""

    month: datetime
    currency: str
    base: int
    metered: int
    credits: int


@dataclass(frozen=True, slots=True)
class NearCap:
    """A customer at 80 % of the spend cap or more."""

    user_id: str
    plan_id: str
    currency: str
    spent: int
    cap: int
    percent: int
    period_end: datetime


@dataclass(frozen=True, slots=True)
class PlanUse:
    """What the open periods of one version of a plan hold together."""

    plan_id: str
    plan_version: int
    currency: str
    customers: int
    spent: int
    totals: dict[Key, Decimal]


@dataclass(frozen=True, slots=True)
class CustomerMargin:
    """A customer's open period: what is charged so far, the whole base fee, and what the AI side charges for it."""

    user_id: str
    plan_id: str
    currency: str
    metered: int
    base: int
    cost: Decimal

    @property
    def margin(self) -> Decimal:
        return self.metered + self.base - self.cost


def claim_stock(connection: Connection) -> bool:
    """Whether nobody else is taking stock right now; held until the transaction ends."""
    row = first_row(connection, "SELECT pg_try_advisory_xact_lock(:lock) AS free", lock=_LOCK)
    return row is not None and bool(row["free"])


def stored_stock(connection: Connection) -> tuple[dict[str, Any], datetime] | None:
    """The figures as they were taken last, and when; None where they never were."""
    row = first_row(connection, "SELECT figures, as_of FROM desk_figures WHERE name = :name", name=_FIGURES)
    return None if row is None else (row["figures"], row["as_of"])


def store_stock(connection: Connection, figures: Mapping[str, Any], now: datetime) -> None:
    """Keep the figures in place of the ones before."""
    change(
        connection,
        """
        INSERT INTO desk_figures (name, figures, as_of) VALUES (:name, CAST(:figures AS jsonb), :now)
        ON CONFLICT (name) DO UPDATE SET figures = excluded.figures, as_of = excluded.as_of
        """,
        name=_FIGURES,
        figures=json.dumps(figures),
        now=now,
    )


def revenue_by_month(connection: Connection, since: datetime) -> list[MonthRevenue]:
    """By month and currency, what was invoiced and not voided, oldest first."""
    rows = all_rows(
        connection,
        """
        SELECT date_trunc('month', i.period_start) AS month, i.currency,
               coalesce(sum(l.amount) FILTER (WHERE l.kind = 'base_fee'), 0) AS base,
               coalesce(sum(l.amount) FILTER (WHERE l.kind IN ('usage', 'late_usage', 'adjustment')), 0) AS metered,
               coalesce(sum(l.amount) FILTER (WHERE l.kind = 'credit'), 0) AS credits
        FROM invoices AS i JOIN invoice_line_items AS l ON l.invoice_id = i.id
        WHERE i.status <> 'void' AND i.period_start >= :since GROUP BY 1, 2 ORDER BY 1, 2
        """,
        since=since,
    )
    return [
        MonthRevenue(row["month"], row["currency"], int(row["base"]), int(row["metered"]), int(row["credits"]))
        for row in rows
    ]


def near_caps(connection: Connection, now: datetime, limit: int) -> tuple[list[NearCap], int]:
    """Customers at 80 % of their cap or more, the nearest first, and how many there are in all."""
    rows = all_rows(
        connection,
        f"""
        SELECT u.user_id, c.plan_id, u.currency, u.spent, coalesce(c.own_spend_cap, p.spend_cap) AS cap,
               CASE WHEN coalesce(c.own_spend_cap, p.spend_cap) = 0 THEN 100
                    ELSE div(CAST(u.spent AS numeric) * 100, coalesce(c.own_spend_cap, p.spend_cap)) END AS percent,
               u.period_end, count(*) OVER () AS number
        FROM usage_periods AS u JOIN customers AS c ON c.user_id = u.user_id JOIN plans AS p ON p.id = c.plan_id
        WHERE {_NOW_OPEN} AND u.events > 0
          AND CAST(u.spent AS numeric) * 100 >= CAST(coalesce(c.own_spend_cap, p.spend_cap) AS numeric) * 80
        ORDER BY percent DESC, u.user_id LIMIT :limit
        """,  # noqa: S608 - put together from constants
        now=now,
        limit=limit,
    )
    number = int(rows[0]["number"]) if rows else 0
    for row in rows:
        del row["number"]
    return [NearCap(**{**row, "percent": int(row["percent"])}) for row in rows], number


def use_by_plan(connection: Connection, now: datetime) -> list[PlanUse]:
    """The open periods' totals and charges, by version of plan."""
    uses = {
        (row["plan_id"], row["plan_version"]): PlanUse(**{**row, "spent": int(row["spent"])}, totals={})
        for row in all_rows(
            connection,
            f"""
            SELECT u.plan_id, u.plan_version, u.currency, count(*) AS customers, sum(u.spent) AS spent
            FROM usage_periods AS u WHERE {_NOW_OPEN} GROUP BY 1, 2, 3 ORDER BY 1, 2
            """,  # noqa: S608 - put together from constants
            now=now,
        )
    }
    for row in all_rows(
        connection,
        f"""
        SELECT u.plan_id, u.plan_version, model.key AS model_id, meter.key AS meter,
               sum(CAST(meter.value #>> '{{}}' AS numeric)) AS quantity
        FROM usage_periods AS u, LATERAL jsonb_each(u.totals) AS model, LATERAL jsonb_each(model.value) AS meter
        WHERE {_NOW_OPEN} GROUP BY 1, 2, 3, 4
        """,  # noqa: S608 - put together from constants
        now=now,
    ):
        uses[row["plan_id"], row["plan_version"]].totals[row["model_id"], row["meter"]] = row["quantity"]
    return list(uses.values())


def thinnest_margins(
    connection: Connection, now: datetime, costs: Mapping[Key, Decimal], limit: int
) -> list[CustomerMargin]:
    """The customers who leave the least, from dollars of theirs; `costs` are cents for one unit by model and meter."""
    rows = all_rows(
        connection,
        f"""
        WITH costs AS MATERIALIZED (
            SELECT * FROM json_to_recordset(CAST(:costs AS json)) AS c(model_id text, meter text, cost numeric)
        ), spend AS (
            SELECT u.user_id, sum(CAST(meter.value #>> '{{}}' AS numeric) * costs.cost) AS cost
            FROM usage_periods AS u, LATERAL jsonb_each(u.totals) AS model, LATERAL jsonb_each(model.value) AS meter, costs
            WHERE {_NOW_OPEN} AND u.currency = 'usd' AND costs.model_id = model.key AND costs.meter = meter.key
            GROUP BY u.user_id
        )
        SELECT u.user_id, u.plan_id, u.currency, u.spent AS metered, CAST(v.tariff ->> 'base_fee' AS bigint) AS base,
               round(spend.cost, 6) AS cost
        FROM spend JOIN usage_periods AS u ON u.user_id = spend.user_id
        JOIN plan_versions AS v ON v.plan_id = u.plan_id AND v.version = u.plan_version
        WHERE {_NOW_OPEN}
        ORDER BY u.spent + CAST(v.tariff ->> 'base_fee' AS bigint) - spend.cost, u.user_id LIMIT :limit
        """,  # noqa: S608 - put together from constants
        now=now,
        costs=json.dumps(
            [{"model_id": model, "meter": meter, "cost": f"{cost:f}"} for (model, meter), cost in costs.items()]
        ),
        limit=limit,
    )
    return [CustomerMargin(**row) for row in rows]


def counted_things(connection: Connection) -> dict[str, Any]:
    """How many customers there are, and how many drafts wait."""
    row = first_row(
        connection,
        """
        SELECT (SELECT count(*) FROM customers) AS customers,
               (SELECT count(*) FROM customers WHERE status = 'active') AS active,
               (SELECT count(*) FROM invoices WHERE status = 'draft') AS drafts,
               (SELECT count(*) FROM usage_events WHERE unpriced) AS unpriced
        """,
    )
    assert row is not None
    return row


def open_charges(connection: Connection, now: datetime) -> dict[str, int]:
    """By currency, what usage of the open periods comes to so far."""
    rows = all_rows(
        connection,
        f"SELECT u.currency, sum(u.spent) AS spent FROM usage_periods AS u WHERE {_NOW_OPEN} GROUP BY 1 ORDER BY 1",  # noqa: S608 - from constants
        now=now,
    )
    return {row["currency"]: int(row["spent"]) for row in rows}
