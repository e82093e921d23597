"""Which models customers of each plan really used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from tollkeeper.domain.usage import TOKEN_TYPES
from tollkeeper.storage.database import all_rows


@dataclass(frozen=True, slots=True)
class UsedModel:
    """Tokens of one model and type that customers who are on a plan now used in a span; of who has own prices, alone."""

    plan_id: str
    user_id: str | None
    model_id: str
    token_type: str
    tokens: int


def used_models(connection: Connection, since: datetime, until: datetime) -> list[UsedModel]:
    """By plan, model and token type, what was used in `[since, until)`; nothing for what was not used at all.

    A request to several models counts for each with what it used of it.
    """
    rows = all_rows(
        connection,
        """
        WITH used AS (
            SELECT user_id, model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in
            FROM usage_events
            WHERE "timestamp" >= :since AND "timestamp" < :until AND billable AND parts IS NULL
            UNION ALL
            SELECT e.user_id, p.model_id, sign * p.tokens_in, sign * p.tokens_out, sign * p.cached_tokens_in,
                   sign * p.cache_write_tokens_in
            FROM usage_events AS e, LATERAL (SELECT CASE WHEN e.reverses IS NULL THEN 1 ELSE -1 END AS sign) AS s,
                 jsonb_to_recordset(e.parts) AS p(model_id text, tokens_in bigint, tokens_out bigint,
                                                  cached_tokens_in bigint, cache_write_tokens_in bigint)
            WHERE e."timestamp" >= :since AND e."timestamp" < :until AND e.billable AND e.parts IS NOT NULL
        )
        SELECT c.plan_id, e.model_id,
               CASE WHEN c.own_prices IS NOT NULL OR c.own_discount_percent IS NOT NULL THEN c.user_id END AS user_id,
               sum(CAST(e.tokens_in AS numeric) - e.cached_tokens_in - e.cache_write_tokens_in) AS input,
               sum(e.cached_tokens_in) AS cached_input, sum(e.cache_write_tokens_in) AS cache_write,
               sum(e.tokens_out) AS output
        FROM used AS e JOIN customers AS c USING (user_id)
        GROUP BY c.plan_id, 3, e.model_id ORDER BY c.plan_id, 3 NULLS FIRST, e.model_id
        """,
        since=since,
        until=until,
    )
    return [
        UsedModel(row["plan_id"], row["user_id"], row["model_id"], kind, int(Decimal(row[kind])))
        for row in rows
        for kind in TOKEN_TYPES
        if row[kind]
    ]
