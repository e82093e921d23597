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
    """Tokens of one model and type that customers who are on a plan now used in a span."""

    plan_id: str
    model_id: str
    token_type: str
    tokens: int


def used_models(connection: Connection, since: datetime, until: datetime) -> list[UsedModel]:
    """By plan, model and token type, what was used in `[since, until)`; nothing for what was not used at all."""
    rows = all_rows(
        connection,
        """
        SELECT c.plan_id, e.model_id,
               sum(CAST(e.tokens_in AS numeric) - e.cached_tokens_in - e.cache_write_tokens_in) AS input,
               sum(e.cached_tokens_in) AS cached_input, sum(e.cache_write_tokens_in) AS cache_write,
               sum(e.tokens_out) AS output
        FROM usage_events AS e JOIN customers AS c USING (user_id)
        WHERE e."timestamp" >= :since AND e."timestamp" < :until AND e.billable
        GROUP BY c.plan_id, e.model_id ORDER BY c.plan_id, e.model_id
        """,
        since=since,
        until=until,
    )
    return [
        UsedModel(row["plan_id"], row["model_id"], kind, int(Decimal(row[kind])))
        for row in rows
        for kind in TOKEN_TYPES
        if row[kind]
    ]
