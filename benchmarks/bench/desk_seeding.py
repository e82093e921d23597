"""A large business in a database: customers, periods, invoices, reports and events by the million, as metering would have left
them. Written by SQL, since storing them request by request would take a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from tollkeeper.domain.keys import hash_key, key_prefix
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.planning import apply_plans
from tollkeeper.storage.database import Database
from tollkeeper.storage.migrating import upgrade
from tollkeeper.storage.partitions import create_partition_sql

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
MONTHS = tuple(datetime(2026, month, 1, tzinfo=UTC) for month in (8, 9, 10, 11))
"""Three that are closed and invoiced, and the one of now. Events are stored for the last two."""
HEAVY = "user-0000000"
"""One customer has a hundredth of all events; the others share the rest."""
KEY = "tk_" + "h" * 43
PLANS = """
[plans.pro]
name = "Pro"
currency = "usd"
base_fee = "99.00"
spend_cap = "250.00"
quota_tokens = 40_000_000
[[plans.pro.prices]]
model = "gpt-4o*"
token_type = "*"
per = 1_000_000
tiers = [{ up_to = 20_000_000, price = "4.00" }, { up_to = "inf", price = "3.50" }]
[[plans.pro.prices]]
model = "claude-*"
token_type = "*"
per = 1_000_000
price = "9.00"
"""
CHUNK = 500_000

_CUSTOMERS = """
INSERT INTO customers (user_id, email, plan_id, stripe_customer_id, created_at, next_period_end)
SELECT 'user-' || lpad(CAST(n AS text), 7, '0'), 'billing@user-' || n || '.example', 'pro', 'cus_' || n, %(since)s, %(next)s
FROM generate_series(0, %(customers)s - 1) AS n
"""
# Every customer used three models; one in a hundred is near the cap.
_PERIODS = """
INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency, events, tokens, totals,
                           billed_totals, cost_units, spent, status, revision, closed_at)
SELECT user_id, %(start)s, %(ends)s, 'pro', 1, 'usd', %(events)s, 3000000 + spend * 1000, totals,
       CASE WHEN %(closed)s THEN totals END, spend, spend, CASE WHEN %(closed)s THEN 'closed' ELSE 'open' END,
       CASE WHEN %(closed)s THEN 2 ELSE 1 END, CASE WHEN %(closed)s THEN CAST(%(ends)s AS timestamptz) END
FROM (SELECT user_id, (hashtext(user_id) & 1023) * 24 AS spend FROM customers) AS c,
     LATERAL (SELECT jsonb_build_object(
         'gpt-4o', jsonb_build_object('input', 900000 + spend * 500, 'cached_input', 300000, 'output', 400000, 'requests', 100),
         'gpt-4o-mini', jsonb_build_object('input', 700000 + spend * 300, 'output', 200000, 'requests', 60),
         'claude-sonnet-4-5', jsonb_build_object('input', 400000 + spend * 200, 'output', 100000, 'requests', 40)) AS totals
     ) AS t
"""
_INVOICES = """
INSERT INTO invoices (id, user_id, period_start, period_end, currency, status, total_amount, plan_id, plan_version, collect,
                      arrival_cutoff, created_at, finalized_at, paid_at, alarm, stripe_invoice_id)
SELECT gen_random_uuid(), user_id, period_start, period_end, 'usd', %(status)s, spent + 9900, 'pro', 1, 'meters', period_end,
       period_end + interval '5 minutes', CASE WHEN %(status)s = 'paid' THEN period_end END,
       CASE WHEN %(status)s = 'paid' THEN period_end END,
       CASE WHEN hashtext(user_id) & 511 = 7 THEN 'no price for mystery-1 input (12000)' END,
       'in_' || CAST(extract(epoch FROM period_start) AS bigint) || user_id
FROM usage_periods WHERE period_start = %(start)s
"""
_LINES = """
INSERT INTO invoice_line_items (invoice_id, position, kind, model_id, token_type, quantity, unit_amount_decimal, amount,
                                description, period_start, period_end)
SELECT i.id, line.position, line.kind, line.model, '*', 1000000, 0.0004, line.amount, 'a line', i.period_start, i.period_end
FROM invoices AS i, LATERAL (VALUES (1, 'usage', 'gpt-4o*', (i.total_amount - 9900) / 2),
    (2, 'usage', 'claude-*', i.total_amount - 9900 - (i.total_amount - 9900) / 2), (3, 'base_fee', NULL, 9900)
) AS line (position, kind, model, amount) WHERE i.period_start = %(start)s
"""
_REPORTS = """
INSERT INTO stripe_reports (id, invoice_id, user_id, period_start, period_end, model_id, token_type, event_name, identifier,
                            value, "timestamp", stripe_customer_id, state, attempts, acknowledged_at, last_error, created_at)
SELECT gen_random_uuid(), i.id, i.user_id, i.period_start, i.period_end, model, 'input', 'ai_tokens',
       md5(i.id || model), 1000000, i.period_end - interval '1 second', 'cus_x',
       CASE WHEN hashtext(i.user_id) & 1023 = 3 THEN 'rejected' ELSE 'acknowledged' END, 1, i.period_end,
       CASE WHEN hashtext(i.user_id) & 1023 = 3 THEN 'no such customer' END, i.created_at
FROM invoices AS i, unnest(ARRAY['gpt-4o', 'gpt-4o-mini', 'claude-sonnet-4-5']) AS model WHERE i.period_start = %(start)s
"""
_WEBHOOKS = """
INSERT INTO webhook_events (provider, event_id, type, payload, received_at, state, attempts, last_error)
SELECT 'stripe', 'evt_' || n, 'invoice.paid', '{}', CAST(%(now)s AS timestamptz) - n * interval '20 seconds',
       CASE WHEN n %% 5000 = 0 THEN 'failed' ELSE 'applied' END, 1, CASE WHEN n %% 5000 = 0 THEN 'no such invoice' END
FROM generate_series(1, %(customers)s * 3) AS n
"""
_TRAIL = """
INSERT INTO audit_trail (at, actor, kind, user_id, subject, after)
SELECT created_at, 'worker', 'invoice.drafted', user_id, CAST(id AS text), jsonb_build_object('total_amount', total_amount)
FROM invoices ORDER BY created_at
"""
_NOTICES = """
INSERT INTO notices (kind, user_id, subject, payload, created_at, spread_at)
SELECT 'quota.near', user_id, 'seeded ' || user_id, '{}', %(now)s, %(now)s FROM customers WHERE hashtext(user_id) & 3 = 0
"""
_PARKED = """
UPDATE usage_periods SET status = 'parked', parked_reason = '3 events, 2 in the running totals', billed_totals = NULL
WHERE period_start = %(start)s AND hashtext(user_id) & 8191 = 11
"""
_EVENTS = """
INSERT INTO usage_events (id, user_id, "timestamp", model_id, tokens_in, tokens_out, cost_units, latency_ms, status_code, method,
                          path, recorded_at)
SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid),
       'user-' || lpad(CAST(CASE WHEN n %% 100 = 0 THEN 0 ELSE n %% %(customers)s END AS text), 7, '0'), at,
       (ARRAY['gpt-4o', 'gpt-4o-mini', 'claude-sonnet-4-5'])[1 + n %% 3], 900, 120, 0.45, 800, 200, 'POST',
       '/v1/chat/completions', at
FROM generate_series(CAST(%(first)s AS bigint), %(last)s) AS n,
     LATERAL (SELECT CAST(%(since)s AS timestamptz) + n * CAST(%(every)s AS interval) AS at) AS t
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How large the business is."""

    customers: int
    events: int


def seed_business(database_url: str, size: Size, say: Say) -> None:
    """Make the tables and fill them; `say` hears of every step."""
    upgrade(database_url)
    with Database(database_url) as database:
        apply_plans(database, parse_plans(PLANS), MONTHS[0])
    with psycopg.connect(database_url, autocommit=True) as connection:
        for month in MONTHS:
            connection.execute(create_partition_sql(month).encode())
        _books(connection, size, say)
        _events(connection, size, say)
        say("gathering statistics")
        connection.execute("VACUUM ANALYZE")


def _books(connection: psycopg.Connection, size: Size, say: Say) -> None:
    say(f"{size.customers:,} customers")
    connection.execute(_CUSTOMERS, {"customers": size.customers, "since": MONTHS[0], "next": _end(MONTHS[-1])})
    connection.execute(
        "INSERT INTO api_keys (key_hash, prefix, user_id, created_at) VALUES (%s, %s, %s, %s)",
        (hash_key(KEY), key_prefix(KEY), HEAVY, NOW),
    )
    for month in MONTHS:
        say(f"periods and invoices of {month:%B}")
        closed = month != MONTHS[-1]
        values = {"start": month, "ends": _end(month), "closed": closed, "events": size.events // size.customers // 2}
        connection.execute(_PERIODS, values)
        if closed:
            status = "draft" if month == MONTHS[-2] else "paid"
            with connection.transaction():  # lines and totals are compared when it commits
                connection.execute("SET LOCAL session_replication_role = replica")
                connection.execute(_INVOICES, {"start": month, "status": status})
                connection.execute(_LINES, {"start": month})
            connection.execute(_REPORTS, {"start": month})
    say("webhooks, notices and the audit trail")
    connection.execute(_PARKED, {"start": MONTHS[-2]})
    connection.execute(_WEBHOOKS, {"customers": size.customers, "now": NOW})
    connection.execute(_NOTICES, {"now": NOW})
    connection.execute(_TRAIL)


def _events(connection: psycopg.Connection, size: Size, say: Say) -> None:
    """The events of the last two months, in the order of their time; their lookup index is built when all are there."""
    [(definition,)] = connection.execute(
        "SELECT pg_get_indexdef('usage_events_user_id_timestamp'::regclass)"
    ).fetchall()
    connection.execute("DROP INDEX usage_events_user_id_timestamp")
    every = (NOW - MONTHS[-2]) / size.events
    for first in range(0, size.events, CHUNK):
        last = min(first + CHUNK, size.events) - 1
        say(f"events: {last + 1:,} of {size.events:,}")
        values = {"first": first, "last": last, "since": MONTHS[-2], "every": every, "customers": size.customers}
        connection.execute(_EVENTS, values)
    say("index of the events")
    connection.execute(definition.replace(" ON ONLY ", " ON ").encode())


def _end(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)
