"""Proofs: for a month that many customers share, which running totals are what its events add up to.

One reading of the month is much less work than one for every few hundred customers. What it proves is a version of a
period's row, and it holds as long as that version does: each event that is stored makes another one. What it does not prove
(own units, minutes, several models in a request, several plans, a real difference) is counted by itself, with the rows locked.
"""

from __future__ import annotations

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.usage import REQUESTS, TokenType
from tollkeeper.storage.database import all_rows, change
from tollkeeper.storage.periods import Due, PeriodKey

# Compared model by model before anything is grouped by customer (OFFSET 0 keeps it apart), or whole totals would be sorted.
_PROVE = f"""
SELECT u.user_id, u.version
FROM usage_periods AS u JOIN (
    SELECT user_id, count(*) AS models, sum(requests) AS events FROM (
        SELECT u.user_id, counted.requests, NOT counted.special
               AND u.totals -> counted.model_id IS NOT DISTINCT FROM jsonb_strip_nulls(jsonb_build_object(
                       '{TokenType.INPUT}', nullif(input, 0), '{TokenType.CACHED_INPUT}', nullif(cached_input, 0),
                       '{TokenType.CACHE_WRITE}', nullif(cache_write, 0), '{TokenType.OUTPUT}', nullif(output, 0),
                       '{REQUESTS}', requests)) AS agrees
        FROM (SELECT e.user_id, e.model_id, count(*) AS requests,
                     sum(e.tokens_in) - sum(e.cached_tokens_in) - sum(e.cache_write_tokens_in) AS input,
                     sum(e.cached_tokens_in) AS cached_input, sum(e.cache_write_tokens_in) AS cache_write,
                     sum(e.tokens_out) AS output,
                     bool_or(e.compute_minutes <> 0 OR e.units <> '{{}}' OR e.parts IS NOT NULL
                             OR e.reverses IS NOT NULL) AS special
              FROM usage_events AS e WHERE e.billable AND e."timestamp" >= :start AND e."timestamp" < :ends
              GROUP BY e.user_id, e.model_id) AS counted
        JOIN usage_periods AS u ON u.user_id = counted.user_id AND u.period_start = :start
        OFFSET 0) AS compared
    GROUP BY user_id HAVING bool_and(agrees)) AS agreed ON agreed.user_id = u.user_id
WHERE u.period_start = :start AND u.period_end = :ends AND u.plan_parts IS NULL AND {{over}}
  AND agreed.events = u.events AND agreed.models = (SELECT count(*) FROM jsonb_object_keys(u.totals))
"""  # noqa: S608 - put together from constants


def shared_spans(connection: Connection, due: Due, more_than: int) -> list[Period]:
    """The spans of time that more than so many due periods have in common."""
    rows = all_rows(
        connection,
        f"""
        SELECT u.period_start, u.period_end FROM usage_periods AS u WHERE {due.over}
        GROUP BY u.period_start, u.period_end HAVING count(*) > :most ORDER BY u.period_start, u.period_end
        """,  # noqa: S608 - put together from constants
        cutoff=due.cutoff,
        most=more_than,
    )
    return [Period(row["period_start"], row["period_end"]) for row in rows]


def proven_versions(connection: Connection, due: Due, span: Period) -> dict[PeriodKey, int]:
    """The versions of the due periods of a span whose totals the events prove."""
    # The groups by model do not fit the default and would be sorted on disk; and a statement of this size gains nothing from
    # walking an index for every customer, whatever the planner thinks that a month of new rows is like.
    change(connection, "SET LOCAL work_mem = '64MB'")
    change(connection, "SET LOCAL enable_nestloop = off")
    rows = all_rows(connection, _PROVE.replace("{over}", due.over), cutoff=due.cutoff, start=span.start, ends=span.end)
    return {(row["user_id"], span.start): row["version"] for row in rows}
