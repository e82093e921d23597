"""A database with ten thousand customers and three months of their events, made inside PostgreSQL in minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import psycopg

from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.planning import apply_plans
from tollkeeper.storage.database import Database
from tollkeeper.storage.migrating import upgrade

CUSTOMERS = 10_000
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet", "claude-haiku", "gemini-pro", "gemini-flash", "mistral", "llama")
MONTHS = tuple(datetime(2026, month, 1, tzinfo=UTC) for month in (9, 10, 11))
BILLED, END = MONTHS[-1], datetime(2026, 12, 1, tzinfo=UTC)
ENDS = (*MONTHS[1:], END)

PLANS = '[plans.pro]\nname = "Pro"\ncurrency = "usd"\n' + "".join(
    f"""
[[plans.pro.prices]]
model = "{model}"
per = 1_000
tiers = [{{ up_to = 200_000, price = "0.00{n + 2}" }}, {{ up_to = "inf", price = "0.00{n + 1}" }}]
"""
    for n, model in enumerate(MODELS)
)
"""A graduated price for each model, so that an invoice has about eight lines or more."""

_CUSTOMERS = """
INSERT INTO customers (user_id, email, plan_id, created_at)
SELECT 'user-' || n, 'user-' || n || '@example.com', 'pro', '2026-09-01' FROM generate_series(0, %(customers)s - 1) AS n
"""
_TABLE = "CREATE TABLE {name} (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
_ATTACH = "ALTER TABLE usage_events ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')"
# A few customers have most of the events, and a few models most of the requests.
_EVENTS = """
INSERT INTO {name} (id, user_id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cost_units, latency_ms,
                    status_code, method, path, recorded_at)
SELECT gen_random_uuid(), 'user-' || floor(%(customers)s * power(random(), 3))::int, at,
       (%(models)s::text[])[1 + floor(cardinality(%(models)s::text[]) * power(random(), 2))::int],
       200 + tokens, 100 + tokens / 4, tokens / 10, 0.4, 900, 200, 'POST', '/v1/chat/completions', at
FROM (SELECT %(start)s::timestamptz + random() * (%(end)s::timestamptz - %(start)s::timestamptz) AS at,
             floor(3000 * random())::int AS tokens FROM generate_series(1, %(events)s)) AS made
"""
_TOTALS = """
INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency, version, events, tokens,
                           totals, billed_totals, cost_units, status, revision)
SELECT user_id, %(start)s, %(end)s, 'pro', 1, 'usd', 1, sum(events), sum(tokens), jsonb_object_agg(model_id, meters),
       CASE WHEN %(closed)s THEN jsonb_object_agg(model_id, meters) END, 0.4 * sum(events),
       CASE WHEN %(closed)s THEN 'closed' ELSE 'open' END, CASE WHEN %(closed)s THEN 2 ELSE 1 END
FROM (SELECT user_id, model_id, count(*) AS events, sum(tokens_in + tokens_out) AS tokens,
             jsonb_strip_nulls(jsonb_build_object(
                 'input', sum(tokens_in - cached_tokens_in), 'cached_input', nullif(sum(cached_tokens_in), 0),
                 'output', sum(tokens_out), 'requests', count(*))) AS meters
      FROM {name} GROUP BY user_id, model_id) AS summed
GROUP BY user_id
"""


def seed(url: str, events: int, tell: Callable[[str], None]) -> None:
    """Fill an empty database: a third of the events in each month, of which the last one is to be billed."""
    upgrade(url)
    with Database(url) as database:
        apply_plans(database, parse_plans(PLANS), MONTHS[0])
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        connection.execute("SET work_mem = '256MB'")
        connection.execute("SET maintenance_work_mem = '512MB'")
        connection.execute(_CUSTOMERS, {"customers": CUSTOMERS})
        for start, end in zip(MONTHS, ENDS, strict=True):
            tell(f"making {events // len(MONTHS):,} events of {start:%B}")
            _month(connection, start, end, events // len(MONTHS))
        connection.execute("UPDATE customers SET next_period_end = '2027-01-01'")
        connection.execute("VACUUM (ANALYZE)")
        # What is measured afterwards is measured without somebody else's vacuum in it.
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")


def _month(connection: psycopg.Connection, start: datetime, end: datetime, events: int) -> None:
    """The indexes are built at the end, when the month joins the others."""
    names = {"name": f"usage_events_{start:%Y_%m}", "start": start.isoformat(), "end": end.isoformat()}
    values = {
        "customers": CUSTOMERS, "models": list(MODELS), "start": start, "end": end, "events": events,
        "closed": start != BILLED,
    }  # fmt: skip
    for statement in (f"DROP TABLE IF EXISTS {names['name']}", _TABLE, _EVENTS, _TOTALS, _ATTACH):
        connection.execute(statement.format(**names).encode(), values if "%(" in statement else None)
