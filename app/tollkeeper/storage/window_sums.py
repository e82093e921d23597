"""What a customer's events of a span add up to, window by window, counted from nothing but the events."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.usage import REQUESTS, quantities, sum_of_calls
from tollkeeper.domain.window import Cadence
from tollkeeper.storage.database import all_rows, load_json
from tollkeeper.storage.event_sums import METERS, SUMMED
from tollkeeper.storage.totals import Sums
from tollkeeper.storage.usage_json import parts_from_json

_EVENTS = """
FROM usage_events AS e
WHERE e.user_id = :user AND e."timestamp" >= :start AND e."timestamp" < :end AND e.billable
"""
_COLUMNS = 'date_trunc(:unit, e."timestamp") AS begun, e.reverses IS NOT NULL AS taken_back'


def count_by_window(
    connection: Connection, user_id: str, start: datetime, end: datetime, cadence: Cadence
) -> dict[datetime, Sums]:
    """The sums of `[start, end)` by the UTC day or hour that the events lie in; windows without events are left out."""
    span = {"user": user_id, "start": start, "end": end, "unit": cadence}
    counted: defaultdict[datetime, Sums] = defaultdict(Sums)
    tokens = f"SELECT {_COLUMNS}, e.model_id, {SUMMED} {_EVENTS} AND e.parts IS NULL GROUP BY 1, 2, 3"
    for row in all_rows(connection, tokens, **span):
        if row["taken_back"]:
            row[REQUESTS] = -row[REQUESTS]
        counted[row["begun"]].add({(row["model_id"], meter): row[meter] for meter in METERS if row[meter]})
    units = f"""
        SELECT {_COLUMNS}, e.model_id, unit.key AS meter, sum(CAST(unit.value AS numeric)) AS quantity
        {_EVENTS.replace("WHERE", "CROSS JOIN LATERAL jsonb_each_text(e.units) AS unit WHERE")}
          AND e.units <> '{{}}' AND e.parts IS NULL GROUP BY 1, 2, 3, 4
        """
    for row in all_rows(connection, units, **span):
        counted[row["begun"]].add({(row["model_id"], row["meter"]): row["quantity"]})
    parts = f"SELECT {_COLUMNS}, e.parts::text AS parts {_EVENTS} AND e.parts IS NOT NULL"
    for row in all_rows(connection, parts, **span):
        sign = -1 if row["taken_back"] else 1
        usage = quantities(sum_of_calls(parts_from_json(load_json(row["parts"]))))
        counted[row["begun"]].add({key: sign * quantity for key, quantity in usage.items()})
    return dict(counted)
